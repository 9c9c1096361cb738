//! The command line of `check`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::perfdata::Thresholds;
use super::range::Range;

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(subcommand)]
    pub(super) subject: Subject,
}

#[derive(Debug, Subcommand)]
pub(super) enum Subject {
    /// How many metrics or hosts Graphite holds
    ///
    /// Without a published count it counts by itself; an outdated one is given as it is, and called outdated.
    Graphite(GraphiteArgs),
    /// How busy each physical disk is (%util), and whether one hangs
    ///
    /// UNKNOWN where the published file is absent, unreadable, malformed or outdated.
    Disks(DisksArgs),
    /// How much CPU time VMware withholds from this machine (%ready), per virtual CPU
    ///
    /// OK where the published file is absent: not a VMware VM. Outdated figures are given, and called outdated.
    Vmware(VmwareArgs),
}

impl Subject {
    /// The name of the service in the answer.
    pub(super) fn service(&self) -> &'static str {
        match self {
            Self::Graphite(_) => "GRAPHITE",
            Self::Disks(_) => "DISKS",
            Self::Vmware(_) => "VMWARE",
        }
    }
}

/// Options that every subject has.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Warn where the value leaves this range: 10, 10:, ~:10 or 10:20; @10:20 warns inside it
    #[arg(short, long, value_name = "RANGE", allow_hyphen_values = true)]
    warning: Option<Range>,
    /// Critical where the value leaves this range
    #[arg(short, long, value_name = "RANGE", allow_hyphen_values = true)]
    critical: Option<Range>,
    /// Age beyond which figures are outdated [default: two of their intervals and 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub max_age: Option<Duration>,
}

impl Common {
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            warning: self.warning,
            critical: self.critical,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct GraphiteArgs {
    #[command(flatten)]
    pub common: Common,
    /// Judge the number of hosts instead of the number of metrics
    #[arg(long)]
    pub hosts: bool,
    /// Give up counting after this long, where there is no published count
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub(super) struct DisksArgs {
    #[command(flatten)]
    pub common: Common,
    /// Judge these disks only
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub disk: Vec<String>,
    /// Judge the disks that hold the whisper tree only
    #[arg(long)]
    pub whisper: bool,
}

#[derive(Debug, Args)]
pub(super) struct VmwareArgs {
    #[command(flatten)]
    pub common: Common,
}

/// A duration such as `5m`, or a plain number of seconds as other plugins take it.
fn parse_time(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string()),
    }
}
