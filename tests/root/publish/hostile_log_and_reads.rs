//! What another user plants where the log is, and where `check` and `status` read.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::attacker::{
    EmptyDirectory, ForeignFile, PLANTER, PLANTS, as_user, make_sticky, remove, state_of, victims,
};
use crate::support::check_fixture::CheckFixture;
use crate::support::fixture::{COUNT, DISKS, Fixture, READY, User, assert_published};
use crate::support::{Daemon, document, stderr_of, text, wait_for};
use rustix::process::Signal;

/// The daemon where no journal is, so that what can't be in the log file is on stderr.
fn start_without_journal(user: User, machine: &Fixture) -> Daemon {
    let daemon = user.command(machine);
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", "mount -t tmpfs none /run && exec \"$@\"", "sh"])
        .arg(daemon.get_program())
        .args(daemon.get_args());
    for (name, _) in daemon.get_envs() {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    Daemon::spawn(&mut command, None)
}

/// Stops the daemon and returns its stderr with the number of lines about a failing and a working log file.
fn stop(mut daemon: Daemon) -> (usize, usize, String) {
    let mut pipe = daemon.child.stderr.take().unwrap();
    daemon.stop();
    let mut stderr = String::new();
    pipe.read_to_string(&mut stderr).unwrap();
    let lines = |part: &str| stderr.matches(part).count();
    let (fails, works) = (
        lines(" ERROR log: writing log file"),
        lines(" INFO log: log file"),
    );
    (fails, works, stderr)
}

fn log_machine() -> Fixture {
    let mut machine = Fixture::new(["out"; 3]);
    fs::create_dir(machine.place.path("open")).unwrap();
    make_sticky(&machine.place.path("open"));
    make_sticky(&machine.place.path("out"));
    machine.log = machine.place.path("open/gatherer.log");
    machine.configure(&[COUNT, DISKS, READY], 100, [20, 20, 20]);
    machine
}

fn all_published(machine: &Fixture) {
    for which in [COUNT, DISKS, READY] {
        wait_for("a document", || machine.outputs[which].exists().then_some(()));
        assert_published(machine, which);
    }
}

fn attack_at_the_log(user: User) {
    for plant in PLANTS {
        let machine = log_machine();
        let victims = victims(&machine);
        let before = state_of(&victims);
        plant.plant_as_another(&machine.log, &victims).unwrap();
        let daemon = start_without_journal(user, &machine);
        all_published(&machine);
        if plant == ForeignFile {
            assert_eq!(fs::read_to_string(&machine.log).unwrap(), "foreign\n");
        }
        remove(&machine.log);
        // The counts go on, each with its line.
        wait_for("the log", || machine.log().contains(" hosts, ").then_some(()));
        // Planted in the place of the one that is open, and found when that is to be opened anew.
        wait_for("a moment without the log", || {
            remove(&machine.log);
            plant.plant_as_another(&machine.log, &victims).ok()
        });
        daemon.signal(Signal::HUP);
        for which in [COUNT, DISKS, READY] {
            fs::remove_file(&machine.outputs[which]).unwrap();
        }
        all_published(&machine);
        let (fails, works, stderr) = stop(daemon);
        assert_eq!((fails, works), (2, 1), "{plant:?}:\n{stderr}");
        assert_eq!(state_of(&victims), before, "{plant:?}");
    }
    linked_to_the_log(user);
}

/// A file of the daemon's own user gets the log's name too.
fn linked_to_the_log(user: User) {
    let machine = log_machine();
    let own = machine.place.path("victims-own");
    fs::write(&own, "precious\n").unwrap();
    chown(&own, Some(user.uid()), None).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o666)).unwrap();
    as_user(PLANTER, || fs::hard_link(&own, &machine.log)).unwrap();
    let daemon = start_without_journal(user, &machine);
    all_published(&machine);
    remove(&machine.log);
    wait_for("the log", || machine.log().contains(" hosts, ").then_some(()));
    let (fails, works, stderr) = stop(daemon);
    assert_eq!((fails, works), (1, 1), "{stderr}");
    assert_eq!(fs::read_to_string(own).unwrap(), "precious\n");
}

crate::needs_other_users! {
    hostile_file_at_roots_log_is_not_written: attack_at_the_log(User::Root);
    hostile_file_at_the_services_log_is_not_written: attack_at_the_log(User::Service);
    hostile_file_at_an_ordinary_users_log_is_not_written: attack_at_the_log(User::Ordinary);
    hostile_document_is_unknown_without_delay: attack_on_readers();
    lease_held_by_another_user_delays_nothing: leased();
}

/// Runs a command that is to end by itself, whatever is planted.
fn output_of(command: &mut Command) -> (i32, String) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = wait_for("the answer", || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    (ended.code().unwrap(), text(&output.stdout) + &stderr_of(&output))
}

