//! `generate`: prints what packaging installs beside the program.
//!
//! The init script is put together here, from the systemd unit. The manual pages and completions are files of
//! `generated/`, made from the command line by tests/generated.rs and kept equal to it by that test, and only printed
//! here: 30 KB of text in the program that no running daemon reads, where clap_mangen and clap_complete would be
//! BIGGER of code.

mod init_script;
mod sandbox;
mod unit;

use std::path::Path;

use clap::{Subcommand, ValueEnum};

use crate::config::{Config, ConfigError};

/// What can be printed.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Generate {
    /// The init script, /etc/init.d/shinken-gatherer
    InitScript,
    /// A systemd drop-in that lets the service write where the configuration says; the unit's sandbox allows the
    /// usual places only
    Sandbox,
    /// A manual page
    Man {
        /// Which one
        #[arg(value_enum, default_value_t = Page::ShinkenGatherer)]
        page: Page,
    },
    /// Completions of the command line
    Completions {
        /// For which shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// The manual pages.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Page {
    /// shinken-gatherer(8), the commands
    #[value(name = "shinken-gatherer")]
    ShinkenGatherer,
    /// gatherer.toml(5), the configuration
    #[value(name = "gatherer.toml")]
    GathererToml,
}

/// The shells whose completions there are.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(missing_docs)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Generate {
    /// The text to print. Only the sandbox depends on the configuration, so only it reads that.
    pub fn text(self, config: Option<&Path>) -> Result<String, ConfigError> {
        Ok(match self {
            Self::InitScript => init_script::init_script(),
            Self::Sandbox => sandbox::drop_in(&Config::load(config)?),
            Self::Man { page } => match page {
                Page::ShinkenGatherer => include_str!("../generated/shinken-gatherer.8"),
                Page::GathererToml => include_str!("../generated/gatherer.toml.5"),
            }
            .into(),
            Self::Completions { shell } => match shell {
                Shell::Bash => include_str!("../generated/shinken-gatherer.bash"),
                Shell::Zsh => include_str!("../generated/_shinken-gatherer"),
                Shell::Fish => include_str!("../generated/shinken-gatherer.fish"),
            }
            .into(),
        })
    }
}
