//! What another user plants where the daemon publishes: nothing is followed or written through, and nothing waits.

use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::attacker::{
    Device, Fifo, PLANTER, PLANTS, as_user, make_sticky, remove, state_of, victims,
};
use crate::support::fixture::{COLLECTORS, COUNT, DISKS, Fixture, READY, User, assert_published};
use crate::support::{Daemon, PATIENCE, wait_for};
use rustix::fs::OFlags;

const ALL: [usize; 3] = [COUNT, DISKS, READY];
const WATCHDOG: Duration = Duration::from_millis(200);

/// Returns the name that the temporary file of an output has, and one that it could have if that is not available.
fn temporary_names(output: &Path) -> [PathBuf; 2] {
    let name = output.file_name().unwrap().to_str().unwrap();
    ["", ".0123456789"].map(|random| output.with_file_name(format!(".{name}{random}.tmp")))
}

fn start(user: User, machine: &Fixture) -> Daemon {
    let socket = machine.place.path("notify");
    let notify = UnixDatagram::bind(&socket).unwrap();
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = user.command(machine);
    command
        .env("NOTIFY_SOCKET", socket)
        .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    let daemon = Daemon::spawn(&mut command, Some(notify));
    daemon.wait_for_message("READY=1");
    daemon
}

/// Waits for this many more documents.
fn wait_for_more(machine: &Fixture, which: usize, user: User, documents: usize) {
    let mut last = machine.version(which, user.uid());
    for _ in 0..documents {
        last = wait_for("one more document", || {
            let version = machine.version(which, user.uid());
            (version.is_some() && version != last).then_some(version)
        });
    }
    assert_published(machine, which);
}

/// What the log says of an output: how often that it can't be published, and that it can be again.
fn logged(machine: &Fixture, which: usize) -> (usize, usize) {
    let log = machine.log();
    let of_it = |level: &str, part: &str| {
        let begins = format!("{level} {}: ", COLLECTORS[which]);
        let is = |line: &&str| line.contains(&begins) && line.contains(part) && line.contains("/open/");
        log.lines().filter(is).count()
    };
    (of_it("WARN", ""), of_it("INFO", "works again"))
}

fn attack_before_the_start(user: User) {
    for plant in PLANTS {
        let machine = Fixture::new(["open"; 3]);
        make_sticky(&machine.place.path("open"));
        let victims = victims(&machine);
        let before = state_of(&victims);
        let names: Vec<_> = ALL
            .iter()
            .flat_map(|which| temporary_names(&machine.outputs[*which]))
            .collect();
        for path in machine.outputs.iter().chain(&names) {
            plant.plant_as_another(path, &victims).unwrap();
        }
        let daemon = start(user, &machine);
        if !plant.gives_way_to(user) {
            for which in ALL {
                wait_for("the error", || (logged(&machine, which).0 > 0).then_some(()));
            }
            // Tried again meanwhile, with the loop alive.
            (0..5).for_each(|_| drop(daemon.wait_for_message("WATCHDOG=1")));
            for (which, path) in ALL.iter().zip(&machine.outputs) {
                assert!(machine.version(*which, user.uid()).is_none(), "{plant:?}");
                assert_eq!(logged(&machine, *which), (1, 0), "{plant:?}\n{}", machine.log());
                remove(path);
            }
        }
        for which in ALL {
            wait_for_more(&machine, which, user, 2);
        }
        daemon.stop();
        let lines = if plant.gives_way_to(user) { (0, 0) } else { (1, 1) };
        for which in ALL {
            assert_eq!(logged(&machine, which), lines, "{plant:?}\n{}", machine.log());
        }
        // The daemon's own temporary name was cleared if that was possible. No other name was touched.
        let mut beside = machine.beside(COUNT);
        let is_kept = |name: &PathBuf| {
            !plant.is_removable_by(user)
                || ALL
                    .iter()
                    .all(|which| *name != temporary_names(&machine.outputs[*which])[0])
        };
        let mut planted: Vec<_> = names.into_iter().filter(is_kept).collect();
        beside.sort();
        planted.sort();
        assert_eq!(beside, planted, "{plant:?}");
        assert_eq!(state_of(&victims), before, "{plant:?}");
    }
}

fn attack_while_running(user: User) {
    for plant in PLANTS {
        let machine = Fixture::new(["open"; 3]);
        make_sticky(&machine.place.path("open"));
        let victims = victims(&machine);
        let before = state_of(&victims);
        let daemon = start(user, &machine);
        for which in ALL {
            wait_for_more(&machine, which, user, 1);
        }
        for which in ALL {
            let path = &machine.outputs[which];
            wait_for("a moment without the document", || {
                remove(path);
                plant.plant_as_another(path, &victims).ok()
            });
            if !plant.gives_way_to(user) {
                wait_for("the error", || {
                    // A device or socket that appears right before the rename is replaced.
                    if machine.version(which, user.uid()).is_some() {
                        remove(path);
                        let _ = plant.plant_as_another(path, &victims);
                    }
                    (logged(&machine, which).0 > 0).then_some(())
                });
            }
            for other in ALL.into_iter().filter(|other| *other != which) {
                wait_for_more(&machine, other, user, 3);
            }
            daemon.wait_for_message("WATCHDOG=1");
            if plant.gives_way_to(user) {
                wait_for_more(&machine, which, user, 1);
                assert_eq!(logged(&machine, which), (0, 0), "{plant:?}\n{}", machine.log());
            } else {
                assert!(machine.version(which, user.uid()).is_none(), "{plant:?}");
                remove(path);
                wait_for_more(&machine, which, user, 1);
                wait_for("the all-clear", || (logged(&machine, which).1 > 0).then_some(()));
                assert_eq!(logged(&machine, which), (1, 1), "{plant:?}\n{}", machine.log());
            }
        }
        daemon.stop();
        assert_eq!(machine.beside(COUNT), [] as [PathBuf; 0], "{plant:?}");
        assert_eq!(state_of(&victims), before, "{plant:?}");
    }
}

