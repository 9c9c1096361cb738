//! `shinken-gatherer generate`: prints what packaging installs beside the program.
//!
//! A program of its own, which `shinken-gatherer` runs for this command: the daemon stays resident for months, and
//! nothing of this may be resident with it. Measured: its binary grew by 79 KB with the texts embedded and only printed,
//! and by 28 KB with this program beside it.

mod config_page;
mod init_script;
mod man_page;
mod sandbox;
mod unit;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, ValueEnum};
use clap_complete::Shell;
use shinken_gatherer::config::Config;
use shinken_gatherer::{cli, output};

const PROGRAM: &str = "shinken-gatherer";

/// Prints what packaging installs beside the program.
#[derive(Debug, Parser)]
#[command(
    name = "generate",
    bin_name = "shinken-gatherer generate",
    max_term_width = 100
)]
struct Generate {
    /// The configuration, for sandbox
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The init script, /etc/init.d/shinken-gatherer
    InitScript,
    /// A systemd drop-in that lets the service write where the configuration says, beyond what its sandbox allows
    Sandbox,
    /// A manual page
    Man {
        /// Which one
        #[arg(value_enum, default_value = "shinken-gatherer")]
        page: Page,
    },
    /// Completions of the command line
    Completions {
        /// For which shell
        shell: Shell,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Page {
    /// shinken-gatherer(8), the commands
    #[value(name = "shinken-gatherer")]
    Program,
    /// gatherer.toml(5), the configuration
    #[value(name = "gatherer.toml")]
    Configuration,
}

fn main() -> ExitCode {
    match text(std::env::args_os()) {
        Ok(text) => {
            output::print(&text);
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// The text to print, or the exit code after a complaint.
fn text(args: impl Iterator<Item = OsString>) -> Result<String, ExitCode> {
    let generate = match Generate::try_parse_from(args) {
        Ok(generate) => generate,
        Err(usage) if usage.use_stderr() => {
            output::print_usage_error(&usage.render().to_string());
            return Err(ExitCode::from(2));
        }
        Err(help) => return Ok(help.render().to_string()),
    };
    Ok(match generate.what {
        What::InitScript => init_script::init_script(),
        What::Sandbox => match Config::load(generate.config.as_deref()) {
            Ok(config) => sandbox::drop_in(&config),
            Err(error) => {
                output::print_error(error);
                return Err(ExitCode::from(2));
            }
        },
        What::Man { page: Page::Program } => man_page::page(command()),
        What::Man {
            page: Page::Configuration,
        } => config_page::page(),
        What::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command(), PROGRAM, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        }
    })
}

/// The command line of `shinken-gatherer`, with this program's own as its `generate`.
fn command() -> clap::Command {
    cli::command().mut_subcommand("generate", |_| {
        let own = Generate::command();
        own.mut_arg("config", |config| config.hide(true))
    })
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn everything_is_printed() {
        for (args, part) in [
            ("init-script", "#!/bin/sh\n"),
            ("man", "COMMAND ONCE"),
            ("man gatherer.toml", "full_scan_interval"),
            ("completions bash", "complete -F"),
            ("completions zsh", "#compdef shinken-gatherer"),
            ("completions fish", "complete -c shinken-gatherer"),
        ] {
            let text = text(["generate"].into_iter().chain(args.split(' ')).map(Into::into)).unwrap();
            assert!(text.contains(part), "{args}: {text:.60}");
        }
    }

    #[test]
    fn an_unknown_word_is_refused() {
        assert!(text(["generate", "cake"].into_iter().map(Into::into)).is_err());
    }
}
