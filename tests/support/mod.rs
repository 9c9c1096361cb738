//! What the tests of the built binary share: a directory with a configuration, the daemon, and waiting.

pub mod attacker;
pub mod check_fixture;
pub mod clocks;
pub mod fixture;
pub mod mounted;
pub mod outputs;
pub mod snapshot;
pub mod storage;
pub mod tree;
pub mod unread;
pub mod watch;

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use mounted::Mounted;

/// Longest wait for something that normally takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Keys of a collector that samples often. The first value comes after one interval.
pub const FAST: &str = "interval = \"20ms\"\nwindow = \"1s\"";

/// Waits until `condition` returns a value.
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

/// A directory with a whisper tree and a configuration that writes nowhere else.
pub struct TestDir {
    /// Dropped before the directory.
    _mount: Option<Mounted>,
    dir: TempDir,
}

impl TestDir {
    pub fn new() -> Self {
        Self::under(&std::env::temp_dir(), false)
    }

    /// On a file system in memory, where flushing costs nothing.
    pub fn in_memory() -> Self {
        Self::under(Path::new("/dev/shm"), false)
    }

    /// In memory if root runs the test, on a mount that allows programs and devices, which /dev/shm may not.
    pub fn mounted() -> Self {
        Self::under(&std::env::temp_dir(), geteuid().is_root())
    }

    fn under(parent: &Path, is_mounted: bool) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let mount = is_mounted.then(|| Mounted::tmpfs(dir.path())).flatten();
        let dir = Self { _mount: mount, dir };
        for folder in ["whisper", "state"] {
            fs::create_dir(dir.path(folder)).unwrap();
        }
        dir.configure("");
        dir
    }

    pub fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.dir.path().join(name.as_ref())
    }

    /// Writes a file, and creates the directories above it.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// Writes the configuration: keys of the top level, of `[graphite]` and of `[disks]`, then `more`, which begins
    /// with keys of `[vmware]`. Paths that are not given are in this directory.
    pub fn configure_with(&self, top: &str, graphite: &str, disks: &str, more: &str) {
        let root = self.dir.path().display();
        let path = |keys: &str, key: &str, name: &str| {
            let keys = keys.split("\n[").next().unwrap();
            match keys.starts_with('[') || !keys.contains(&format!("{key} = ")) {
                true => format!("{key} = \"{root}/{name}\"\n"),
                false => String::new(),
            }
        };
        let run = format!("[host]\nrun = \"{root}/run\"\n");
        let more_and_host = match more.contains("[host]\n") {
            true => more.replace("[host]\n", &run),
            false => format!("{more}\n{run}"),
        };
        let text = [
            &path(top, "log_file", "gatherer.log"),
            &path(top, "state_dir", "state"),
            top,
            "\n[graphite]\n",
            &path(graphite, "whisper_dir", "whisper"),
            graphite,
            "\n[disks]\n",
            &path(disks, "output", "disks.tmp"),
            disks,
            "\n[vmware]\n",
            &path(more, "output", "vmware.dat"),
            &more_and_host,
        ];
        let text = outputs::publish_in(self.dir.path(), &(text.concat() + "\n"));
        self.write("gatherer.toml", &text);
    }

    pub fn configure(&self, graphite: &str) {
        self.configure_with("", graphite, "", "");
    }

    /// Writes a configuration with the kernel files of a VMware VM: one disk, four vCPUs, and no guest library.
    pub fn configure_vm(&self, top: &str, graphite: &str, disks: &str, vmware: &str) {
        if !self.path("proc").exists() {
            fs::create_dir_all(self.path("sys/block/sda/device")).unwrap();
            self.write("proc/diskstats", "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n");
            self.write("sys/class/dmi/id/sys_vendor", "VMware, Inc.\n");
            self.write("sys/devices/system/cpu/online", "0-3\n");
        }
        let root = self.dir.path().display();
        let more = format!(
            "libraries = [\"{root}/none.so\"]\n{vmware}\n[host]\nproc = \"{root}/proc\"\nsys = \"{root}/sys\"\n"
        );
        self.configure_with(top, graphite, disks, &more);
    }

    /// Replaces a part of the configuration.
    pub fn reconfigure(&self, old: &str, new: &str) {
        let text = self.read("gatherer.toml");
        assert!(text.contains(old), "{text}");
        self.write("gatherer.toml", &text.replace(old, new));
    }

    /// Writes `proc` and `sys` with this many disks, and returns the `[host]` table that uses them.
    pub fn many_disks(&self, disks: usize) -> String {
        let mut diskstats = String::new();
        for number in 0..disks {
            fs::create_dir_all(self.path(format!("sys/block/sd{number}/device"))).unwrap();
            diskstats += &format!("8 {number} sd{number} 1 0 8 1 1 0 8 1 0 1 1\n");
        }
        self.write("proc/diskstats", &diskstats);
        let (proc, sys) = (self.path("proc"), self.path("sys"));
        format!("[host]\nproc = {proc:?}\nsys = {sys:?}")
    }

    /// Creates files and the directories above them in the whisper directory.
    pub fn metrics<N: AsRef<[u8]>>(&self, names: impl IntoIterator<Item = N>) {
        for name in names {
            let path = self.path("whisper").join(OsStr::from_bytes(name.as_ref()));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }

    /// The binary with the configuration of this directory.
    pub fn command(&self) -> Command {
        let mut command = gatherer();
        command.arg("--config").arg(self.path("gatherer.toml"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    pub fn once_json(&self) -> Value {
        let output = self.run(&["once", "--json", "--window", "10ms"]);
        assert!(output.status.success(), "{}", stderr_of(&output));
        json_of(&output)
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

    pub fn vmware(&self) -> Option<Value> {
        document(&self.path("vmware.dat"))
    }

    pub fn wait_for_metrics(&self, metrics: u64) {
        wait_for(&format!("the count of {metrics}"), || {
            self.count().filter(|count| count["metrics"] == metrics)
        });
    }

    /// Waits for this many new documents of the disks.
    pub fn wait_for_disks(&self, documents: usize) {
        let name = "disks.tmp";
        watch::Watch::replaced(self.dir.path()).wait_for(name, documents);
    }

    pub fn wait_until_removed(&self, name: &str) {
        wait_for(&format!("the removal of {name}"), || {
            (!self.path(name).exists()).then_some(())
        });
    }
}

/// The built binary without the environment variables that it reads.
pub fn gatherer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shinken-gatherer"));
    clear_environment(&mut command);
    command
}

fn clear_environment(command: &mut Command) {
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

/// Copies the binary into the directory: the original may be in a folder that only its owner can enter.
pub fn copy_of_binary(dir: &TestDir) -> PathBuf {
    let (original, copy) = (env!("CARGO_BIN_EXE_shinken-gatherer"), dir.path("gatherer"));
    // By another process: this one's writable descriptor could be inherited by the children of other tests, and a file
    // that is open for writing cannot be executed.
    let copied = Command::new("cp").arg(original).arg(&copy).status();
    assert!(copied.unwrap().success());
    copy
}

/// A shell script that runs the daemon at its end, after `commands`.
pub fn shell(dir: &TestDir, commands: &str) -> Command {
    let (program, config) = (env!("CARGO_BIN_EXE_shinken-gatherer"), dir.path("gatherer.toml"));
    let mut shell = Command::new("sh");
    let script = format!("{commands} exec {program} --config {} run", config.display());
    shell.args(["-c", &script]);
    shell
}

/// Reads a published file, which must be whole. `None` if it does not exist.
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

/// The JSON that a command printed.
pub fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr_of(output)))
}

/// Reports that the test of this thread cannot run here; tests/run counts it as skipped.
#[allow(clippy::print_stderr, reason = "tests/run reads this line")]
pub fn skip(reason: &str) {
    eprintln!("SKIPPED {}: {reason}", std::thread::current().name().unwrap());
}

/// Returns whether root runs this test. If not, reports the test as skipped.
pub fn root_or_skip() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        skip("needs root");
    }
    is_root
}

