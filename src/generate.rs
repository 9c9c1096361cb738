//! `generate`: prints the files that the package installs.

mod config_page;
mod init_script;
mod man_page;
mod sandbox;
mod unit;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use clap_complete::shells;

use crate::config::{Config, ConfigError};
use crate::output;
pub use sandbox::writable_paths;

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    #[command(subcommand)]
    file: File,
}

#[derive(Debug, Subcommand)]
enum File {
    /// The init script, /etc/init.d/shinken-gatherer
    InitScript,
    /// A systemd drop-in that makes configured paths outside the default sandbox writable
    Sandbox,
    /// A manual page
    Man {
        /// Name of the page
        #[arg(value_enum, default_value = "shinken-gatherer")]
        page: Page,
    },
    /// Completions of the command line
    Completions {
        /// Shell that reads them
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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the requested file. `cli` is the command line to document. `config` is called only for the sandbox: the
/// other files are the same for every configuration.
pub fn run(
    args: &GenerateArgs,
    config: impl FnOnce() -> Result<Config, ConfigError>,
    cli: clap::Command,
) -> Result<ExitCode> {
    let text = match args.file {
        File::InitScript => init_script::init_script(),
        File::Sandbox => sandbox::drop_in(&config()?),
        File::Man { page: Page::Program } => man_page::page(&cli),
        File::Man {
            page: Page::Configuration,
        } => config_page::page(),
        File::Completions { shell } => completions(shell, cli),
    };
    output::try_print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Adds the values of the arguments of each subcommand of a command to the fish script.
fn push_fish_values(cli: &clap::Command, text: &mut Vec<u8>) {
    let name = cli.get_name();
    for parent in cli.get_subcommands() {
        for command in parent.get_subcommands() {
            let arguments = command.get_positionals();
            let values = arguments.flat_map(clap::Arg::get_possible_values);
            let values: Vec<_> = values.map(|value| value.get_name().to_string()).collect();
            if !values.is_empty() {
                let line = format!(
                    "complete -c {name} -n \"__fish_{}_using_subcommand {}; and __fish_seen_subcommand_from {}\" -f -a \"{}\"\n",
                    name.replace('-', "_"),
                    parent.get_name(),
                    command.get_name(),
                    values.join(" ")
                );
                text.extend(line.bytes());
            }
        }
    }
}

/// Stops the completion of file names for values that are not paths.
fn without_files(command: clap::Command) -> clap::Command {
    let hinted = |arg: clap::Arg| match (arg.get_action().takes_values(), arg.get_value_hint()) {
        (true, ValueHint::Unknown) => arg.value_hint(ValueHint::Other),
        _ => arg,
    };
    command.mut_args(hinted).mut_subcommands(without_files)
}

fn completions(shell: Shell, cli: clap::Command) -> String {
    let mut cli = without_files(cli);
    let name = cli.get_name().to_string();
    let mut text = Vec::new();
    match shell {
        Shell::Bash => clap_complete::generate(shells::Bash, &mut cli, &*name, &mut text),
        Shell::Zsh => clap_complete::generate(shells::Zsh, &mut cli, &*name, &mut text),
        Shell::Fish => clap_complete::generate(shells::Fish, &mut cli, &*name, &mut text),
    }
    // clap_complete's fish script lacks the values of arguments.
    if let Shell::Fish = shell {
        push_fish_values(&cli, &mut text);
    }
    // clap_complete names the program in two ways in the bash script, so that no case matches: clap#6421, #6529.
    let text = String::from_utf8_lossy(&text);
    text.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}
