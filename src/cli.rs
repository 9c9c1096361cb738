//! The command line.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, CommandFactory, Parser, Subcommand};
use rustix::process::Pid;

use crate::config::{Config, ConfigError};
use crate::lock::{self, AlreadyRunning};
use crate::report::to_line;
use crate::vmware::helper;
use crate::{check, child, daemon, once, output, parents, reader, status, worker};

/// Gathers in the background what a Shinken monitoring server's checks need: how many hosts and metrics Graphite
/// holds, how busy each disk is, and how much CPU time VMware withholds from this machine.
#[derive(Debug, Parser)]
#[command(
    name = "shinken-gatherer",
    version,
    propagate_version = true,
    about,
    max_term_width = 100
)]
struct Cli {
    /// The configuration [default: /etc/shinken-gatherer/gatherer.toml where that exists, else built-in values]
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
    /// Show what is published, how old it is and whether it still holds; exit code 1 when something does not
    Status(status::args::StatusArgs),
    /// Answer as a monitoring plugin: one line with perfdata, exit code 0 to 3
    Check(check::args::CheckArgs),
    /// Print what packaging installs: the init script, the manual pages, the completions,
    /// a drop-in for the sandbox
    Generate(GenerateArgs),
    /// Removes what a killed daemon left. For the unit and the init script, so it is not in the help.
    #[command(skip)]
    CleanUp,
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
    /// How long to watch the disks and VMware's figures
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_window)]
    pub window: Duration,
    /// Count this directory instead of the configured one
    #[arg(long, value_name = "DIR")]
    pub whisper_dir: Option<PathBuf>,
}

/// Arguments of `generate`, for the program that does it.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
struct GenerateArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    what: Vec<OsString>,
}

/// The program behind `generate`: a file beside this one, or in [`GENERATOR_FOLDER`] once installed. It is no part of
/// the daemon because all of that would stay in memory with it.
const GENERATOR: &str = "shinken-gatherer-generate";
const GENERATOR_FOLDER: &str = "/usr/libexec/shinken-gatherer";

/// Exit code of `run` if the daemon runs already: EX_TEMPFAIL, a later try may succeed.
const ALREADY_RUNNING: u8 = 75;

/// Runs the command line `args`, whose first is the program's name, and returns the exit code: 0, 1 if something
/// failed, 2 for bad usage or configuration, 75 if `run` finds a running daemon. A check's is 0 to 3, and 3 for any
/// error.
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
    let cli = match without_clap(&args).map_or_else(|| Cli::try_parse_from(&args), Ok) {
        Ok(cli) => cli,
        Err(usage) if is_check => return check::guard::refuse(&usage),
        Err(usage) if usage.use_stderr() => {
            output::print_usage_error(&usage.render().to_string());
            return ExitCode::from(2);
        }
        Err(help) => {
            output::print(&help.render().to_string());
            return ExitCode::SUCCESS;
        }
    };
    let is_run = matches!(cli.command, Command::Run);
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

fn run(command: Command, config_path: Option<&Path>, command_line: &[OsString]) -> Result<ExitCode> {
    let config = || Config::load(config_path);
    match command {
        Command::Run => daemon::run(config_path, config()?).map(|()| ExitCode::SUCCESS),
        Command::Once(args) => once::run(&args, config()?),
        Command::Status(args) => status::run(&args, config_path, &config()?),
        Command::Check(args) => Ok(check::run(&args, config(), command_line)),
        // The program that generates reads the configuration itself if it needs it.
        Command::Generate(args) => generate(&args, config_path),
        // A daemon that was killed may have had another configuration than the one that is rejected now.
        Command::CleanUp => lock::clean_up(&config().unwrap_or_default()).map(|()| ExitCode::SUCCESS),
    }
}

/// Answers a command line of [`reader`] on stdout: the part of it that reads the storage of the tree.
fn read_storage(parent: Pid, args: &[OsString]) -> Result<()> {
    child::tie_to_parent(parent)?;
    let name = OsString::from(env!("CARGO_PKG_NAME"));
    let cli = Cli::try_parse_from([&[name], args].concat())?;
    let answer = match (cli.command, Config::load(cli.config.as_deref())) {
        (Command::Check(args), config) => to_line(&check::answer_now(&args, config)),
        (Command::Status(_), config) => to_line(&status::read_count(&config?)),
        _ => bail!("nothing to read"),
    };
    output::try_print(&answer).map(drop)
}

/// Becomes the program that generates, which is no part of the daemon. Returns only where that fails.
fn generate(args: &GenerateArgs, config: Option<&Path>) -> Result<ExitCode> {
    let beside = std::env::current_exe()
        .context("finding this program")?
        .with_file_name(GENERATOR);
    let installed = Path::new(GENERATOR_FOLDER).join(GENERATOR);
    let program = [&beside, &installed].into_iter().find(|path| path.exists());
    let mut command = std::process::Command::new(program.unwrap_or(&installed));
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let error = command.args(&args.what).exec();
    Err(error).with_context(|| format!("running {:?}", command.get_program()))
}

/// The command line as clap knows it, for the manual page and the completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Recognises `run` and `clean-up`, with or without `--config FILE` before them. What clap would touch stays in the
/// daemon's memory for as long as it runs: some 250 KB, for the two words that the unit passes.
fn without_clap(args: &[OsString]) -> Option<Cli> {
    let (config, command) = match args {
        [_, command] => (None, command),
        [_, option, file, command] if option == "--config" => (Some(file.into()), command),
        _ => return None,
    };
    let command = match command.to_str()? {
        "run" => Command::Run,
        "clean-up" => Command::CleanUp,
        _ => return None,
    };
    Some(Cli { config, command })
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