crate::needs_other_users! {
    hostile_files_before_roots_start_are_not_followed: attack_before_the_start(User::Root);
    hostile_files_before_the_services_start_are_not_followed: attack_before_the_start(User::Service);
    hostile_files_before_an_ordinary_start_are_not_followed: attack_before_the_start(User::Ordinary);
    hostile_files_while_root_runs_are_not_followed: attack_while_running(User::Root);
    hostile_files_while_the_service_runs_are_not_followed: attack_while_running(User::Service);
    hostile_files_while_a_user_runs_are_not_followed: attack_while_running(User::Ordinary);
    endless_attack_on_root_changes_no_other_file: attack_without_end(User::Root);
    endless_attack_on_an_ordinary_user_changes_no_other_file: attack_without_end(User::Ordinary);
}

/// How long someone plants as fast as they can.
const SIEGE: Duration = Duration::from_secs(30);

/// In a sticky directory, where a third user takes the documents away so that there is room, and in one where everyone
/// may remove and rename everything, temporary files too.
#[allow(clippy::print_stderr, reason = "tells how much was tried")]
fn attack_without_end(user: User) {
    let machine = Fixture::new(["free-for-all", "open", "open"]);
    make_sticky(&machine.place.path("open"));
    let everyone = fs::Permissions::from_mode(0o777);
    fs::set_permissions(machine.place.path("free-for-all"), everyone).unwrap();
    let victims = victims(&machine);
    let before = state_of(&victims);
    let daemon = start(user, &machine);
    let stop = AtomicBool::new(false);
    let planted = std::thread::scope(|scope| {
        let planters = ALL.map(|which| {
            let (path, victims, stop) = (&machine.outputs[which], &victims, &stop);
            scope.spawn(move || as_user(PLANTER, || besiege(path, victims, user, stop)))
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for path in &machine.outputs {
                    let _ = fs::remove_file(path);
                }
                std::thread::sleep(Duration::from_millis(7));
            }
        });
        // Also where something below fails: the threads are waited for.
        let _stopping = StopAtEnd(&stop);
        let ends = Instant::now() + SIEGE;
        let mut heartbeats = 0;
        while Instant::now() < ends {
            // A daemon that hangs says nothing, and this fails.
            daemon.wait_for_message("WATCHDOG=1");
            heartbeats += 1;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(heartbeats >= 30, "{heartbeats} heartbeats in {SIEGE:?}");
        planters.map(|planter| planter.join().unwrap())
    });
    assert!(planted.iter().all(|planted| *planted > 100), "{planted:?}");
    for path in machine
        .outputs
        .iter()
        .chain(&machine.beside(COUNT))
        .chain(&machine.beside(DISKS))
    {
        if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.uid() != user.uid()) {
            remove(path);
        }
    }
    for which in ALL {
        wait_for_more(&machine, which, user, 2);
    }
    let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.child.id()))
        .unwrap()
        .count();
    assert!(descriptors < 30, "{descriptors} descriptors are open");
    daemon.stop();
    assert_eq!(state_of(&victims), before);
    let log = machine.log();
    // Counts are results, one line each.
    let lines = log.lines().filter(|line| !line.contains(" hosts, ")).count();
    eprintln!("planted {planted:?} times: {lines} lines in the log");
    // At most 20 a minute about each output, and those of start and stop.
    assert!(lines < 150, "{lines} lines:\n{log}");
    for which in [COUNT, DISKS] {
        assert_eq!(machine.beside(which), [] as [PathBuf; 0]);
    }
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Plants everything there is, at the path and at the temporary names, and returns how often it planted at the path.
fn besiege(path: &Path, victims: &Path, user: User, stop: &AtomicBool) -> usize {
    let directory = path.parent().unwrap();
    let own = directory.join(format!("mine-{}", path.file_name().unwrap().display()));
    let mut planted = 0;
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let plant = PLANTS[turn % PLANTS.len()];
        let plant = if plant == Device { Fifo } else { plant };
        for target in [path.to_path_buf()].iter().chain(&temporary_names(path)) {
            let _ = fs::remove_file(target).or_else(|_| fs::remove_dir_all(target));
            planted += usize::from(plant.plant(target, victims).is_ok() && target == path);
        }
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let found = entry.path();
            if found.extension().is_some_and(|extension| extension == "tmp") && found != path {
                let opened = fs::OpenOptions::new()
                    .write(true)
                    .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
                    .open(&found);
                let owner = opened.map(|file| file.metadata().unwrap().uid());
                assert!(
                    owner.ok() != Some(user.uid()),
                    "a temporary file can be written to"
                );
                let _ = fs::remove_file(&found);
                let _ = plant.plant(&own, victims);
                let _ = fs::rename(&own, &found);
                let _ = fs::remove_file(&own).or_else(|_| fs::remove_dir_all(&own));
            }
        }
    }
    planted
}