/// The readers' answers about one path, where something else than a document is.
fn assert_refused(site: &CheckFixture, what: &str) {
    for subject in ["graphite", "disks", "vmware"] {
        let (code, answer) = output_of(&mut site.command(&["check", subject]));
        assert_eq!(code, 3, "{what}: {answer}");
        assert!(
            answer.contains(" UNKNOWN: cannot read the file /") && answer.lines().count() == 1,
            "{what}: {answer}"
        );
        crate::support::check_fixture::assert_explained(answer.trim_end());
    }
    for args in [&["status"][..], &["status", "--json"]] {
        let (code, answer) = output_of(&mut site.command(args));
        assert_eq!(code, 1, "{what}: {answer}");
        assert!(answer.matches("precious").count() == 0, "{what}: {answer}");
    }
}

fn attack_on_readers() {
    let machine = log_machine();
    let victims = victims(&machine);
    let before = state_of(&victims);
    let site = CheckFixture::new();
    make_sticky(site.directory.path());
    fs::create_dir(site.path("whisper")).unwrap();
    let paths = ["whisper.nb_metrics", "disks", "vmware"].map(|name| site.path(name));
    for plant in PLANTS {
        for path in &paths {
            plant.plant_as_another(path, &victims).unwrap();
        }
        assert_refused(&site, &format!("{plant:?}"));
        paths.iter().for_each(|path| remove(path));
    }
    // A device that never ends, and one that would answer with a document's beginning.
    for minor in [5, 8] {
        for path in &paths {
            let mode = rustix::fs::Mode::from_raw_mode(0o666);
            let device = rustix::fs::makedev(1, minor);
            rustix::fs::mknodat(
                rustix::fs::CWD,
                path,
                rustix::fs::FileType::CharacterDevice,
                mode,
                device,
            )
            .unwrap();
        }
        assert_refused(&site, &format!("device 1:{minor}"));
        paths.iter().for_each(|path| remove(path));
    }
    for owner in [0, PLANTER] {
        for path in &paths {
            fs::File::create(path).unwrap().set_len(10 << 30).unwrap();
            chown(path, Some(owner), None).unwrap();
        }
        assert_refused(&site, "10 GiB");
        paths.iter().for_each(|path| remove(path));
    }
    assert_eq!(state_of(&victims), before);
}

/// A file of another user who holds a lease on it and does not give it up: opening it would wait for 45 seconds.
struct Leased(Child);

impl Leased {
    fn at(path: &Path) -> Self {
        let script = "import fcntl, signal, sys, time\n\
                      signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
                      file = open(sys.argv[1], 'x')\n\
                      fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
                      print('leased', file=open(sys.argv[1] + '.leased', 'w'))\n\
                      time.sleep(300)";
        let child = Command::new("/usr/bin/python3")
            .args(["-c", script])
            .arg(path)
            .uid(PLANTER)
            .gid(PLANTER)
            .current_dir("/")
            .spawn()
            .unwrap();
        let mut mark = path.as_os_str().to_os_string();
        mark.push(".leased");
        wait_for("the lease", || Path::new(&mark).exists().then_some(()));
        Self(child)
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn leased() {
    let machine = log_machine();
    let site = CheckFixture::new();
    make_sticky(site.directory.path());
    fs::create_dir(site.path("whisper")).unwrap();
    fs::set_permissions(machine.place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let _leases = ["whisper.nb_metrics", "disks", "vmware"].map(|name| Leased::at(&site.path(name)));
    assert_refused(&site, "leased");
    let at_the_log = Leased::at(&machine.log);
    let _at_an_output = Leased::at(&machine.outputs[READY]);
    let daemon = start_without_journal(User::Root, &machine);
    wait_for("the document", || {
        machine.version(READY, 0)?;
        document(&machine.outputs[READY])
    });
    all_published(&machine);
    let (fails, works, stderr) = stop(daemon);
    assert_eq!((fails, works), (1, 0), "{stderr}");
    drop(at_the_log);
    assert_eq!(fs::read_to_string(&machine.log).unwrap(), "");
}

/// A directory is no document: it says nothing that no longer holds, so there is one thing to say about it.
#[test]
fn directory_at_the_disk_output_is_logged_once() {
    let machine = Fixture::new(["open"; 3]);
    EmptyDirectory
        .plant(&machine.outputs[DISKS], Path::new("/"))
        .unwrap();
    let daemon = Daemon::start(&machine.place);
    wait_for("the error", || {
        machine.log().contains(" WARN disks: ").then_some(())
    });
    for which in [COUNT, READY] {
        wait_for("the others", || machine.outputs[which].exists().then_some(()));
    }
    daemon.stop();
    let log = machine.log();
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.contains(" WARN "))
        .filter(|line| !line.contains(" vmware: "))
        .collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(
        warnings[0].contains("publishing") && warnings[0].contains("Is a directory"),
        "{log}"
    );
}
