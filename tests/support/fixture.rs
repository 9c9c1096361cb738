//! A VMware VM that publishes three files into chosen directories, and the users that the daemon runs as.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{TestDir, clear_environment, copy_of_binary, document, setpriv, wait_for, wait_until};

/// Indexes of the outputs.
pub const COUNT: usize = 0;
pub const DISKS: usize = 1;
pub const READY: usize = 2;
pub const ALL: [usize; 3] = [COUNT, DISKS, READY];
/// Names of their collectors in the log.
pub const COLLECTORS: [&str; 3] = ["graphite", "disks", "vmware"];
const FILES: [&str; 3] = ["whisper.nb_metrics", "disks.tmp", "vmware.dat"];

const HOSTS: usize = 40;
const METRICS: usize = 200;

pub struct Fixture {
    dir: TestDir,
    pub outputs: [PathBuf; 3],
    log_file: PathBuf,
}

impl Deref for Fixture {
    type Target = TestDir;

    fn deref(&self) -> &TestDir {
        &self.dir
    }
}

impl Fixture {
    /// Publishes into these directories, and logs to `log/gatherer.log`.
    pub fn new(directories: [&str; 3]) -> Self {
        Self::under(TestDir::mounted(), directories, "log/gatherer.log")
    }

    pub fn under(dir: TestDir, directories: [&str; 3], log_file: &str) -> Self {
        let log_file = dir.path(log_file);
        let folders = directories.map(|name| dir.path(name));
        let run = dir.path("run");
        for folder in folders
            .iter()
            .map(|folder| &**folder)
            .chain([&*run, log_file.parent().unwrap()])
        {
            fs::create_dir_all(folder).unwrap();
        }
        // Any user may run the daemon, which creates its lock and its snapshot there.
        dir.set_mode("run", 0o1777);
        dir.set_mode("state", 0o777);
        dir.metrics((0..METRICS).map(|metric| format!("host-{}/check/{metric}.wsp", metric % HOSTS)));
        let outputs = ALL.map(|which| folders[which].join(FILES[which]));
        let fixture = Self {
            dir,
            outputs,
            log_file,
        };
        fixture.configure(&ALL, 100, [20, 20, 20]);
        fixture
    }

    /// Enables these collectors, with intervals in milliseconds.
    pub fn configure(&self, enabled: &[usize], busy_percent: u64, intervals: [u64; 3]) {
        let keys = |which: usize| {
            format!(
                "enabled = {}\noutput = {:?}\ninterval = \"{}ms\"",
                enabled.contains(&which),
                self.outputs[which],
                intervals[which]
            )
        };
        let graphite = "full_scan_interval = \"1ms\"\nmax_busy_percent";
        self.configure_vm(
            &format!("log_file = {:?}", self.log_file),
            &format!("{}\n{graphite} = {busy_percent}", keys(COUNT)),
            &format!("{}\nwindow = \"1s\"", keys(DISKS)),
            &format!("{}\nwindow = \"1s\"", keys(READY)),
        );
    }

    /// Returns the other files in the directory of an output.
    pub fn beside(&self, which: usize) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.outputs[which].parent().unwrap()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| !self.outputs.contains(path)).collect()
    }

    /// Returns what differs between two publications; `None` if there is no document of the user.
    pub fn version(&self, which: usize, user: User) -> Option<(u64, i64)> {
        let metadata = fs::symlink_metadata(&self.outputs[which]).ok()?;
        let is_own = metadata.is_file() && metadata.uid() == user.uid() && metadata.mode() & 0o7777 == 0o644;
        is_own.then(|| (metadata.ino(), metadata.mtime_nsec()))
    }

    /// Waits for this many more documents of the user.
    pub fn wait_for_more(&self, which: usize, user: User, documents: usize) {
        let mut last = self.version(which, user);
        for _ in 0..documents {
            last = wait_for("one more document", || {
                let version = self.version(which, user);
                (version.is_some() && version != last).then_some(version)
            });
        }
        self.assert_published(which);
    }

    pub fn wait_for_all(&self) {
        for which in ALL {
            wait_until("a document", || self.outputs[which].exists());
            self.assert_published(which);
        }
    }

    pub fn assert_published(&self, which: usize) {
        let found = document(&self.outputs[which]);
        assert!(
            found.as_ref().is_some_and(|found| is_right(which, found)),
            "{found:?}"
        );
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log_file).unwrap_or_default()
    }

    pub fn log_file(&self) -> PathBuf {
        self.log_file.clone()
    }
}

pub fn is_right(which: usize, document: &Value) -> bool {
    document["schema"] == 1
        && document["updated_at"].is_u64()
        && match which {
            COUNT => document["hosts"] == HOSTS && document["metrics"] == METRICS,
            DISKS => document["disks"]["sda"]["queue_size"].is_f64() && document["whisper_disks"].is_array(),
            _ => document["is_vmware"] == true && document["vcpus"] == 4 && document["error"].is_string(),
        }
}

/// A user that runs the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    Root,
    /// A user with CAP_DAC_OVERRIDE and CAP_FOWNER, as the packaged service.
    Service,
    /// A user without capabilities.
    Ordinary,
}

pub const USERS: [User; 3] = [User::Root, User::Service, User::Ordinary];

impl User {
    pub fn uid(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Service | Self::Ordinary => 65533,
        }
    }

    /// Returns the command that runs the daemon as this user, who owns the folders of the log and the state.
    pub fn command(self, fixture: &Fixture) -> Command {
        fixture.set_mode("", 0o755);
        fixture.set_mode("gatherer.toml", 0o644);
        let log_folder = fixture.log_file.parent().unwrap();
        for folder in [log_folder, &fixture.path("state")] {
            chown(folder, Some(self.uid()), None).unwrap();
        }
        let capabilities = (self == Self::Service).then_some("-all,+dac_override,+fowner");
        let mut command = setpriv(self.uid(), capabilities);
        let program = fixture.path("gatherer");
        if !program.exists() {
            copy_of_binary(fixture);
        }
        command
            .arg(program)
            .arg("--config")
            .arg(fixture.path("gatherer.toml"))
            .arg("run");
        clear_environment(&mut command);
        command
    }
}
