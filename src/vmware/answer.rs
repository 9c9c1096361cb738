//! The answer to a question to the guest library: as data, as a line on the helper pipe, and as text.

use std::time::Duration;

/// Time that the helper has for an answer before it is killed.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// The counters that the host keeps of this virtual machine, at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Changes when the machine is migrated, resumed or reverted to a snapshot. Counters of different sessions cannot
    /// be compared. Never 0.
    pub session: u64,
    /// Milliseconds of this session, by the clock of the host.
    pub elapsed_ms: u64,
    /// Milliseconds in which a vCPU was ready to run but did not, summed over the vCPUs.
    pub stolen_ms: u64,
}

/// An answer of the guest library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The counters.
    Reading(Reading),
    /// Not a VMware virtual machine.
    NotVirtual,
    /// The host gives no statistics to this machine.
    Refused,
    /// The host gives statistics, but not the one of this name.
    NotOffered(String),
    /// Another error: its number in `VMGuestLibError`.
    Failed(u32),
    /// None of the configured libraries exists.
    Missing,
    /// A library exists but cannot be used, for this reason.
    Unusable(String),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The helper could not be started, for this reason.
    NotStarted(String),
    /// The helper exited before it answered: its exit status.
    Died(String),
    /// No answer within [`DEADLINE`].
    Timeout,
    /// The helper wrote something that is not an answer to the question.
    InvalidReply,
}

impl Answer {
    /// Returns the answer as one line, without a newline.
    pub fn to_line(&self) -> String {
        match self {
            Self::Reading(reading) => format!(
                "reading {} {} {}",
                reading.session, reading.elapsed_ms, reading.stolen_ms
            ),
            Self::NotVirtual => "not-virtual".into(),
            Self::Refused => "refused".into(),
            Self::NotOffered(statistic) => format!("not-offered {statistic}"),
            Self::Failed(code) => format!("failed {code}"),
            Self::Missing => "missing".into(),
            Self::Unusable(reason) => format!("unusable {}", reason.replace(char::is_control, " ")),
        }
    }

    /// Parses such a line; `None` if it is not an answer.
    pub fn from_line(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match (kind, rest) {
            ("reading", numbers) => Self::Reading(parse_reading(numbers)?),
            ("not-virtual", "") => Self::NotVirtual,
            ("refused", "") => Self::Refused,
            ("not-offered", statistic) if !statistic.is_empty() => Self::NotOffered(statistic.into()),
            ("failed", code) => Self::Failed(code.parse().ok()?),
            ("missing", "") => Self::Missing,
            ("unusable", reason) if !reason.is_empty() => Self::Unusable(reason.into()),
            _ => return None,
        })
    }

    /// Returns why this answer gives no value; `None` for a reading. `libraries` are the names that were tried.
    pub fn problem(&self, libraries: &[String]) -> Option<String> {
        Some(match self {
            Self::Reading(_) => return None,
            Self::NotVirtual => "the guest library reports that this is not a VMware virtual machine".into(),
            Self::Refused => "the ESXi host does not provide statistics to this virtual machine: \
                              isolation.tools.guestlibGetInfo.disable is set, or the host is too old"
                .into(),
            Self::NotOffered(statistic) => format!("the ESXi host does not provide {statistic}"),
            Self::Failed(code) => format!("VMware guest library failed: {} (error {code})", name_of(*code)),
            Self::Missing => format!(
                "VMware guest library not found (tried {}); is open-vm-tools installed?",
                libraries.join(", ")
            ),
            Self::Unusable(reason) => format!("cannot use the VMware guest library: {reason}"),
        })
    }
}

impl Fault {
    /// Returns why there is no value.
    pub fn problem(&self) -> String {
        match self {
            Self::NotStarted(reason) => {
                format!("starting the VMware helper process: {reason}")
            }
            Self::Died(how) => format!("VMware guest library crashed ({how})"),
            Self::Timeout => format!(
                "VMware guest library did not answer within {} s",
                DEADLINE.as_secs()
            ),
            Self::InvalidReply => "invalid reply from the VMware helper process".into(),
        }
    }
}

fn parse_reading(numbers: &str) -> Option<Reading> {
    let mut numbers = numbers.split(' ').map(|number| number.parse().ok());
    let reading = Reading {
        session: numbers.next()??,
        elapsed_ms: numbers.next()??,
        stolen_ms: numbers.next()??,
    };
    (numbers.next().is_none() && reading.session != 0).then_some(reading)
}

/// Describes the errors of `vmGuestLib.h` that have no variant of [`Answer`].
fn name_of(code: u32) -> &'static str {
    match code {
        1 => "other error",
        5 => "malformed reply from the host",
        6 => "not enough memory",
        10 => "the host does not support the request",
        _ => "unexpected error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_as_a_line_parses_to_the_same_answer() {
        let reading = Reading {
            session: u64::MAX,
            elapsed_ms: 0,
            stolen_ms: 7,
        };
        for answer in [
            Answer::Reading(reading),
            Answer::NotVirtual,
            Answer::Refused,
            Answer::NotOffered("CpuStolenMs".into()),
            Answer::Failed(1),
            Answer::Missing,
            Answer::Unusable("loading x: no such thing".into()),
        ] {
            assert_eq!(Answer::from_line(&answer.to_line()), Some(answer));
        }
        let hostile = Answer::Unusable("a\nreading 1 2 3".into());
        assert!(!hostile.to_line().contains('\n'));
    }

    #[test]
    fn invalid_line_is_not_an_answer() {
        for line in [
            "",
            "reading",
            "reading 1 2",
            "reading 1 2 3 4",
            "reading 0 2 3",
            "reading 1 -2 3",
            "reading 1 2 99999999999999999999",
            "refused 1",
            "failed x",
            "unusable",
            "PANIC: x",
        ] {
            assert_eq!(Answer::from_line(line), None, "{line:?}");
        }
    }
}
