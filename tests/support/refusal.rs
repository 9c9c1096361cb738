//! Commands that must reject their configuration.

use std::process::Command;

use crate::support::{TestDir, stderr_of, text};

/// Returns `gatherer --config FILE` with a limit of 200 MB of address space and of 20 s.
pub fn limited(dir: &TestDir) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["20", "prlimit", "--as=200000000"])
        .arg(env!("CARGO_BIN_EXE_shinken-gatherer"))
        .arg("--config")
        .arg(dir.path("gatherer.toml"));
    command
}

/// Runs a command that must exit with 2. Returns the only line that it prints, on stderr, without the program name.
pub fn refusal_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = stderr_of(&output);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(2), String::new()),
        "{command:?}: {stderr:.500}"
    );
    let line = stderr
        .strip_prefix("shinken-gatherer: ")
        .and_then(|line| line.strip_suffix('\n'));
    let line = line.unwrap_or_else(|| panic!("{stderr:.500}"));
    assert_is_short_line(line);
    line.to_string()
}

/// Fails unless `error` is one line without control characters and of limited length.
pub fn assert_is_short_line(error: &str) {
    assert!(!error.contains(char::is_control), "{error:.500?}");
    assert!(error.len() < 2000, "{} bytes: {error:.500}", error.len());
}
