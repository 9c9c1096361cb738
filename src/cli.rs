//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::Config;
use crate::generate::GenerateArgs;
use crate::{daemon, once, output};

/// Gathers in the background what a Shinken monitoring server's checks need: how many hosts and metrics Graphite
/// holds, how busy each disk is, and how much CPU time VMware withholds from this machine.
#[derive(Debug, Parser)]
#[command(name = "shinken-gatherer", version, about, max_term_width = 100)]
struct Cli {
    /// The configuration [default: /etc/shinken/gatherer.toml where that exists, else built-in values]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run in the foreground and publish until SIGTERM; SIGHUP reads the configuration again
    Run,
    /// Gather once and print what there is to know; nothing is published without --write
    Once(OnceArgs),
    /// Print what packaging installs: the init script, the manual pages, the completions
    Generate(GenerateArgs),
}

/// Options of `once`.
#[derive(Debug, Args)]
pub(crate) struct OnceArgs {
    /// Print the documents as JSON, for programs, instead of a table
    #[arg(long)]
    pub json: bool,
    /// Also publish the documents, as the daemon would
    #[arg(long)]
    pub write: bool,
    /// How long to watch the disks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_window)]
    pub window: Duration,
    /// Count this directory instead of the configured one
    #[arg(long, value_name = "DIR")]
    pub whisper_dir: Option<PathBuf>,
}

/// Runs the command line `args`, whose first is the program's name, and returns the exit code: 0, 1 when something
/// failed, 2 for bad usage or configuration.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(usage) if usage.use_stderr() => {
            output::complain_usage(&usage.render().to_string());
            return ExitCode::from(2);
        }
        Err(help) => {
            output::print(&help.render().to_string());
            return ExitCode::SUCCESS;
        }
    };
    if let Command::Generate(what) = &cli.command {
        return generate(what, cli.config.as_deref());
    }
    let config = match Config::load(cli.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            output::complain(error);
            return ExitCode::from(2);
        }
    };
    let result = match cli.command {
        Command::Run => daemon::run(cli.config.as_deref(), config).map(|()| ExitCode::SUCCESS),
        Command::Once(args) => once::run(&args, config),
        Command::Generate(_) => Ok(ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        output::complain(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn generate(what: &GenerateArgs, config: Option<&Path>) -> ExitCode {
    match what.text(config) {
        Ok(text) => {
            output::print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::complain(error);
            ExitCode::from(2)
        }
    }
}

/// The command line as clap knows it, for the manual page and the completions.
pub fn command() -> clap::Command {
    Cli::command()
}

fn parse_window(text: &str) -> Result<Duration, String> {
    let window = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_millis(10)..=Duration::from_secs(3600);
    if allowed.contains(&window) {
        Ok(window)
    } else {
        Err("must be within 10ms to 1h".into())
    }
}
