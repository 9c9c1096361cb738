//! What one question to the guest library came to: as data, as a line on the helper's pipe, and in words.

use std::time::Duration;

/// How long the helper has for an answer; it is killed then.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// The host's counters of this virtual machine at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Changes when the machine moves to another host, resumes or goes back to a snapshot: counters of different
    /// sessions have nothing to do with each other. Never 0.
    pub session: u64,
    /// Milliseconds of this session, as the host counts them.
    pub elapsed_ms: u64,
    /// Milliseconds that a vCPU was ready to run and did not, summed over the vCPUs.
    pub stolen_ms: u64,
}

/// What the guest library answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The counters.
    Reading(Reading),
    /// Not a virtual machine of VMware.
    NotVirtual,
    /// The host gives this machine no statistics.
    Refused,
    /// The host gives statistics, but not this one.
    NotOffered(String),
    /// Any other error, by its number in `VMGuestLibError`.
    Failed(u32),
    /// No file of the configured names exists.
    Missing,
    /// A library is there, but can't be used, for this reason.
    Unusable(String),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The helper could not be started, for this reason.
    NotStarted(String),
    /// The helper ended while it was asked: its exit code or signal.
    Died(String),
    /// No answer within [`DEADLINE`].
    Timeout,
    /// The helper wrote something that is not an answer to the question.
    InvalidReply,
}

impl Answer {
    /// The answer as one line, without its newline.
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

    /// Reads such a line; `None` where it is none.
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

    /// Why this answer gives no value; `libraries` are the names that were tried. `None` for the counters.
    pub fn problem(&self, libraries: &[String]) -> Option<String> {
        Some(match self {
            Self::Reading(_) => return None,
            Self::NotVirtual => {
                "the VMware guest library says that this is no virtual machine of VMware".into()
            }
            Self::Refused => "the host refuses its statistics to this virtual machine: \
                              isolation.tools.guestlibGetInfo.disable is set, or the host is too old"
                .into(),
            Self::NotOffered(statistic) => format!("the host does not offer the statistic {statistic}"),
            Self::Failed(code) => format!(
                "the VMware guest library failed: {} (error {code})",
                name_of(*code)
            ),
            Self::Missing => format!(
                "the VMware guest library is not installed (package open-vm-tools): none of {} was found",
                libraries.join(", ")
            ),
            Self::Unusable(reason) => format!("the VMware guest library can't be used: {reason}"),
        })
    }
}

impl Fault {
    /// Why there is no value.
    pub fn problem(&self) -> String {
        match self {
            Self::NotStarted(reason) => {
                format!("starting the helper process of the VMware guest library: {reason}")
            }
            Self::Died(how) => format!("the VMware guest library crashed ({how})"),
            Self::Timeout => format!(
                "the VMware guest library did not answer within {} s",
                DEADLINE.as_secs()
            ),
            Self::InvalidReply => "the helper process of the VMware guest library answered nonsense".into(),
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

/// What `vmGuestLib.h` calls the errors that have no answer of their own.
fn name_of(code: u32) -> &'static str {
    match code {
        1 => "other error",
        5 => "the host's reply can't be read",
        6 => "not enough memory",
        10 => "the host does not support the request",
        _ => "unexpected error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_survives_the_pipe() {
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
    fn nonsense_is_no_answer() {
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
