//! `config`: validates the configuration, or prints it with what was detected on this machine.

pub mod args;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::config::{Config, Setting, Source};
use crate::detected::{self, WhisperTree};
use crate::escape::{escape, is_printable};
use crate::output;
use args::{Action, ConfigArgs};

/// Column of the origins, so that most of the lines have 80 columns.
const ORIGIN_COLUMN: usize = 58;

/// Runs `config`. A rejected configuration is an error.
pub fn run(args: &ConfigArgs, config_path: Option<&Path>) -> Result<ExitCode> {
    let text = match &args.action {
        Action::Test { file } => {
            let source = Source::read(file.as_deref().or(config_path))?;
            source.config()?;
            describe(&source, "valid")
        }
        Action::Show => {
            let source = Source::read(config_path)?;
            show(
                &source,
                &source.config()?,
                &WhisperTree::find_elsewhere(config_path),
            )
        }
    };
    output::try_print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn describe(source: &Source, state: &str) -> String {
    let state = match source.exists() {
        true => state,
        false => "does not exist, the defaults apply",
    };
    format!("{}: {state}\n", escape(&source.path.display().to_string()))
}

/// Returns the effective configuration in TOML, with comments.
fn show(source: &Source, config: &Config, tree: &Result<WhisperTree, String>) -> String {
    let mut text = format!("# {}", describe(source, "the effective values"));
    let settings = config.settings();
    let mut table = ("", None);
    for (setting, line) in settings.iter().zip(source.lines_of(&settings)) {
        if (setting.table.as_str(), setting.index) != table {
            table = (&setting.table, setting.index);
            text += &match table {
                (name, None) => format!("\n[{name}]\n"),
                (name, Some(_)) => format!("\n[[{name}]]\n"),
            };
        }
        let origin = match (line, &setting.value) {
            (Some(line), _) => format!("file, line {line}"),
            (None, Some(_)) => "default".into(),
            (None, None) if setting.key == "output" => "from whisper_dir".into(),
            (None, None) => "detected".into(),
        };
        let assignment = match value_of(setting, tree) {
            Some(value) => format!("{} = {value}", setting.key),
            None => format!("#{} is unknown", setting.key),
        };
        text += &format!("{:<ORIGIN_COLUMN$} # {origin}\n", escape_toml(&assignment));
    }
    text += "\n# Detected on this machine:\n";
    for (name, fact) in detected::facts(config, tree) {
        text += &format!("# {name}: {}\n", escape(&fact));
    }
    text
}

/// Escapes what does not print, as TOML does in a string.
fn escape_toml(text: &str) -> String {
    let escaped = |character| match is_printable(character) {
        true => character.to_string(),
        false => format!("\\U{:08X}", u32::from(character)),
    };
    text.chars().map(escaped).collect()
}

/// Returns the value of a key, or the one that would be chosen now; `None` if that is unknown.
fn value_of(setting: &Setting, tree: &Result<WhisperTree, String>) -> Option<String> {
    if let Some(value) = &setting.value {
        return Some(value.clone());
    }
    let tree = tree.as_ref().ok()?;
    let path = match setting.key.as_str() {
        "whisper_dir" => &tree.whisper_dir,
        _ => &tree.output,
    };
    serde_json::to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_file_is_described_as_the_defaults() {
        let describe = |path: &str| describe(&Source::read_optional(Path::new(path)).unwrap(), "valid");
        assert_eq!(describe("Cargo.toml"), "Cargo.toml: valid\n");
        assert_eq!(
            describe("/nonexistent"),
            "/nonexistent: does not exist, the defaults apply\n"
        );
    }
}
