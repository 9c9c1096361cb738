//! The command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{CommandFactory, Parser, Subcommand};
use rustix::process::Pid;

use crate::config::{Config, ConfigError, Source};
use crate::detected::WhisperTree;
use crate::lock::{self, AlreadyRunning};
use crate::report::to_line;
use crate::version::{VERSION, help_or_version};
use crate::vmware::helper;
use crate::{check, child, config_command, daemon, generate, once, output, parents, reader, status, worker};

#[derive(Debug, Parser)]
#[command(
    name = "shinken-gatherer",
    version = VERSION,
    propagate_version = true,
    about,
    max_term_width = 100
)]
struct Cli<C: Subcommand> {
    /// Configuration file [default: /etc/shinken-gatherer/gatherer.toml if it exists, otherwise built-in defaults]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: C,
}

/// The documented commands. The others are in [`AnyCommand`] because clap_complete lists hidden commands too.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground; SIGHUP reloads the configuration
    Run,
    /// Collect once and print the results; --write also publishes them
    Once(once::args::OnceArgs),
    /// Show the published files, their age and state; exit 1 if one is missing, unreadable or outdated
    Status(status::args::StatusArgs),
    /// Run as a monitoring plugin: one line with perfdata, exit code 0 to 3
    Check(check::args::CheckArgs),
    /// Validate the configuration, or show its values and what was detected
    Config(config_command::args::ConfigArgs),
    /// Print the files that the package installs
    Generate(generate::GenerateArgs),
}

#[derive(Debug, Subcommand)]
enum AnyCommand {
    #[command(flatten)]
    Documented(Command),
    /// Remove the disk file of a killed daemon, for the unit and the init script
    #[command(hide = true)]
    CleanUp,
}

/// `run` without the other commands, whose options would stay in the memory of the daemon.
#[derive(Debug, Subcommand)]
enum OnlyRun {
    Run,
}

/// Exit code of `run` if another daemon runs: EX_TEMPFAIL, a later try may succeed.
const ALREADY_RUNNING: u8 = 75;

/// Runs the command line `args`, which starts with the program name, and returns the exit code: 0, 1 for a failure, 2
/// for a usage or configuration error, 75 if `run` finds a running daemon. `check` returns 0 to 3, and 3 for any error.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some((parent, libraries)) = helper::arguments(&args) {
        return helper::run(parent, &libraries);
    }
    if let Some(parent) = worker::arguments(&args) {
        return worker::run(parent);
    }
    if let Some((parent, args)) = child::arguments(&args, reader::SUBCOMMAND) {
        return read_storage(parent, args).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    if let Some(action) = parents::arguments(&args) {
        return parents::run(&action);
    }
    let is_check = check::guard::is_check(&args);
    if is_check {
        check::guard::answer_panics();
    }
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(usage) if is_check => return check::guard::refuse(&usage),
        Err(usage) if usage.use_stderr() => {
            output::print_usage_error(&usage.render().to_string());
            return ExitCode::from(2);
        }
        Err(request) => {
            output::print(&help_or_version(&request));
            return ExitCode::SUCCESS;
        }
    };
    let is_run = matches!(cli.command, AnyCommand::Documented(Command::Run));
    run(cli.command, cli.config.as_deref(), &args).unwrap_or_else(|error| {
        output::print_error(format_args!("{error:#}"));
        ExitCode::from(if error.is::<ConfigError>() {
            2
        } else if is_run && error.is::<AlreadyRunning>() {
            ALREADY_RUNNING
        } else {
            1
        })
    })
}

fn parse(args: &[OsString]) -> Result<Cli<AnyCommand>, clap::Error> {
    match Cli::<OnlyRun>::try_parse_from(args) {
        Ok(cli) => Ok(Cli {
            config: cli.config,
            command: AnyCommand::Documented(Command::Run),
        }),
        Err(_) => Cli::try_parse_from(args),
    }
}

fn run(command: AnyCommand, config_path: Option<&Path>, command_line: &[OsString]) -> Result<ExitCode> {
    // Only the commands that render exports load the templates.
    let config = || Source::read(config_path)?.values();
    let command = match command {
        AnyCommand::Documented(command) => command,
        // The killed daemon may have used another configuration than one that is now rejected.
        AnyCommand::CleanUp => {
            return lock::clean_up(&config().unwrap_or_default()).map(|()| ExitCode::SUCCESS);
        }
    };
    match command {
        Command::Run => daemon::run(config_path).map(|()| ExitCode::SUCCESS),
        Command::Once(args) => once::run(&args, Config::load(config_path)?),
        Command::Status(args) => status::run(&args, config_path, config()),
        Command::Check(args) => Ok(check::run(&args, config(), command_line)),
        Command::Config(args) => config_command::run(&args, config_path),
        Command::Generate(args) => generate::run(&args, config, Cli::<Command>::command()),
    }
}

/// Runs the part of a `check`, `config` or `status` command line that reads the tree's storage, and prints its result for
/// [`reader`].
fn read_storage(parent: Pid, args: &[OsString]) -> Result<()> {
    child::tie_to_parent(parent)?;
    let name = OsString::from(env!("CARGO_PKG_NAME"));
    let cli = Cli::<Command>::try_parse_from([&[name], args].concat())?;
    let answer = match (
        cli.command,
        Source::read(cli.config.as_deref()).and_then(|source| source.values()),
    ) {
        (Command::Check(args), config) => to_line(&check::answer_now(&args, config)),
        (Command::Status(_), config) => to_line(&status::read_count(&config?)),
        (Command::Config(_), config) => to_line(&WhisperTree::find(&config?)),
        _ => bail!("the command does not read the storage"),
    };
    output::try_print(&answer)
}
