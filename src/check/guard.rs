//! Keeps the exit code of `check` from 0 to 3: usage errors, `--help` and panics are UNKNOWN.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::collectors;
use crate::output;
use crate::plugin::{Answer, State};
use crate::version::help_or_version;

/// The service in the answer if the collector is unknown.
const SERVICE: &str = "SHINKEN-GATHERER";

/// Returns whether the command line, which starts with the program name, is one of `check`, valid or not.
pub fn is_check(args: &[OsString]) -> bool {
    let mut rest = args.iter().skip(1);
    while let Some(argument) = rest.next() {
        if argument == "--config" {
            rest.next();
        } else if !argument.as_encoded_bytes().starts_with(b"-") {
            return argument == "check";
        }
    }
    false
}

/// Makes a panic print an answer and exit. The hook itself exits, because a second panic or a build that aborts on
/// panics would give another exit code.
pub fn answer_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = format!("internal error, please report it: {panic}");
        output::print(&Answer::unknown(text).line(SERVICE));
        std::process::exit(State::Unknown as i32);
    }));
}

/// Answers a usage error with one line on stdout and the usage on stderr. Prints requested help on stdout.
pub fn refuse(usage: &clap::Error) -> ExitCode {
    if usage.use_stderr() {
        let rendered = usage.render().to_string();
        let reason = match usage.kind() {
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
                format!("missing subcommand: {}", collectors::names())
            }
            _ => rendered.lines().next().unwrap_or_default().to_string(),
        };
        let reason = reason.strip_prefix("error: ").unwrap_or(&reason);
        output::print(&Answer::unknown(reason).line(SERVICE));
        output::print_usage_error(&rendered);
    } else {
        output::print(&help_or_version(usage));
    }
    ExitCode::from(State::Unknown as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_check_command_line_is_still_a_check() {
        let is = |args: &[&str]| {
            let args = [&["gatherer"], args].concat();
            is_check(&args.into_iter().map(OsString::from).collect::<Vec<_>>())
        };
        assert!(is(&["check"]));
        assert!(is(&["check", "help"]));
        assert!(is(&["--config", "run", "check", "disks"]));
        assert!(is(&["--config=x", "--bogus", "check"]));
        assert!(!is(&["once", "check"]));
        assert!(!is(&["--config", "check"]));
        assert!(!is(&["help", "check"]));
        assert!(!is(&[]));
    }

    /// Runs this test again in a child process, which panics.
    #[test]
    fn panic_is_unknown() {
        const INSIDE: &str = "GATHERER_TEST_PANIC";
        if std::env::var_os(INSIDE).is_some() {
            answer_panics();
            panic!("first line\nsecond | line");
        }
        let run = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "check::guard::tests::panic_is_unknown", "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(3));
        let out = String::from_utf8(run.stdout).unwrap();
        let row = "SHINKEN-GATHERER UNKNOWN: internal error, please report it: ";
        assert!(out.contains(row), "{out}");
        assert!(include_str!("../../docs/answers.md").contains(&format!("\n| `{row}…` |")));
        assert!(out.ends_with("first line second / line\n"), "{out}");
    }
}
