//! `check vmware`: the CPU time that VMware withheld. Behaves as the Shinken daemons, which use outdated values, but
//! reports these as a WARNING, and a missing file of a VMware virtual machine as UNKNOWN.

use std::time::SystemTime;

use clap::{ArgMatches, Args, FromArgMatches};

use super::report::{NAME, VmwareReport};
use crate::collector::Published;
use crate::plugin::perfdata::{PerfValue, Unit};
use crate::plugin::{Answer, Common, Outdated, State, judge};
use crate::published::{self, Age, ReadError};
use crate::report::Rounded;

pub const NOT_VMWARE: &str = "not a VMware VM";

/// How much CPU time VMware withholds from this machine (%ready), per virtual CPU
///
/// OK if this machine is not a VMware VM. Outdated values are reported with the state of --outdated.
#[derive(Debug, Args)]
struct VmwareArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    outdated: Outdated,
}

/// Returns the subcommand.
pub fn command() -> clap::Command {
    VmwareArgs::augment_args(clap::Command::new(NAME))
}

/// Checks the published %ready. `not_here` returns the reason if this machine is not a VMware virtual machine.
pub fn answer(
    args: &ArgMatches,
    published: &Published,
    not_here: impl FnOnce() -> Option<&'static str>,
) -> Answer {
    let args = match VmwareArgs::from_arg_matches(args) {
        Ok(args) => args,
        Err(error) => return Answer::unknown(error.to_string()),
    };
    let (config, now) = (published.config, published.now);
    let path = &config.vmware.output;
    match published::read::<VmwareReport>(path, published.trusted) {
        Ok(report) if report.is_vmware => judged(&args, &report, now),
        Err(ReadError::NotFound) if !config.vmware.enabled => Answer::unknown(format!(
            "[vmware] is disabled and {} does not exist",
            path.display()
        )),
        Ok(_) => not_vmware(NOT_VMWARE),
        Err(ReadError::NotFound) => match not_here() {
            Some(reason) => not_vmware(reason),
            None => Answer::unknown(format!(
                "{} does not exist, is the gatherer running?",
                path.display()
            )),
        },
        Err(ReadError::Rejected(reason)) => {
            Answer::unknown(format!("cannot read the file {}: {reason}", path.display()))
        }
    }
}

fn not_vmware(reason: &str) -> Answer {
    Answer {
        state: State::Ok,
        text: reason.into(),
        perfdata: Vec::new(),
    }
}

fn judged(args: &VmwareArgs, report: &VmwareReport, now: SystemTime) -> Answer {
    let thresholds = args.common.thresholds();
    let age = Age::of(report, now, args.common.max_age);
    let value = |value: Option<Rounded>| value.map(Rounded::get);
    let (total, per_vcpu) = (
        value(report.cpu_ready_percent),
        value(report.cpu_ready_percent_per_vcpu),
    );
    let vcpus = match report.vcpus {
        Some(1) => "1 vCPU".into(),
        Some(vcpus) => format!("{vcpus} vCPUs"),
        None => "an unknown number of vCPUs".into(),
    };
    let window = report.window_seconds.get();
    let (state, mut text) = match (per_vcpu, total) {
        (Some(per_vcpu), total) => {
            let (state, why) = judge(&thresholds, per_vcpu);
            let why = why.map_or(String::new(), |why| format!(" ({why})"));
            let total = total.map_or(String::new(), |total| format!("{total:.2}% in total on "));
            (
                state,
                format!("{per_vcpu:.2}% ready per vCPU{why}, {total}{vcpus} over {window:.0} s"),
            )
        }
        (None, Some(total)) => (
            State::Unknown,
            format!("{total:.2}% ready in total over {window:.0} s, on {vcpus}"),
        ),
        (None, None) => (State::Unknown, "%ready unknown".into()),
    };
    match &report.error {
        Some(error) => text += &format!(": {error}"),
        None if total.is_none() => text += " yet: two samples are needed",
        None => {}
    }
    let (outdated, why) = args.outdated.judge(age);
    text += &why.map_or(String::new(), |why| format!(", {why}"));
    let all = PerfValue::new("cpu_ready", total, Unit::Percent);
    Answer {
        state: state.worse(outdated),
        text,
        perfdata: vec![
            PerfValue::new("cpu_ready_per_vcpu", per_vcpu, Unit::Percent)
                .judged_by(thresholds)
                .at_most(100.0),
            match report.vcpus {
                Some(vcpus) => all.at_most(100.0 * f64::from(vcpus)),
                None => all,
            },
            PerfValue::new("age", Some(age.passed().as_secs_f64()), Unit::Seconds),
        ],
    }
}
