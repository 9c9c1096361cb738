//! The command line of `status`.

use std::time::Duration;

use clap::Args;

use crate::duration;

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print one JSON object, for programs, instead of a table
    #[arg(long)]
    pub json: bool,
    /// Show version, process, configuration, sandbox and last errors instead, for a bug report
    #[arg(short, long, conflicts_with_all = ["json", "watch"])]
    pub verbose: bool,
    /// Refresh every TIME, 2s if it is not given, until interrupted; on a terminal, in place
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s", value_parser = parse_interval)]
    pub watch: Option<Duration>,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text)?;
    if (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&interval) {
        Ok(interval)
    } else {
        Err("must be from 100ms to 1h".into())
    }
}
