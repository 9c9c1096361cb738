//! A machine that publishes all three files: it says it is VMware's, and has one disk and no guest library.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use shinken_gatherer::config::Config;

use crate::support::outputs::publish_in;
use crate::support::{TestDir, copy_of_binary};

/// Which of the outputs is which.
pub const COUNT: usize = 0;
pub const DISKS: usize = 1;
pub const READY: usize = 2;
/// What the log calls their collectors.
pub const COLLECTORS: [&str; 3] = ["graphite", "disks", "vmware"];
const FILES: [&str; 3] = ["whisper.nb_metrics", "disks.tmp", "vmware.dat"];

pub const HOSTS: usize = 40;
pub const METRICS: usize = 200;

pub struct Fixture {
    pub place: TestDir,
    pub outputs: [PathBuf; 3],
    pub log: PathBuf,
}

impl Fixture {
    /// With the outputs in these directories.
    pub fn new(directories: [&str; 3]) -> Self {
        let place = TestDir::new();
        // Whichever user runs the daemon creates the folder of its lock here.
        fs::create_dir(place.path("run")).unwrap();
        fs::set_permissions(place.path("run"), Permissions::from_mode(0o1777)).unwrap();
        for directory in [
            "log",
            "state",
            "proc",
            "sys/block/sda/device",
            "sys/class/dmi/id",
            "sys/devices/system/cpu",
        ]
        .iter()
        .chain(&directories)
        {
            fs::create_dir_all(place.path(directory)).unwrap();
        }
        // The service manager gives the state folder to the daemon's user, whoever that is in a test.
        fs::set_permissions(place.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(place.path("proc/diskstats"), "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n").unwrap();
        fs::write(place.path("sys/class/dmi/id/sys_vendor"), "VMware, Inc.\n").unwrap();
        fs::write(place.path("sys/devices/system/cpu/online"), "0-3\n").unwrap();
        place.metrics((0..METRICS).map(|metric| format!("host-{}/check/{metric}.wsp", metric % HOSTS)));
        let output = |which: usize| place.path(directories[which]).join(FILES[which]);
        let machine = Self {
            outputs: [output(COUNT), output(DISKS), output(READY)],
            log: place.path("log/gatherer.log"),
            place,
        };
        machine.configure(&[COUNT, DISKS, READY], 100, [20, 20, 20]);
        machine
    }

    /// Writes the configuration, with only these of the collectors and these intervals in milliseconds.
    pub fn configure(&self, enabled: &[usize], busy_percent: u64, intervals: [u64; 3]) {
        let root = self.place.path("").display().to_string();
        let common = |which: usize| {
            format!(
                "enabled = {}\noutput = \"{}\"\ninterval = \"{}ms\"",
                enabled.contains(&which),
                self.outputs[which].display(),
                intervals[which]
            )
        };
        let config = format!(
            "log_file = \"{}\"\nstate_dir = \"{root}state\"\n\
             [graphite]\n{}\nwhisper_dir = \"{root}whisper\"\nfull_scan_interval = \"1ms\"\n\
             max_busy_percent = {busy_percent}\n\
             [disks]\n{}\nwindow = \"1s\"\n\
             [vmware]\n{}\nwindow = \"1s\"\nlibraries = [\"{root}none.so\"]\n\
             [host]\nproc = \"{root}proc\"\nsys = \"{root}sys\"\nrun = \"{root}run\"\n",
            self.log.display(),
            common(COUNT),
            common(DISKS),
            common(READY),
        );
        let is_other = |name: &&str| !COLLECTORS.contains(name);
        let names = Config::default().collectors().map(|collector| collector.name);
        let others = names.into_iter().filter(is_other);
        let disabled: String = others
            .map(|name| format!("[{name}]\nenabled = false\n"))
            .collect();
        let config = publish_in(&self.place.path(""), &(config + &disabled));
        fs::write(self.place.path("gatherer.toml"), config).unwrap();
    }

    /// Names beside an output, in its directory.
    pub fn beside(&self, which: usize) -> Vec<PathBuf> {
        let output = &self.outputs[which];
        let entries = fs::read_dir(output.parent().unwrap()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| !self.outputs.contains(path)).collect()
    }

    /// What tells one published file from the next; `None` where there is no document of the user `uid`.
    pub fn version(&self, which: usize, uid: u32) -> Option<(u64, i64)> {
        let metadata = fs::symlink_metadata(&self.outputs[which]).ok()?;
        let is_ours = metadata.is_file() && metadata.uid() == uid && metadata.mode() & 0o7777 == 0o644;
        is_ours.then(|| (metadata.ino(), metadata.mtime_nsec()))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
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

/// Who the daemon runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    Root,
    /// A user with CAP_DAC_OVERRIDE and CAP_FOWNER, as the packaged service.
    Service,
    /// A user with no capability.
    Ordinary,
}

impl User {
    pub fn uid(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Service | Self::Ordinary => 65533,
        }
    }

    /// The command that runs the daemon as this user, who may write to the log's folder.
    pub fn command(self, machine: &Fixture) -> Command {
        let place = &machine.place;
        fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(place.path("gatherer.toml"), fs::Permissions::from_mode(0o644)).unwrap();
        for folder in ["log", "state"] {
            chown(place.path(folder), Some(self.uid()), None).unwrap();
        }
        let (user, capabilities) = (self.uid().to_string(), "-all,+dac_override,+fowner");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        if self == Self::Service {
            for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
                command.args([set, capabilities]);
            }
        }
        if !place.path("gatherer").exists() {
            copy_of_binary(place);
        }
        command
            .arg(place.path("gatherer"))
            .arg("--config")
            .arg(place.path("gatherer.toml"))
            .arg("run");
        for variable in ["GATHERER_DEBUG", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        command.stdin(std::process::Stdio::null());
        command
    }
}

/// Whether this can be used: only root can start processes of other users.
pub fn can_be_others() -> bool {
    rustix::process::geteuid().is_root()
}

/// A document that is there, whole and right.
pub fn assert_published(machine: &Fixture, which: usize) {
    let path: &Path = &machine.outputs[which];
    let document = crate::support::document(path).unwrap_or_else(|| panic!("{path:?} is absent"));
    assert!(is_right(which, &document), "{path:?}: {document}");
}
