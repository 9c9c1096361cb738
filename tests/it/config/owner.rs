//! A configuration that another user may have written is rejected, however it came to its path.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{XattrFlags, setxattr};
use rustix::process::Signal;

use super::refusal_of;
use crate::support::{Daemon, TestDir, copy_of_binary, skip, text, wait_for};

const OTHER: u32 = 65534;
const SERVICE: u32 = 65533;

/// A folder of another user with the configuration in it, and a file of root that the user wants removed.
struct Attack {
    place: TestDir,
    folder: PathBuf,
    victim: PathBuf,
}

impl Attack {
    fn new() -> Self {
        let place = TestDir::new();
        let (folder, victim) = (place.path("shinken"), place.path("victim"));
        fs::create_dir(&folder).unwrap();
        fs::write(&victim, "of root\n").unwrap();
        fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).unwrap();
        chown(&folder, Some(OTHER), Some(OTHER)).unwrap();
        let good = fs::read_to_string(place.path("gatherer.toml")).unwrap();
        let good = good.replace("[disks]\n", "[disks]\ninterval = \"20ms\"\nwindow = \"1s\"\n");
        let attack = Self {
            place,
            folder,
            victim,
        };
        fs::write(attack.file(), &good).unwrap();
        // The configuration of the attacker: root's file is the disk file, which is removed at the start and the end.
        let disks = attack.place.path("disks.tmp").display().to_string();
        let bad = good.replace(&disks, &attack.victim.display().to_string());
        assert_ne!(bad, good);
        fs::write(attack.folder.join("bad.toml"), bad).unwrap();
        chown(attack.folder.join("bad.toml"), Some(OTHER), Some(OTHER)).unwrap();
        attack
    }

    fn file(&self) -> PathBuf {
        self.folder.join("gatherer.toml")
    }

    /// Runs shell commands as the other user, in the parent of the folder.
    fn as_other_user(&self, commands: &str) {
        // The folder itself can be renamed only by a user who may write to its parent.
        fs::set_permissions(self.place.path(""), Permissions::from_mode(0o777)).unwrap();
        let user = OTHER.to_string();
        let status = Command::new("setpriv")
            .args([
                "--reuid",
                &user,
                "--regid",
                &user,
                "--clear-groups",
                "sh",
                "-ec",
                commands,
            ])
            .current_dir(self.place.path(""))
            .status()
            .unwrap();
        assert!(status.success(), "{commands}");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = crate::support::gatherer();
        command.arg("--config").arg(self.file()).args(words);
        command
    }

    fn reason(&self) -> String {
        format!(
            "{}: owner is user {OTHER} and mode is 0644, must be owned by root and not writable by group or others",
            self.file().display()
        )
    }
}

/// The ways in which another user puts a file at the path, as shell commands.
const ROUTES: [(&str, &str); 4] = [
    ("replaced", "mv shinken/bad.toml shinken/gatherer.toml"),
    (
        "linked",
        "rm -f shinken/gatherer.toml; ln -s bad.toml shinken/gatherer.toml",
    ),
    (
        "folder renamed",
        "mv shinken theirs; mkdir shinken; cp theirs/bad.toml shinken/gatherer.toml",
    ),
    (
        "folder linked",
        "mkdir theirs; cp shinken/bad.toml theirs/gatherer.toml; mv shinken old; ln -s theirs shinken",
    ),
];

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("another user needs root");
    }
    is_root
}

#[test]
fn other_users_file_is_rejected_by_every_command() {
    if !is_root() {
        return;
    }
    for (route, commands) in ROUTES {
        let attack = Attack::new();
        attack.as_other_user(commands);
        for words in [
            &["run"][..],
            &["once"],
            &["once", "--write", "--window", "10ms"],
            &["status"],
            &["generate", "sandbox"],
        ] {
            let line = refusal_of(&mut attack.command(words));
            assert_eq!(line, attack.reason(), "{route}: {words:?}");
        }
        let check = attack.command(&["check", "disks"]).output().unwrap();
        let line = format!("DISKS UNKNOWN: {}\n", attack.reason());
        assert_eq!(
            (check.status.code(), text(&check.stdout)),
            (Some(3), line),
            "{route}"
        );
        assert_eq!(
            fs::read_to_string(&attack.victim).unwrap(),
            "of root\n",
            "{route}"
        );
    }
}

