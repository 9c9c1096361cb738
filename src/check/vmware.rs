//! `check vmware`: the CPU time that VMware withholds, as the Shinken daemons answer that question.
//!
//! Without a published file this is not a VMware virtual machine; values that a stopped gatherer left are given as they
//! are, with the state they have, and called outdated.

use std::time::SystemTime;

use super::args::VmwareArgs;
use super::perfdata::{Figure, Unit};
use super::{Answer, State, judge};
use crate::config::Config;
use crate::published::{self, Age, Unread};
use crate::report::{Rounded, VmwareReport};
use crate::trusted_users::TrustedUsers;

const NOT_VMWARE: &str = "not a VMware VM";

pub fn answer(args: &VmwareArgs, config: &Config, trusted: &TrustedUsers, now: SystemTime) -> Answer {
    let path = &config.vmware.output;
    match published::read::<VmwareReport>(path, trusted) {
        Ok(report) if report.is_vmware => judged(args, &report, now),
        Err(Unread::Absent) if !config.vmware.enabled => Answer::unknown(format!(
            "not measured: [vmware] is not enabled, {} is absent",
            path.display()
        )),
        Ok(_) | Err(Unread::Absent) => Answer {
            state: State::Ok,
            text: NOT_VMWARE.into(),
            figures: Vec::new(),
        },
        Err(Unread::Refused(reason)) => {
            Answer::unknown(format!("cannot read the file {}: {reason}", path.display()))
        }
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
            let total = total.map_or(String::new(), |total| format!("{total:.2}% in all on "));
            (
                state,
                format!("{per_vcpu:.2}% ready per vCPU{why}, {total}{vcpus} over {window:.0} s"),
            )
        }
        (None, Some(total)) => (
            State::Unknown,
            format!("{total:.2}% ready in all over {window:.0} s, on {vcpus}"),
        ),
        (None, None) => (State::Unknown, "%ready is not known".into()),
    };
    match &report.error {
        Some(error) => text += &format!(": {error}"),
        None if total.is_none() => text += " yet: the first values take two samples",
        None => {}
    }
    if let Some(outdated) = age.outdated() {
        text += &format!(", {outdated}; is the gatherer running?");
    }
    let all = Figure::new("cpu_ready", total, Unit::Percent);
    Answer {
        state,
        text,
        figures: vec![
            Figure::new("cpu_ready_per_vcpu", per_vcpu, Unit::Percent)
                .judged_by(thresholds)
                .at_most(100.0),
            match report.vcpus {
                Some(vcpus) => all.at_most(100.0 * f64::from(vcpus)),
                None => all,
            },
            Figure::new("age", Some(age.passed().as_secs_f64()), Unit::Seconds),
        ],
    }
}
