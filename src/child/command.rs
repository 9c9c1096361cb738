//! The command line by which this binary starts itself as a child process, and what the child does with it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Environment variables for the daemon only: a child must not notify systemd on its behalf.
const DAEMON_VARIABLES: [&str; 4] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "GATHERER_DEBUG"];

/// Returns the command that runs this binary with a hidden subcommand.
pub fn command(subcommand: &str, arguments: &[OsString]) -> Command {
    // The running file, even if a newer one was installed in its place.
    let mut command = Command::new("/proc/self/exe");
    for variable in DAEMON_VARIABLES {
        command.env_remove(variable);
    }
    command
        .arg0(env!("CARGO_PKG_NAME"))
        .arg(subcommand)
        .arg(std::process::id().to_string())
        .args(arguments);
    command
}

/// Returns the parent process id and the arguments of a command line that [`command`] made.
pub fn arguments<'a>(args: &'a [OsString], subcommand: &str) -> Option<(Pid, &'a [OsString])> {
    match args {
        [_, found, parent, rest @ ..] if found == subcommand => {
            Some((Pid::from_raw(parent.to_str()?.parse().ok()?)?, rest))
        }
        _ => None,
    }
}

/// Makes the kernel kill this process when its parent exits. Returns an error if the parent has already exited.
///
/// A later change of the user would undo this.
pub fn tie_to_parent(parent: Pid) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("setting the parent death signal")?;
    ensure!(getppid() == Some(parent), "the parent process has exited");
    Ok(())
}
