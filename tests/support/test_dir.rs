//! A directory for each test, with a configuration that writes nowhere else.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Signal, geteuid};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Daemon, Mounted, Watch, assert_valid, clear_environment, document, gatherer, json_of, publish_in,
    stderr_of, wait_for, wait_until,
};

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
        // So that tests/mutants finds the directories that killed tests leave behind.
        let prefix = format!(".{}-", std::process::id());
        let dir = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(parent)
            .unwrap();
        let mount = is_mounted
            .then(|| Mounted::new("-t tmpfs none", dir.path()))
            .flatten();
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
    /// with keys of `[vmware]`. Paths that are not given are in this directory, and kernel files if they exist there.
    pub fn configure_with(&self, top: &str, graphite: &str, disks: &str, more: &str) {
        let root = self.dir.path().display();
        let path = |keys: &str, key: &str, name: &str| {
            let keys = keys.split("\n[").next().unwrap();
            match keys.starts_with('[') || !keys.contains(&format!("{key} = ")) {
                true => format!("{key} = \"{root}/{name}\"\n"),
                false => String::new(),
            }
        };
        let kernel_files = ["proc", "sys"]
            .into_iter()
            .filter(|name| self.path(name).exists());
        let host: String = kernel_files
            .chain(["run"])
            .map(|name| path("", name, name))
            .collect();
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
            more,
            "\n[host]\n",
            &host,
        ];
        let text = publish_in(self.dir.path(), &(text.concat() + "\n"));
        self.write("gatherer.toml", &text);
    }

    pub fn configure(&self, graphite: &str) {
        self.configure_with("", graphite, "", "");
    }

    /// Writes a configuration with the kernel files of a VMware VM: one disk, four vCPUs, and no guest library.
    pub fn configure_vm(&self, top: &str, graphite: &str, disks: &str, vmware: &str) {
        if !self.path("proc").exists() {
            self.make_disks(["sda"]);
            self.write("sys/class/dmi/id/sys_vendor", "VMware, Inc.\n");
            self.write("sys/devices/system/cpu/online", "0-3\n");
        }
        let library = self.path("none.so");
        self.configure_with(
            top,
            graphite,
            disks,
            &format!("libraries = [{library:?}]\n{vmware}"),
        );
    }

    /// Replaces a part of the configuration.
    pub fn reconfigure(&self, old: &str, new: &str) {
        let text = self.read("gatherer.toml");
        assert!(text.contains(old), "{text}");
        self.write("gatherer.toml", &text.replace(old, new));
    }

    /// Writes `proc` and `sys` with these disks, which the configurations that follow use.
    pub fn make_disks<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>) {
        let mut diskstats = String::new();
        fs::create_dir_all(self.path("sys/block")).unwrap();
        for (minor, name) in names.into_iter().enumerate() {
            let name = name.as_ref();
            fs::create_dir_all(self.path(format!("sys/block/{name}/device"))).unwrap();
            diskstats += &format!("8 {minor} {name} 1 0 8 1 1 0 8 1 0 1 1\n");
        }
        self.write("proc/diskstats", &diskstats);
    }

    /// Replaces a file, as the kernel changes one: at once.
    pub fn replace(&self, name: &str, content: &str) {
        self.write("replacement", content);
        fs::rename(self.path("replacement"), self.path(name)).unwrap();
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

    /// Runs a command that must end by itself: after a minute it is stopped, with exit code 124.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let command = self.command();
        let mut limited = Command::new("timeout");
        limited
            .arg("60")
            .arg(command.get_program())
            .args(command.get_args())
            .args(arguments);
        clear_environment(&mut limited);
        limited.output().unwrap()
    }

    /// Runs `once` within these limits of the shell's `ulimit`.
    pub fn once_limited(&self, limits: &str) -> Output {
        let program = env!("CARGO_BIN_EXE_shinken-gatherer");
        let config = self.path("gatherer.toml");
        let command = format!(
            "ulimit {limits}; exec {program} --config {} once --json --window 10ms",
            config.display()
        );
        Command::new("sh").args(["-c", &command]).output().unwrap()
    }

    pub fn once_json(&self) -> Value {
        let output = self.run(&["once", "--json", "--window", "10ms"]);
        assert!(output.status.success(), "{}", stderr_of(&output));
        let documents = json_of(&output);
        let published = documents.as_object().unwrap().values();
        published
            .filter(|document| !document.is_null())
            .for_each(assert_valid);
        documents
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("gatherer.log")).unwrap_or_default()
    }

    /// Returns how often the log contains `part`.
    pub fn logged(&self, part: &str) -> usize {
        self.log().matches(part).count()
    }

    pub fn wait_for_log(&self, part: &str) {
        wait_until(part, || self.log().contains(part));
    }

    /// Waits until the log contains `part` this many more times.
    pub fn wait_for_more_log(&self, part: &str, times: usize) {
        let before = self.logged(part);
        wait_until(part, || self.logged(part) >= before + times);
    }

    /// Makes the daemon load its configuration again, and waits until it is applied.
    pub fn reload(&self, daemon: &Daemon) {
        let reloaded = "INFO daemon: configuration reloaded";
        let before = self.logged(reloaded);
        daemon.signal(Signal::HUP);
        wait_until(reloaded, || self.logged(reloaded) > before);
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

    /// Waits until the VMware helper has answered that the guest library does not exist.
    pub fn wait_for_helper(&self) {
        wait_for("the helper's answer", || {
            let document = self.vmware()?;
            let error = document["error"].as_str()?;
            error.contains("library not found").then_some(())
        });
    }

    pub fn wait_for_metrics(&self, metrics: u64) {
        wait_for(&format!("the count of {metrics}"), || {
            self.count().filter(|count| count["metrics"] == metrics)
        });
    }

    /// Waits for this many new documents of the disks.
    pub fn wait_for_disks(&self, documents: usize) {
        let name = "disks.tmp";
        Watch::replaced(self.dir.path()).wait_for(name, documents);
    }

    pub fn wait_until_removed(&self, name: &str) {
        wait_until(&format!("the removal of {name}"), || !self.path(name).exists());
    }
}
