//! Ways to run the built binary: without the caller's environment, within limits, traced, by the systemd generator, and with
//! a configuration that it must reject.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::{TestDir, skip, stderr_of, text};

/// The built binary.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_shinken-gatherer");

/// The built binary without the environment variables that it reads.
pub fn gatherer() -> Command {
    let mut command = Command::new(PROGRAM);
    clear_environment(&mut command);
    command
}

pub fn clear_environment(command: &mut Command) {
    for variable in [
        "GATHERER_DEBUG",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "RUST_BACKTRACE",
    ] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
}

/// Returns setpriv(1) with this user and group, and with these capabilities if given. The program and its arguments follow.
pub fn setpriv(uid: u32, capabilities: Option<&str>) -> Command {
    let user = uid.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        command.args(capabilities.map(|names| [set, names]).into_iter().flatten());
    }
    command
}

/// Returns a command that runs shell commands in a mount namespace, then `command` in it.
pub fn after_mounting(shell: &str, command: &Command) -> Command {
    let mut unshare = Command::new("/usr/bin/unshare");
    let script = format!("{shell} && exec \"$@\"");
    unshare.args(["--mount", "sh", "-c", &script, "sh"]);
    unshare.arg(command.get_program()).args(command.get_args());
    unshare
}

/// Commands for [`after_mounting`] that hide the journal of the machine.
pub const HIDE_JOURNAL: &str = "mount -t tmpfs none /run";

/// Copies the binary into the directory: the original may be in a folder that only its owner can enter.
pub fn copy_of_binary(dir: &TestDir) -> PathBuf {
    let (original, copy) = (PROGRAM, dir.path("gatherer"));
    // By another process: this one's writable descriptor could be inherited by the children of other tests, and a file
    // that is open for writing cannot be executed.
    let copied = Command::new("cp").arg(original).arg(&copy).status();
    assert!(copied.unwrap().success());
    copy
}

/// A shell script that runs the daemon at its end, after `commands`.
pub fn shell(dir: &TestDir, commands: &str) -> Command {
    let (program, config) = (PROGRAM, dir.path("gatherer.toml"));
    let mut shell = Command::new("sh");
    let script = format!("{commands} exec {program} --config {} run", config.display());
    shell.args(["-c", &script]);
    shell
}

/// Returns `strace` with these options on the daemon or another command of the binary, with its output in the file
/// `trace`; `None`, reported as skipped, if it cannot be used.
pub fn strace(dir: &TestDir, options: &[&str], command: &[&str]) -> Option<Command> {
    let probe = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        skip("strace cannot be used");
        return None;
    }
    let mut strace = Command::new("strace");
    strace
        .args(["-qq", "-f", "-y", "-o"])
        .arg(dir.path("trace"))
        .args(options);
    let traced = dir.command();
    strace
        .arg(traced.get_program())
        .args(traced.get_args())
        .args(command);
    Some(strace)
}

/// Does the same for a command that takes 50 ms for each read of a directory.
pub fn with_slow_directories(dir: &TestDir, command: &[&str]) -> Option<Command> {
    let delay = "inject=getdents64:delay_exit=50000";
    strace(dir, &["-e", "trace=getdents64", "-e", delay], command)
}

/// Returns `gatherer --config FILE` with a limit of 200 MB of address space and of 20 s.
pub fn limited(dir: &TestDir) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["20", "prlimit", "--as=200000000"])
        .arg(PROGRAM)
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

/// The file that the generator writes, in the directory of the test.
pub const DROP_IN: &str = "out/shinken-gatherer.service.d/50-configured-paths.conf";

/// Runs the generator on the configuration `file` with the built binary.
pub fn run_generator(dir: &TestDir, file: &str) -> Output {
    let file = dir.path(file).display().to_string();
    let program = format!("{} --config {file}", PROGRAM);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/generator");
    let script = fs::read_to_string(script)
        .unwrap()
        .replace("/etc/shinken-gatherer/gatherer.toml", &file)
        .replace("/usr/sbin/shinken-gatherer", &program);
    let mut command = Command::new("sh");
    command.args(["-c", &script, "generator"]);
    command.args(["out", "early", "late"].map(|folder| dir.path(folder)));
    command.output().unwrap()
}
