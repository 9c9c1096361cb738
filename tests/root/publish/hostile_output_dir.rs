//! An attacker creates files where the daemon publishes: none is followed or written through, and nothing blocks.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    ALL, ATTACKER, COLLECTORS, COUNT, DEVICE, DISKS, Daemon, Fixture, OBSTACLES, Obstacle, USERS, User,
    Victims, as_user, descriptors, remove, wait_for, wait_until,
};
use rustix::fs::OFlags;

const WATCHDOG: Duration = Duration::from_millis(200);
const NONE: [PathBuf; 0] = [];

/// Returns the name of the temporary file of an output, and one with a random part.
fn temporary_names(output: &Path) -> [PathBuf; 2] {
    let name = output.file_name().unwrap().to_str().unwrap();
    ["", ".0123456789"].map(|random| output.with_file_name(format!(".{name}{random}.tmp")))
}

fn start(user: User, fixture: &Fixture) -> Daemon {
    let daemon = Daemon::spawn_notifying(fixture, Some(WATCHDOG), &mut user.command(fixture));
    daemon.wait_for_message("READY=1");
    daemon
}

/// Returns how often the log reports that an output cannot be published, and that it works again.
fn logged(fixture: &Fixture, which: usize) -> (usize, usize) {
    let log = fixture.log();
    let lines = |level: &str, part: &str| {
        let start = format!("{level} {}: ", COLLECTORS[which]);
        let is_line = |line: &&str| [&start, part, "/open/"].iter().all(|part| line.contains(part));
        log.lines().filter(is_line).count()
    };
    (lines("WARN", ""), lines("INFO", "works again"))
}

/// Runs `attack` with each obstacle, a fixture whose outputs are in an open folder, and the victim's files, which must
/// stay as they are.
fn try_each(user: User, attack: impl Fn(&Obstacle, &Fixture, &Victims, &str)) {
    for obstacle in &OBSTACLES {
        let fixture = Fixture::new(["open"; 3]);
        fixture.set_mode("open", 0o1777);
        let victims = Victims::new(&fixture);
        let context = format!("{user:?}, {}", obstacle.name);
        attack(obstacle, &fixture, &victims, &context);
        victims.assert_unchanged(&context);
    }
}

fn attack_before_the_start(user: User) {
    try_each(user, |obstacle, fixture, victims, context| {
        let names: Vec<_> = fixture
            .outputs
            .iter()
            .flat_map(|path| temporary_names(path))
            .collect();
        for path in fixture.outputs.iter().chain(&names) {
            obstacle.create_as_attacker(path, &victims.folder).unwrap();
        }
        let daemon = start(user, fixture);
        let is_replaced = obstacle.is_replaced_by(user);
        if !is_replaced {
            for which in ALL {
                wait_until("the error", || logged(fixture, which).0 > 0);
            }
            // It tries again meanwhile.
            (0..5).for_each(|_| drop(daemon.wait_for_message("WATCHDOG=1")));
            for which in ALL {
                assert!(fixture.version(which, user).is_none(), "{context}");
                assert_eq!(logged(fixture, which), (1, 0), "{context}\n{}", fixture.log());
                remove(&fixture.outputs[which]);
            }
        }
        ALL.iter()
            .for_each(|which| fixture.wait_for_more(*which, user, 2));
        daemon.stop();
        let lines = if is_replaced { (0, 0) } else { (1, 1) };
        for which in ALL {
            assert_eq!(logged(fixture, which), lines, "{context}\n{}", fixture.log());
        }
        // Only the daemon's own temporary names are cleared.
        let own = fixture
            .outputs
            .each_ref()
            .map(|path| temporary_names(path)[0].clone());
        let is_kept = |name: &PathBuf| !obstacle.is_removed_by(user) || !own.contains(name);
        let mut kept: Vec<_> = names.into_iter().filter(is_kept).collect();
        let mut beside = fixture.beside(COUNT);
        kept.sort();
        beside.sort();
        assert_eq!(beside, kept, "{context}");
    });
}

fn attack_while_running(user: User) {
    try_each(user, |obstacle, fixture, victims, context| {
        let daemon = start(user, fixture);
        let is_replaced = obstacle.is_replaced_by(user);
        ALL.iter()
            .for_each(|which| fixture.wait_for_more(*which, user, 1));
        for which in ALL {
            let path = &fixture.outputs[which];
            wait_for("a moment without the document", || {
                remove(path);
                obstacle.create_as_attacker(path, &victims.folder).ok()
            });
            if !is_replaced {
                wait_until("the error", || {
                    // A device or socket that appears right before the rename is replaced.
                    if fixture.version(which, user).is_some() {
                        remove(path);
                        let _ = obstacle.create_as_attacker(path, &victims.folder);
                    }
                    logged(fixture, which).0 > 0
                });
            }
            for other in ALL.into_iter().filter(|other| *other != which) {
                fixture.wait_for_more(other, user, 3);
            }
            daemon.wait_for_message("WATCHDOG=1");
            if !is_replaced {
                assert!(fixture.version(which, user).is_none(), "{context}");
                remove(path);
            }
            fixture.wait_for_more(which, user, 1);
            let lines = if is_replaced { (0, 0) } else { (1, 1) };
            wait_until("the end of the error", || logged(fixture, which).1 >= lines.1);
            assert_eq!(logged(fixture, which), lines, "{context}\n{}", fixture.log());
        }
        daemon.stop();
        assert_eq!(fixture.beside(COUNT), NONE, "{context}");
    });
}

