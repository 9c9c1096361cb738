//! The command line of `config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Arguments of `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Validate the configuration; if it is rejected, print its file, line and key with the reason, and exit with 2
    Test {
        /// File to validate instead of the configuration
        file: Option<PathBuf>,
    },
    /// Print each value and where it is set, and what was detected; the output is a valid configuration
    Show,
}