/// A running daemon, killed at the end of the test.
pub struct Daemon {
    pub child: Child,
    notify: Option<UnixDatagram>,
}

impl Daemon {
    pub fn start(dir: &TestDir) -> Self {
        Self::spawn(dir.command().arg("run"), None)
    }

    /// Runs as the user nobody, who is subject to permissions; `None` without root.
    pub fn start_as_nobody(dir: &TestDir) -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        for (name, mode) in [("", 0o777), ("state", 0o777), ("gatherer.toml", 0o644)] {
            dir.set_mode(name, mode);
        }
        let mut command = Command::new(copy_of_binary(dir));
        command.arg("--config").arg(dir.path("gatherer.toml"));
        Some(Self::spawn(command.arg("run").uid(65534).gid(65534), None))
    }

    /// Starts it with a notify socket, as systemd does.
    pub fn start_notifying(dir: &TestDir, watchdog: Option<Duration>) -> Self {
        Self::spawn_notifying(dir, watchdog, dir.command().arg("run"))
    }

    pub fn spawn_notifying(dir: &TestDir, watchdog: Option<Duration>, command: &mut Command) -> Self {
        let socket = dir.path("notify");
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).unwrap();
        dir.set_mode("notify", 0o777);
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        command.env("NOTIFY_SOCKET", &socket);
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        Self::spawn(command, Some(notify))
    }

    pub fn spawn(command: &mut Command, notify: Option<UnixDatagram>) -> Self {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, notify }
    }

    /// Receives the next message to systemd.
    pub fn message(&self) -> String {
        let mut buffer = [0; 4096];
        let received = self.notify.as_ref().unwrap().recv(&mut buffer);
        text(&buffer[..received.expect("a message to systemd")])
    }

    /// Receives messages until one has a line that starts with `line`.
    pub fn wait_for_message(&self, line: &str) -> String {
        wait_for(line, || {
            Some(self.message()).filter(|message| message.lines().any(|found| found.starts_with(line)))
        })
    }

    /// Receives the messages to systemd that have arrived.
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

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it with SIGTERM and returns how long that took. Its exit code must be 0.
    pub fn stop(mut self) -> Duration {
        let asked = Instant::now();
        self.signal(Signal::TERM);
        let status = wait_for("the daemon to stop", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
        asked.elapsed()
    }

    /// Stops it, which must take less than a second.
    pub fn stop_at_once(self) {
        let stopped = self.stop();
        assert!(stopped < Duration::from_secs(1), "stopped in {stopped:?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