#[test]
fn reload_of_other_users_file_keeps_the_configuration() {
    if !is_root() {
        return;
    }
    for (route, commands) in ROUTES {
        let attack = Attack::new();
        let daemon = Daemon::spawn(&mut attack.command(&["run"]), None);
        let published = wait_for("the disks", || attack.place.disks());
        attack.as_other_user(commands);
        daemon.signal(Signal::HUP);
        let reason = attack.reason();
        attack.place.wait_for_log(&format!(
            " ERROR daemon: reload failed, keeping the current configuration: {reason}"
        ));
        wait_for("more of the disks", || {
            attack.place.disks().filter(|later| *later != published)
        });
        daemon.stop();
        assert_eq!(
            fs::read_to_string(&attack.victim).unwrap(),
            "of root\n",
            "{route}"
        );
    }
}

#[test]
fn file_that_others_can_write_is_rejected_with_its_mode() {
    let place = TestDir::new();
    let file = place.path("gatherer.toml");
    let rejected = |mode: &str| {
        let line = refusal_of(place.command().arg("status"));
        let user = rustix::process::geteuid().as_raw();
        let start = format!("{}: owner is user {user} and mode is {mode}, ", file.display());
        assert!(line.starts_with(&start), "{line}");
    };
    for mode in [0o664, 0o646, 0o620, 0o666, 0o777] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        rejected(&format!("{mode:04o}"));
    }
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    match setxattr(
        &file,
        "system.posix_acl_access",
        &acl_for(OTHER),
        XattrFlags::empty(),
    ) {
        Ok(()) => rejected("0660"),
        Err(errno) => skip(&format!("no ACL: {errno}")),
    }
}

/// An ACL that lets the owner and the user `uid` read and write, in the kernel's format.
fn acl_for(uid: u32) -> Vec<u8> {
    const NO_ID: u32 = u32::MAX;
    let mut acl = 2u32.to_le_bytes().to_vec();
    // Owner, user `uid`, owning group, mask, others.
    for (tag, permissions, id) in [
        (1u16, 6u16, NO_ID),
        (2, 6, uid),
        (4, 0, NO_ID),
        (16, 6, NO_ID),
        (32, 0, NO_ID),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

#[test]
fn ordinary_caller_accepts_own_and_roots_file_only() {
    if !is_root() {
        return;
    }
    let place = TestDir::new();
    fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).unwrap();
    let (copy, file) = (copy_of_binary(&place), place.path("gatherer.toml"));
    for capabilities in ["-all", "-all,+dac_override,+fowner"] {
        for (owner, is_accepted) in [(0, true), (SERVICE, true), (OTHER, false)] {
            chown(&file, Some(owner), None).unwrap();
            let output = status_as_service(&copy, &file, capabilities).output().unwrap();
            let stderr = text(&output.stderr);
            if is_accepted {
                assert_eq!((output.status.code(), stderr.as_str()), (Some(1), ""), "{owner}");
            } else {
                let reason = format!(
                    "owner is user {OTHER} and mode is 0644, must be owned by root or user {SERVICE} "
                );
                assert_eq!(output.status.code(), Some(2), "{stderr}");
                assert!(stderr.contains(&reason), "{stderr}");
            }
        }
    }
}

/// `status` as the user of the packaged service would run it; exit code 1, as nothing is published.
fn status_as_service(program: &Path, file: &Path, capabilities: &str) -> Command {
    let user = SERVICE.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        command.args([set, capabilities]);
    }
    command.arg(program).arg("--config").arg(file).arg("status");
    command
}
