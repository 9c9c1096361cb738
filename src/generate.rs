//! `generate`: prints what packaging installs beside the program.
//!
//! The init script is put together here, from the systemd unit. The manual pages and completions are files of
//! `generated/`, made from the command line by tests/generated and kept equal to it by that test, and only printed
//! here: as text that no running daemon reads they weigh less in it than clap_mangen and clap_complete would.

mod init_script;
mod sandbox;
mod unit;

use std::path::Path;

use clap::Args;

use crate::config::Config;

/// Options of `generate`. Plain words rather than subcommands and enums, which would add 30 KB to the daemon.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// init-script: /etc/init.d/shinken-gatherer. sandbox: a systemd drop-in that lets the service write where the
    /// configuration says, for paths that the unit's sandbox does not allow. man: a manual page. completions: those
    /// of the command line for a shell
    #[arg(value_parser = ["init-script", "sandbox", "man", "completions"])]
    what: String,
    /// Which manual page [default: shinken-gatherer] or which shell
    #[arg(value_parser = ["shinken-gatherer", "gatherer.toml", "bash", "zsh", "fish"])]
    which: Option<String>,
}

impl GenerateArgs {
    /// The text to print, or why there is none. Only the sandbox depends on the configuration, so only it reads that.
    pub fn text(&self, config: Option<&Path>) -> Result<String, String> {
        let text = match (self.what.as_str(), self.which.as_deref()) {
            ("init-script", None) => return Ok(init_script::init_script()),
            ("sandbox", None) => {
                let config = Config::load(config).map_err(|error| error.to_string())?;
                return Ok(sandbox::drop_in(&config));
            }
            ("man", None | Some("shinken-gatherer")) => include_str!("../generated/shinken-gatherer.8"),
            ("man", Some("gatherer.toml")) => include_str!("../generated/gatherer.toml.5"),
            ("completions", Some("bash")) => include_str!("../generated/shinken-gatherer.bash"),
            ("completions", Some("zsh")) => include_str!("../generated/_shinken-gatherer"),
            ("completions", Some("fish")) => include_str!("../generated/shinken-gatherer.fish"),
            ("completions", None) => return Err("completions are for one of bash, zsh, fish".into()),
            (what, which) => return Err(format!("there is no {what} {}", which.unwrap_or_default())),
        };
        Ok(text.into())
    }
}
