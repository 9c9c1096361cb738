//! Makes the files of `generated/` from the command line and from the default configuration, and fails where the
//! committed ones differ. To write them anew:
//!
//! ```text
//! WRITE_GENERATED=1 cargo test --test generated
//! ```

mod config_page;

use std::fs;
use std::path::Path;

use clap_complete::{Shell, generate};
use clap_mangen::Man;
use shinken_gatherer::cli;
use shinken_gatherer::config::Config;

/// Compares with the committed file, or writes it where that was asked for.
fn is_committed(name: &str, made: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated").join(name);
    if std::env::var_os("WRITE_GENERATED").is_some() {
        fs::write(&path, made).unwrap();
        return;
    }
    let committed = fs::read(&path).unwrap_or_default();
    assert!(
        committed == made,
        "{path:?} is out of date: WRITE_GENERATED=1 cargo test --test generated"
    );
}

fn completions(shell: Shell) -> Vec<u8> {
    let mut made = Vec::new();
    generate(shell, &mut cli::command(), "shinken-gatherer", &mut made);
    made
}

#[test]
fn bash_completions_are_those_of_the_command_line() {
    is_committed("shinken-gatherer.bash", &completions(Shell::Bash));
}

#[test]
fn zsh_completions_are_those_of_the_command_line() {
    is_committed("_shinken-gatherer", &completions(Shell::Zsh));
}

#[test]
fn fish_completions_are_those_of_the_command_line() {
    is_committed("shinken-gatherer.fish", &completions(Shell::Fish));
}

#[test]
fn the_manual_page_is_that_of_the_command_line() {
    is_committed("shinken-gatherer.8", &command_page());
}

#[test]
fn the_manual_page_of_the_configuration_is_that_of_the_shipped_file() {
    is_committed("gatherer.toml.5", config_page::page().as_bytes());
}

#[test]
fn the_shipped_configuration_is_the_defaults_as_it_is_and_with_every_key_set() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/shinken/gatherer.toml");
    assert_eq!(Config::load(Some(&shipped)).unwrap(), Config::default());

    let set: String = config_page::SHIPPED
        .lines()
        .map(|line| format!("{}\n", config_page::setting(line).unwrap_or(line)))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gatherer.toml");
    fs::write(&path, set).unwrap();
    let mut config = Config::load(Some(&path)).unwrap();
    // These two are found at run time where they are not set.
    let default = Config::default();
    assert!(config.graphite.whisper_dir.take().is_some() && config.graphite.output.take().is_some());
    assert_eq!(config, default);
}

/// The page of the program and, as sections of it, of its commands.
fn command_page() -> Vec<u8> {
    let command = cli::command().disable_help_subcommand(true);
    let program = Man::new(command.clone()).section("8");
    let mut page = Vec::new();
    program.render_title(&mut page).unwrap();
    program.render_name_section(&mut page).unwrap();
    program.render_synopsis_section(&mut page).unwrap();
    program.render_description_section(&mut page).unwrap();
    program.render_options_section(&mut page).unwrap();
    commands(&command, "", &mut page);
    page.extend_from_slice(include_bytes!("epilogue.man"));
    page
}

fn commands(parent: &clap::Command, prefix: &str, page: &mut Vec<u8>) {
    for command in parent
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        let name = format!("{prefix}{}", command.get_name());
        let heading = format!(".SH \"COMMAND {}\"\n", name.to_uppercase());
        page.extend_from_slice(heading.as_bytes());
        let man = Man::new(
            command
                .clone()
                .display_name(&name)
                .bin_name(format!("shinken-gatherer {name}")),
        );
        let mut section = Vec::new();
        man.render_synopsis_section(&mut section).unwrap();
        man.render_description_section(&mut section).unwrap();
        man.render_options_section(&mut section).unwrap();
        // Sections of a page of its own, here paragraphs of one section.
        for line in String::from_utf8(section).unwrap().lines() {
            if !line.starts_with(".SH ") && !line.starts_with(".ie ") && !line.starts_with(".el ") {
                page.extend_from_slice(line.as_bytes());
                page.push(b'\n');
            } else if line.starts_with(".SH ") {
                page.extend_from_slice(b".PP\n");
            }
        }
        commands(command, &format!("{name} "), page);
    }
}
