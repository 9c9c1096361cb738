mod crash_safety;
mod outputs;

use std::process::Command;

use crate::support::{TestDir, skip};

/// Returns `strace` with these options on the daemon or another command of the binary, with its output in the file
/// `trace`; `None`, reported as skipped, if it cannot be used.
fn strace(dir: &TestDir, options: &[&str], command: &[&str]) -> Option<Command> {
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
