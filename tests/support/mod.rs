//! What the tests of the built binary share: a place of its own for each, the daemon in it, and waiting.

pub mod attacker;
pub mod check_fixture;
pub mod clocks;
pub mod fixture;
pub mod outputs;
pub mod snapshot;
pub mod storage;
pub mod tree;
pub mod watch;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longest that a test waits for something that should happen at once: these machines are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` gives something.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A folder with a whisper tree, a configuration that publishes into it, and nothing else.
pub struct TestDir {
    dir: TempDir,
}

impl TestDir {
    pub fn new() -> Self {
        Self::under(&std::env::temp_dir())
    }

    /// On a file system in memory, where flushing costs nothing.
    pub fn in_memory() -> Self {
        Self::under(Path::new("/dev/shm"))
    }

    fn under(directory: &Path) -> Self {
        let place = Self {
            dir: tempfile::tempdir_in(directory).unwrap(),
        };
        for folder in ["whisper", "state"] {
            fs::create_dir(place.path(folder)).unwrap();
        }
        place.configure("");
        place
    }

    pub fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.dir.path().join(name.as_ref())
    }

    /// Writes the configuration: where everything is, then `graphite` keys, then whole tables in `more`.
    pub fn configure_with(&self, top: &str, graphite: &str, disks: &str, more: &str) {
        let root = self.dir.path().display();
        let run = format!("[host]\nrun = \"{root}/run\"\n");
        let more = match more.contains("[host]\n") {
            true => more.replace("[host]\n", &run),
            false => format!("{more}\n{run}"),
        };
        let text = format!(
            "log_file = \"{root}/gatherer.log\"\nstate_dir = \"{root}/state\"\n{top}\n\
             [graphite]\nwhisper_dir = \"{root}/whisper\"\n{graphite}\n\
             [disks]\noutput = \"{root}/disks.tmp\"\n{disks}\n\
             [vmware]\noutput = \"{root}/vmware.dat\"\n{more}\n"
        );
        fs::write(
            self.path("gatherer.toml"),
            outputs::publish_in(self.dir.path(), &text),
        )
        .unwrap();
    }

    pub fn configure(&self, graphite: &str) {
        self.configure_with("", graphite, "", "");
    }

    /// Makes files (and the directories they need) below the whisper directory.
    pub fn metrics<N: AsRef<[u8]>>(&self, names: impl IntoIterator<Item = N>) {
        for name in names {
            let path = self.path("whisper").join(OsStr::from_bytes(name.as_ref()));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    pub fn command(&self) -> Command {
        let mut command = gatherer();
        command.arg("--config").arg(self.path("gatherer.toml"));
        command
    }

    pub fn once_json(&self) -> Value {
        let output = self
            .command()
            .args(["once", "--json", "--window", "10ms"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("gatherer.log")).unwrap_or_default()
    }

    pub fn wait_for_log(&self, part: &str) {
        wait_for(part, || self.log().contains(part).then_some(()));
    }

    pub fn count(&self) -> Option<Value> {
        document(&self.path("whisper.nb_metrics"))
    }

    pub fn disks(&self) -> Option<Value> {
        document(&self.path("disks.tmp"))
    }
}

/// The built binary, with none of the variables of the environment that it looks at.
pub fn gatherer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shinken-gatherer"));
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
    command
}

/// A copy of the binary where any user can run it: the original may be in a folder that only its owner can enter.
pub fn copy_of_binary(place: &TestDir) -> PathBuf {
    let copy = place.path("gatherer");
    // By another process: a descriptor of this one, open for writing, could be inherited by what other tests start,
    // and a file that anyone can write to can't be run.
    assert!(
        Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_shinken-gatherer"))
            .arg(&copy)
            .status()
            .unwrap()
            .success()
    );
    copy
}

/// A published file: whole and well-formed, or not there.
pub fn document(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    assert!(
        text.ends_with("}\n") && text.lines().count() == 1,
        "not one line: {text:?}"
    );
    Some(serde_json::from_str(&text).unwrap())
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn stderr_of(output: &Output) -> String {
    text(&output.stderr)
}

/// The JSON a command printed; what it complained of where it printed none.
pub fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr_of(output)))
}

/// Reports that the test of this thread cannot run here; tests/run counts it as skipped.
/// Writes past the capture of the test harness, so that tests/run has the line before the result.
pub fn skip(reason: &str) {
    let line = format!("SKIPPED {}: {reason}\n", std::thread::current().name().unwrap());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// A running daemon, killed when the test ends before it.
pub struct Daemon {
    pub child: Child,
    notify: Option<UnixDatagram>,
}

impl Daemon {
    pub fn start(place: &TestDir) -> Self {
        Self::spawn(place.command().arg("run"), None)
    }

    /// As the user nobody, to whom permissions mean something; `None` where that needs root.
    pub fn start_as_nobody(place: &TestDir) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let everyone =
            |path: PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        everyone(place.path(""), 0o777);
        everyone(place.path("state"), 0o777);
        everyone(place.path("gatherer.toml"), 0o644);
        let mut command = Command::new(copy_of_binary(place));
        command
            .arg("--config")
            .arg(place.path("gatherer.toml"))
            .arg("run")
            .uid(65534)
            .gid(65534);
        Some(Self::spawn(&mut command, None))
    }

    /// With a notify socket, as systemd would start it.
    pub fn start_notifying(place: &TestDir, watchdog: Option<Duration>) -> Self {
        let socket = place.path("notify");
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = place.command();
        command.arg("run").env("NOTIFY_SOCKET", &socket);
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        Self::spawn(&mut command, Some(notify))
    }

    pub fn spawn(command: &mut Command, notify: Option<UnixDatagram>) -> Self {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, notify }
    }

    /// The next message to the service manager.
    pub fn message(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self
            .notify
            .as_ref()
            .unwrap()
            .recv(&mut buffer)
            .expect("a message to the service manager");
        text(&buffer[..length])
    }

    /// The next message that has this line in it; those before it are dropped.
    pub fn wait_for_message(&self, line: &str) -> String {
        wait_for(line, || {
            Some(self.message()).filter(|message| message.lines().any(|found| found.starts_with(line)))
        })
    }

    /// Takes the messages to the service manager that are there.
    pub fn drain_messages(&self) -> Vec<String> {
        let notify = self.notify.as_ref().unwrap();
        let (mut messages, mut buffer) = (Vec::new(), [0; 4096]);
        notify.set_nonblocking(true).unwrap();
        while let Ok(length) = notify.recv(&mut buffer) {
            messages.push(text(&buffer[..length]));
        }
        notify.set_nonblocking(false).unwrap();
        messages
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Stops it with SIGTERM; it must end by itself, with code 0, and within a second.
    pub fn stop(mut self) -> Duration {
        let asked = Instant::now();
        self.signal(rustix::process::Signal::TERM);
        let status = wait_for("the daemon to stop", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
        asked.elapsed()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