#[test]
fn hostile_files_before_the_start_are_not_followed() {
    needs_root!();
    USERS.into_iter().for_each(attack_before_the_start);
}

#[test]
fn hostile_files_while_the_daemon_runs_are_not_followed() {
    needs_root!();
    USERS.into_iter().for_each(attack_while_running);
}

#[test]
fn endless_attack_changes_no_other_file() {
    needs_root!();
    attack_without_end(User::Root);
    attack_without_end(User::Ordinary);
}

/// How long the attacker creates files as fast as possible.
const ATTACK: Duration = Duration::from_secs(6);

/// Attacks a sticky folder, from which a third user removes the documents, and one where the attacker may also remove
/// and rename everything.
fn attack_without_end(user: User) {
    let fixture = Fixture::new(["free-for-all", "open", "open"]);
    fixture.set_mode("open", 0o1777);
    fixture.set_mode("free-for-all", 0o777);
    let victims = Victims::new(&fixture);
    let daemon = start(user, &fixture);
    let stop = AtomicBool::new(false);
    let (heartbeats, created) = std::thread::scope(|scope| {
        let attackers = fixture.outputs.each_ref().map(|path| {
            let (victims, stop) = (&victims.folder, &stop);
            scope.spawn(move || as_user(ATTACKER, || attack_repeatedly(path, victims, user, stop)))
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for path in &fixture.outputs {
                    let _ = fs::remove_file(path);
                }
                std::thread::sleep(Duration::from_millis(7));
            }
        });
        // Assertions follow once the threads are told to stop: the scope waits for them.
        let end = Instant::now() + ATTACK;
        let mut heartbeats = 0;
        while Instant::now() < end {
            std::thread::sleep(WATCHDOG / 4);
            let messages = daemon.drain_messages();
            heartbeats += messages.iter().filter(|text| text.contains("WATCHDOG=1")).count();
        }
        stop.store(true, Ordering::Relaxed);
        (heartbeats, attackers.map(|attacker| attacker.join().unwrap()))
    });
    let least = ATTACK.as_millis() / WATCHDOG.as_millis();
    assert!(
        heartbeats as u128 >= least,
        "{heartbeats} heartbeats in {ATTACK:?}"
    );
    assert!(created.iter().all(|created| *created > 100), "{created:?}");
    let mut left = [fixture.beside(COUNT), fixture.beside(DISKS)].concat();
    left.extend(fixture.outputs.clone());
    for path in left {
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.uid() != user.uid()) {
            remove(&path);
        }
    }
    ALL.iter()
        .for_each(|which| fixture.wait_for_more(*which, user, 2));
    let descriptors = descriptors(&daemon.child);
    assert!(descriptors < 30, "{descriptors} descriptors are open");
    daemon.stop();
    victims.assert_unchanged("endless");
    let log = fixture.log();
    // Each count has a line. There are at most 20 a minute about each output, and those of start and stop.
    let lines = log.lines().filter(|line| !line.contains(" hosts, ")).count();
    assert!(lines < 90, "{lines} lines:\n{log}");
    assert_eq!((fixture.beside(COUNT), fixture.beside(DISKS)), (vec![], vec![]));
}

/// Creates every obstacle in turn, at the path and at the temporary names. Returns how often it did at the path.
fn attack_repeatedly(path: &Path, victims: &Path, user: User, stop: &AtomicBool) -> usize {
    let directory = path.parent().unwrap();
    let own = directory.join(format!("own-{}", path.file_name().unwrap().display()));
    let mut created = 0;
    // Only root can create a device.
    for obstacle in OBSTACLES
        .iter()
        .filter(|obstacle| obstacle.name != DEVICE)
        .cycle()
    {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        for target in [path.to_path_buf()].iter().chain(&temporary_names(path)) {
            remove(target);
            created += usize::from(obstacle.create(target, victims).is_ok() && target == path);
        }
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let found = entry.path();
            if found.extension().is_none_or(|extension| extension != "tmp") || found == path {
                continue;
            }
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
            let opened = OpenOptions::new().write(true).custom_flags(flags).open(&found);
            let owner = opened.map(|file| file.metadata().unwrap().uid());
            assert!(owner.ok() != Some(user.uid()), "a temporary file is writable");
            let _ = fs::remove_file(&found);
            let _ = obstacle.create(&own, victims);
            let _ = fs::rename(&own, &found);
            remove(&own);
        }
    }
    created
}
