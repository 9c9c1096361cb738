//! The command line of `once`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::duration;

/// Options of `once`.
#[derive(Debug, Args)]
pub struct OnceArgs {
    /// Print the documents as JSON, for programs, instead of a table
    #[arg(long)]
    pub json: bool,
    /// Also publish the documents, as the daemon would
    #[arg(long)]
    pub write: bool,
    /// Print what would be published at the path of this export
    #[arg(long, value_name = "PATH", conflicts_with_all = ["json", "write"])]
    pub export: Option<PathBuf>,
    /// Time between the two samples of %util and %ready
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_window)]
    pub window: Duration,
    /// Count this directory instead of the configured one
    #[arg(long, value_name = "DIR")]
    pub whisper_dir: Option<PathBuf>,
}

fn parse_window(text: &str) -> Result<Duration, String> {
    let window = duration::parse(text)?;
    let allowed = Duration::from_millis(10)..=Duration::from_secs(3600);
    if allowed.contains(&window) {
        Ok(window)
    } else {
        Err("must be from 10ms to 1h".into())
    }
}
