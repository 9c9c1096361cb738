//! A configuration that another user may have written is rejected, however it came to its path.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use crate::support::{
    DROP_IN, Daemon, TestDir, after_mounting, answer_of, assert_contains, copy_of_binary, document, gatherer,
    refusal_of, run_generator, setpriv, stderr_of, wait_for,
};
use rustix::process::Signal;

const OTHER: u32 = 65534;
const SERVICE: u32 = 65533;

/// A folder of another user with the configuration in it, and a file of root that the user wants removed.
struct Attack {
    dir: TestDir,
    file: PathBuf,
    victim: PathBuf,
}

impl Attack {
    fn new() -> Self {
        let dir = TestDir::in_memory();
        fs::create_dir(dir.path("shinken")).unwrap();
        let attack = Self {
            file: dir.path("shinken/gatherer.toml"),
            victim: dir.path("victim"),
            dir,
        };
        fs::write(&attack.victim, "of root\n").unwrap();
        attack
            .dir
            .configure_with("", "", "interval = \"20ms\"\nwindow = \"1s\"", "");
        let good = fs::read_to_string(attack.dir.path("gatherer.toml")).unwrap();
        fs::write(&attack.file, &good).unwrap();
        // The configuration of the attacker: root's file is the disk file, which is removed at the start and the end.
        let disks = attack.dir.path("disks.tmp").display().to_string();
        let bad = good.replace(&disks, &attack.victim.display().to_string());
        assert_ne!(bad, good);
        fs::write(attack.dir.path("shinken/bad.toml"), bad).unwrap();
        for name in ["shinken", "shinken/bad.toml"] {
            chown(attack.dir.path(name), Some(OTHER), Some(OTHER)).unwrap();
        }
        attack
    }

    /// Runs shell commands as the other user, in the parent of the folder.
    fn run(&self, commands: &str) {
        // The folder itself can be renamed only by a user who may write to its parent.
        fs::set_permissions(self.dir.path(""), Permissions::from_mode(0o777)).unwrap();
        let mut command = setpriv(OTHER, None);
        command
            .args(["sh", "-ec", commands])
            .current_dir(self.dir.path(""));
        assert!(command.status().unwrap().success(), "{commands}");
    }

    fn command(&self, words: &str) -> Command {
        let mut command = gatherer();
        command.arg("--config").arg(&self.file).args(words.split(' '));
        command
    }

    fn reason(&self) -> String {
        let file = self.file.display();
        format!(
            "{file}: owner is user {OTHER} and mode is 0644, must be owned by root and not writable by group or others"
        )
    }
}

/// The ways in which another user puts a file at the path, as shell commands.
const ROUTES: [&str; 4] = [
    "mv shinken/bad.toml shinken/gatherer.toml",
    "rm -f shinken/gatherer.toml; ln -s bad.toml shinken/gatherer.toml",
    "mv shinken theirs; mkdir shinken; cp theirs/bad.toml shinken/gatherer.toml",
    "mkdir theirs; cp shinken/bad.toml theirs/gatherer.toml; mv shinken old; ln -s theirs shinken",
];

#[test]
fn other_users_file_is_rejected_by_every_command_and_reload() {
    needs_root!();
    for route in ROUTES {
        let attack = Attack::new();
        let daemon = Daemon::spawn(&mut attack.command("run"), None);
        let published = wait_for("the disks", || attack.dir.disks());
        attack.run(route);
        daemon.signal(Signal::HUP);
        let reason = attack.reason();
        let line = format!(" ERROR daemon: reload failed, keeping the current configuration: {reason}");
        attack.dir.wait_for_log(&line);
        wait_for("later disks", || {
            attack.dir.disks().filter(|later| *later != published)
        });
        daemon.stop();
        for words in [
            "run",
            "once",
            "once --write --window 10ms",
            "status",
            "config test",
            "generate sandbox",
        ] {
            assert_eq!(refusal_of(&mut attack.command(words)), reason, "{route}: {words}");
        }
        let generated = run_generator(&attack.dir, "shinken/gatherer.toml");
        assert!(generated.status.success() && stderr_of(&generated).contains(&reason));
        assert!(!attack.dir.path(DROP_IN).exists(), "{route}");
        let check = attack.command("check disks").output().unwrap();
        assert_eq!(answer_of(&check), format!("DISKS UNKNOWN: {reason}"), "{route}");
        assert_eq!(
            fs::read_to_string(&attack.victim).unwrap(),
            "of root\n",
            "{route}"
        );
    }
}

