//! Usage errors and help of every command except `check`.

use crate::support::{gatherer, stderr_of, text};

#[test]
fn bad_usage_is_code_2_with_a_hint_on_stderr() {
    for arguments in [
        "",
        "runn",
        "--config",
        "once --jsonn",
        "once --window 0s",
        "once --window 1M",
        "status more",
        "status --watch 1ms",
        "status --watch often",
        "status -v --json",
        "config",
        "config check",
        "generate",
        "generate cake",
        "generate completions elvish",
    ] {
        let output = gatherer().args(arguments.split_whitespace()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(
            stderr_of(&output).contains("--help"),
            "{arguments:?}: {}",
            stderr_of(&output)
        );
    }
    let output = gatherer().args(["--config", "", "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = stderr_of(&output);
    assert!(
        stderr.contains("a value is required for '--config <FILE>'"),
        "{stderr}"
    );
}

#[test]
fn help_and_version_are_code_0_on_stdout() {
    let version = concat!("shinken-gatherer ", env!("CARGO_PKG_VERSION"));
    for (arguments, start) in [
        ("--help", "Background gatherer"),
        ("--version", version),
        ("once --help", "Collect once"),
        ("help status", "Show the"),
        ("once -V", version),
        ("config test -V", version),
    ] {
        let output = gatherer().args(arguments.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments}");
        let shown = text(&output.stdout);
        assert!(shown.starts_with(start) && output.stderr.is_empty(), "{shown}");
    }
}
