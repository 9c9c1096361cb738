use std::cell::RefCell;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Pid;
use tempfile::TempDir;

use super::pid_files::running;
use super::{lock_file, wait};

/// A root folder with the folders of the PID files.
fn root() -> TempDir {
    let root = TempDir::new().unwrap();
    for folder in ["var/run/shinken", "opt/graphite/storage"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    root
}

/// A process with `name` in its command line and a PID file below `root`. Killed when it is dropped.
struct Daemon(Child);

impl Daemon {
    fn start(root: &TempDir, name: &str, pid_file: &str) -> Self {
        let child = Command::new("sleep").arg0(name).arg("600").spawn().unwrap();
        // The kernel lets the parent of a new process go on before it has set the command line.
        let command_line = format!("/proc/{}/cmdline", child.id());
        while fs::read(&command_line).unwrap().is_empty() {
            thread::yield_now();
        }
        fs::write(root.path().join(pid_file), format!("{}\n", child.id())).unwrap();
        Self(child)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// `wait` in a thread. What it calls comes over the channel.
fn waiter(root: &Path, script: Option<Pid>) -> (JoinHandle<bool>, Receiver<String>) {
    let root = root.to_path_buf();
    let (sender, receiver) = channel();
    let thread = thread::spawn(move || {
        let call = |action: &str| Ok(sender.send(action.to_string())?);
        wait(&root, &root.join("locks"), script, call).unwrap()
    });
    (thread, receiver)
}

const SOON: Duration = Duration::from_secs(20);
/// Long enough for a wrong call to arrive.
const A_WHILE: Duration = Duration::from_millis(300);

#[test]
fn waits_for_the_script_and_then_for_the_last_parent() {
    let root = root();
    let script = Daemon::start(&root, "sh", "script");
    let (thread, calls) = waiter(root.path(), Some(script.pid()));
    assert_eq!(calls.recv_timeout(SOON).unwrap(), "start");
    // No parent runs until the script has started one.
    assert!(calls.recv_timeout(A_WHILE).is_err());
    let poller = Daemon::start(&root, "shinken-poller", "var/run/shinken/pollerd.pid");
    drop(script);
    assert!(calls.recv_timeout(A_WHILE).is_err());
    // Found when the first one ends.
    let carbon = Daemon::start(&root, "carbon-cache", "opt/graphite/storage/carbon-cache-a.pid");
    drop(poller);
    assert!(calls.recv_timeout(A_WHILE).is_err());
    drop(carbon);
    assert_eq!(calls.recv_timeout(SOON).unwrap(), "stop");
    assert!(thread.join().unwrap());
}

#[test]
fn second_waiter_ends_with_its_script() {
    let root = root();
    let poller = Daemon::start(&root, "shinken-poller", "var/run/shinken/pollerd.pid");
    let (first, first_calls) = waiter(root.path(), None);
    assert_eq!(first_calls.recv_timeout(SOON).unwrap(), "start");
    // The lock of the first one shows that it waits.
    let waiting = lock_file(&root.path().join("locks"), "waiting").unwrap();
    while waiting.try_lock().is_ok() {
        waiting.unlock().unwrap();
        thread::yield_now();
    }
    let (second, second_calls) = waiter(root.path(), None);
    assert!(!second.join().unwrap());
    assert_eq!(second_calls.iter().collect::<Vec<_>>(), ["start"]);
    drop(poller);
    assert!(first.join().unwrap());
}

#[test]
fn no_stop_while_an_init_script_runs() {
    let root = root();
    let poller = Daemon::start(&root, "shinken-poller", "var/run/shinken/pollerd.pid");
    let (first, first_calls) = waiter(root.path(), None);
    assert_eq!(first_calls.recv_timeout(SOON).unwrap(), "start");
    let script = Daemon::start(&root, "sh", "script");
    let (second, second_calls) = waiter(root.path(), Some(script.pid()));
    assert_eq!(second_calls.recv_timeout(SOON).unwrap(), "start");
    drop(poller);
    assert!(first_calls.recv_timeout(A_WHILE).is_err());
    let broker = Daemon::start(&root, "shinken-broker", "var/run/shinken/brokerd.pid");
    drop(script);
    assert!(!second.join().unwrap());
    assert!(first_calls.recv_timeout(A_WHILE).is_err());
    drop(broker);
    assert_eq!(first_calls.recv_timeout(SOON).unwrap(), "stop");
    assert!(first.join().unwrap());
}

#[test]
fn wait_without_parents_returns_at_once() {
    let root = root();
    let calls = RefCell::new(Vec::new());
    let call = |action: &str| {
        calls.borrow_mut().push(action.to_string());
        Ok(())
    };
    assert!(wait(root.path(), &root.path().join("locks"), None, call).unwrap());
    assert_eq!(calls.into_inner(), ["start", "stop"]);
}

#[test]
fn pid_file_of_another_program_is_no_parent() {
    let root = root();
    let folder = root.path().join("var/run/shinken");
    let fifo = folder.join("fifo.pid");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fs::create_dir(folder.join("folder.pid")).unwrap();
    for (name, text) in [
        ("empty.pid", ""),
        ("init.pid", "1"),
        ("zero.pid", "0"),
        ("negative.pid", "-1"),
        ("text.pid", "shinken"),
        ("ended.pid", "4194303"),
        ("long.pid", &"7".repeat(100)),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let _reused = Daemon::start(&root, "bash", "var/run/shinken/reused.pid");
    let _ours = Daemon::start(&root, "/usr/sbin/shinken-gatherer", "var/run/shinken/ours.pid");
    let _other_name = Daemon::start(&root, "carbon-cache", "opt/graphite/storage/carbon-relay.pid");
    assert_eq!(running(root.path()).len(), 0);
    let _poller = Daemon::start(&root, "shinken-poller", "var/run/shinken/pollerd.pid");
    let _carbon = Daemon::start(&root, "carbon-cache", "var/run/carbon-cache.pid");
    assert_eq!(running(root.path()).len(), 2);
}