#[test]
fn ordinary_caller_accepts_own_and_roots_file_only() {
    needs_root!();
    let dir = TestDir::new();
    fs::set_permissions(dir.path(""), Permissions::from_mode(0o755)).unwrap();
    let (copy, file) = (copy_of_binary(&dir), dir.path("gatherer.toml"));
    // As the user of the packaged service, with and without its capabilities.
    let status = |capabilities: &str| {
        let mut command = setpriv(SERVICE, Some(capabilities));
        command.arg(&copy).arg("--config").arg(&file).arg("status");
        command
    };
    for capabilities in ["-all", "-all,+dac_override,+fowner"] {
        for owner in [0, SERVICE] {
            chown(&file, Some(owner), None).unwrap();
            let output = status(capabilities).output().unwrap();
            // 1, because nothing is published.
            assert_eq!(
                (output.status.code(), stderr_of(&output)),
                (Some(1), String::new()),
                "{owner}"
            );
        }
        chown(&file, Some(OTHER), None).unwrap();
        let line = refusal_of(&mut status(capabilities));
        let reason =
            format!("owner is user {OTHER} and mode is 0644, must be owned by root or user {SERVICE} ");
        assert_contains(&line, &reason);
    }
}

#[test]
fn usual_tree_that_appears_is_counted_if_it_is_the_first() {
    needs_root!();
    let dir = TestDir::in_memory();
    let root = dir.path("").display().to_string();
    let config = format!(
        "log_file = '{root}gatherer.log'\nstate_dir = '{root}state'\ndisks.enabled = false\nvmware.enabled = false\n\
         graphite.interval = '20ms'\nhost.run = '{root}run'\n"
    );
    fs::write(dir.path("gatherer.toml"), config).unwrap();
    // The parents of the usual trees are empty for this daemon alone.
    let mounts = "mount -t tmpfs none /opt && mount -t tmpfs none /var/lib";
    let mut command = after_mounting(mounts, dir.command().arg("run"));
    let daemon = Daemon::spawn(&mut command, None);
    dir.wait_for_log("started");
    let inside = |path: &str| format!("/proc/{}/root{path}", daemon.child.id());
    for (hosts, tree) in [
        (1, "/var/lib/carbon/whisper"),
        (2, "/var/lib/graphite/whisper"),
        (3, "/opt/graphite/storage/whisper"),
    ] {
        for host in 0..hosts {
            fs::create_dir_all(inside(&format!("{tree}/host-{host}"))).unwrap();
        }
        let output = inside(&format!("{tree}.nb_metrics"));
        wait_for(tree, || {
            document(output.as_ref()).filter(|count| count["hosts"] == hosts)
        });
    }
    daemon.stop();
}

#[test]
fn file_that_the_user_cannot_read_is_an_error() {
    needs_root!();
    let dir = TestDir::in_memory();
    dir.configure_with("", "", "", "");
    let program = copy_of_binary(&dir);
    dir.set_mode("", 0o755);
    dir.set_mode("gatherer.toml", 0o600);
    let mut command = setpriv(OTHER, None);
    let file = dir.path("gatherer.toml");
    command.arg(program).arg("--config").arg(&file).arg("run");
    let expected = format!("{}: Permission denied (os error 13)", file.display());
    assert_eq!(refusal_of(&mut command), expected);
}
