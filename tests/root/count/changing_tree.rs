//! A whisper tree that moves under a running count: made, renamed, removed, mounted over and closed while the built
//! binary counts as fast as it can. It lives, uses no more than before, says little, and when all is still it settles
//! on what a naive walk finds.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::tree::{Numbers, walk};
use crate::support::watch::{descriptors, status};
use crate::support::{Daemon, TestDir, copy_of_binary, skip, wait_for};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// How long everything moves.
const UNREST: Duration = Duration::from_secs(4);
/// A directory at rest for longer than this is read no more until it changes.
const SETTLED: Duration = Duration::from_millis(2500);
/// Levels of the branches that are renamed as a whole.
const DEEP: usize = 60;

/// Hosts, metrics, and directories that are closed to others.
fn truth_of(whisper: &Path) -> (u64, u64, u64) {
    let found = walk(whisper);
    (found.hosts, found.metrics, found.closed)
}

fn published(place: &TestDir) -> Option<(u64, u64, u64)> {
    let count = place.count()?;
    let number = |key: &str| count.get(key).map_or(0, |number| number.as_u64().unwrap());
    Some((number("hosts"), number("metrics"), number("unreadable")))
}

fn counts(place: &TestDir) -> usize {
    place.log().matches(" INFO graphite: ").count()
}

/// Waits until the published count is the truth, and sees it stay that for some counts more.
fn settles(place: &TestDir) {
    let truth = truth_of(&place.path("whisper"));
    wait_for(&format!("the truth, {truth:?}"), || {
        published(place).filter(|found| *found == truth)
    });
    let before = counts(place);
    wait_for("some counts more", || (counts(place) > before + 5).then_some(()));
    assert_eq!(published(place), Some(truth), "it does not stay at the truth");
}

/// Ends the unrest, also where a test fails.
struct Still<'a>(&'a AtomicBool);

impl Drop for Still<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A daemon as nobody, to whom permissions mean something, in mount namespaces of its own where `script` runs beside.
fn start(place: &TestDir, script: &str) -> Daemon {
    for (path, mode) in [("", 0o777), ("gatherer.toml", 0o644)] {
        fs::set_permissions(place.path(path), Permissions::from_mode(mode)).unwrap();
    }
    let shell = format!(
        "ulimit -n 4096; cd {} && ({script}) & \
         exec setpriv --reuid 65534 --regid 65534 --clear-groups {} --config {} run",
        place.path("").display(),
        copy_of_binary(place).display(),
        place.path("gatherer.toml").display(),
    );
    Daemon::spawn(Command::new("unshare").args(["-m", "sh", "-c", &shell]), None)
}

fn can_mount() -> bool {
    let can = Command::new("unshare")
        .args(["-m", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !can {
        skip("mounts of its own need root");
    }
    can
}

/// Makes and removes metrics, checks and whole hosts.
fn make_and_remove(whisper: &Path, numbers: &mut Numbers) {
    let host = whisper.join(format!("host-{}", numbers.below(12)));
    let check = host.join(format!("check-{}", numbers.below(6)));
    let metric = check.join(format!("m{}.wsp", numbers.below(30)));
    // Others move the same: what fails is what someone else was faster at.
    let _ = match numbers.below(60) {
        0 => fs::remove_dir_all(&host),
        1 => fs::remove_dir_all(&check),
        2 => fs::remove_dir_all(&check).and_then(|()| symlink("../host-1", &check)),
        3 => fs::remove_file(&check).and_then(|()| fs::create_dir(&check)),
        4 | 5 => fs::remove_file(&metric),
        6 => fs::create_dir_all(&metric),
        7 => fs::remove_dir(&metric),
        _ => fs::create_dir_all(&check).and_then(|()| fs::write(&metric, "")),
    };
}

/// Moves branches: from host to host, into each other, out of the tree and back, and in exchange for one another.
fn rename(place: &TestDir, numbers: &mut Numbers) {
    let whisper = place.path("whisper");
    let mut path = |prefix: &str| {
        let mut path = whisper.join(format!("{prefix}-{}", numbers.below(4)));
        path.extend(std::iter::repeat_n("d", numbers.below(DEEP)));
        path
    };
    let (from, to, deep) = (path("deep"), path("deep"), path("deep"));
    let _ = match numbers.below(6) {
        0 => renameat_with(CWD, &from, CWD, &to, RenameFlags::EXCHANGE),
        1 => renameat_with(
            CWD,
            &from,
            CWD,
            whisper.join(format!("host-{}", numbers.below(12))),
            RenameFlags::EXCHANGE,
        ),
        2 => renameat_with(CWD, &from, CWD, place.path("aside"), RenameFlags::NOREPLACE),
        3 => renameat_with(
            CWD,
            place.path("aside"),
            CWD,
            deep.join("back"),
            RenameFlags::NOREPLACE,
        ),
        4 => renameat_with(
            CWD,
            deep.join("back"),
            CWD,
            to.join("again"),
            RenameFlags::NOREPLACE,
        ),
        _ => renameat_with(CWD, &from, CWD, deep.join("moved"), RenameFlags::NOREPLACE),
    };
}

fn close(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Moves everything in every way for a while; returns how often directories were closed.
fn unrest(place: &TestDir, daemon: &mut Daemon, round: u64) -> usize {
    // First as fast as it can, then so gently that most of what is changed is still what it was before.
    let pause = Duration::from_millis(15 * round);
    let still = AtomicBool::new(false);
    let closings = AtomicUsize::new(0);
    let mut most_descriptors = 0;
    let began = Instant::now();
    let whisper = place.path("whisper");
    std::thread::scope(|scope| {
        let _at_its_end = Still(&still);
        let repeat = |mut what: Box<dyn FnMut() + Send>| {
            let still = &still;
            scope.spawn(move || {
                while !still.load(Ordering::Relaxed) {
                    what();
                    sleep(pause);
                }
            });
        };
        for seed in 1..=2 {
            let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 >> (2 * round + seed));
            let whisper = whisper.clone();
            repeat(Box::new(move || make_and_remove(&whisper, &mut numbers)));
        }
        let (whisper, closings) = (&whisper, &closings);
        let mut numbers = Numbers(0xDA94_2042_E4DD_58B5 >> round);
        let still_renaming = &still;
        scope.spawn(move || {
            while !still_renaming.load(Ordering::Relaxed) {
                rename(place, &mut numbers);
                sleep(pause);
            }
        });
        let still_closing = &still;
        scope.spawn(move || {
            let path = |number: usize| whisper.join(format!("closed/at-times-{}", number % 4));
            for number in 0.. {
                if still_closing.load(Ordering::Relaxed) {
                    break;
                }
                close(&path(number), 0).unwrap();
                closings.fetch_add(1, Ordering::Relaxed);
                // Long enough for some counts, so that most are seen.
                sleep(Duration::from_millis(150));
                close(&path(number), 0o755).unwrap();
            }
        });
        while began.elapsed() < UNREST {
            most_descriptors = descriptors(&daemon.child).max(most_descriptors);
            let ended = daemon.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "it ended amid the unrest: {ended:?}\n{}",
                place.log()
            );
            sleep(Duration::from_millis(1));
        }
    });
    assert!(most_descriptors < 2100, "{most_descriptors} descriptors");
    closings.into_inner()
}

#[test]
fn changing_tree_is_counted_right_once_it_is_still() {
    if !can_mount() {
        return;
    }
    let place = TestDir::new();
    let whisper = place.path("whisper");
    for host in 0..12 {
        place.metrics((0..60).map(|number| format!("host-{host}/check-{}/m{number}.wsp", number % 6)));
    }
    for branch in 0..4 {
        place.metrics((1..DEEP).map(|level| format!("deep-{branch}/{}m{level}.wsp", "d/".repeat(level))));
    }
    place.metrics((0..5).map(|number| format!("closed/always-{number}/m.wsp")));
    place.metrics((0..4).map(|number| format!("closed/at-times-{number}/m.wsp")));
    place.metrics((0..4).map(|number| format!("mounts/over-{number}/below.wsp")));
    for number in 0..5 {
        close(&whisper.join(format!("closed/always-{number}")), 0).unwrap();
    }
    // File systems come and go over directories: empty ones, full ones, and the tree itself.
    let mounts = "n=0
        while [ -e gatherer.toml ] && ! [ -e still ]; do
            n=$((n + 1)); over=whisper/mounts/over-$((n % 4))
            case $((n % 3)) in
                0) mount --bind whisper/host-1 $over ;;
                *) mount -t tmpfs -o mode=755 none $over && mkdir -p $over/a/b && touch $over/a/b/m$n.wsp ;;
            esac
            [ $((n % 5)) = 0 ] || umount -l $over
        done
        while umount -l whisper/mounts/over-? 2>/dev/null; do :; done
        for over in 0 1 2 3; do while umount -l whisper/mounts/over-$over 2>/dev/null; do :; done; done
        echo $n >mounts-are-over";
    place.configure("interval = \"5ms\"\nmax_busy_percent = 100");
    let mut daemon = start(&place, mounts);
    wait_for("the first count", || place.count());

    let mut closings = 0;
    for round in 0..2 {
        closings += unrest(&place, &mut daemon, round);
        // Long enough for caches to be trusted: what moves in the second round was found settled before.
        sleep(SETTLED);
    }
    fs::write(place.path("still"), "").unwrap();
    let mounted = wait_for("the end of the mounts", || {
        fs::read_to_string(place.path("mounts-are-over"))
            .ok()
            .filter(|number| number.ends_with('\n'))
    });
    assert!(mounted.trim().parse::<u32>().unwrap() > 10, "{mounted} mounts");
    settles(&place);
    let settled = published(&place).unwrap();
    assert_eq!(settled.2, 5);
    let most = status(&daemon.child, "VmHWM");
    assert!(most < 24 << 10, "{most} KiB of memory");

    let log = place.log();
    let said = |part: &str| log.matches(part).count();
    for number in 0..5 {
        assert_eq!(said(&format!("always-{number}\", not counted")), 1, "{log}");
    }
    assert!(
        (1..=closings).contains(&said("at-times-")),
        "closed {closings} times:\n{log}"
    );
    let others: Vec<_> = log
        .lines()
        .filter(|line| !line.contains(" INFO graphite: ") && !line.contains("closed/a"))
        .collect();
    assert!(
        others.len() < 30,
        "{} lines:\n{}",
        others.len(),
        others.join("\n")
    );
    assert!(!log.contains(" ERROR "), "{log}");
    let stopped = daemon.stop();
    assert!(stopped < Duration::from_secs(1), "stopped in {stopped:?}");
}

#[test]
fn replaced_whisper_directory_is_counted_right_once_it_is_still() {
    if !can_mount() {
        return;
    }
    let place = TestDir::new();
    let whisper = place.path("whisper");
    let away = place.path("away");
    place.metrics((0..400).map(|number| format!("host-{}/check-{number}/m.wsp", number % 20)));
    let truth = truth_of(&whisper);
    let mounts = "while [ -e gatherer.toml ] && ! [ -e still ]; do
            mount -t tmpfs -o mode=755 none whisper 2>/dev/null && umount -l whisper; sleep 0.02
        done
        while umount -l whisper 2>/dev/null; do :; done
        : >mounts-are-over";
    place.configure("interval = \"5ms\"\nmax_busy_percent = 100");
    let daemon = start(&place, mounts);
    wait_for("the first count", || place.count());
    let began = Instant::now();
    let mut moves = 0;
    while began.elapsed() < UNREST {
        // The mounts make it busy at times: it is then moved the next time.
        if fs::rename(&whisper, &away).is_ok() {
            let elsewhere: PathBuf = match moves % 5 {
                0 => place.path("elsewhere"),
                1 => {
                    fs::create_dir(&whisper).unwrap();
                    whisper.clone()
                }
                2 => {
                    fs::write(&whisper, "no directory").unwrap();
                    whisper.clone()
                }
                3 => {
                    symlink("whisper", &whisper).unwrap();
                    whisper.clone()
                }
                _ => {
                    symlink(&away, &whisper).unwrap();
                    whisper.clone()
                }
            };
            sleep(Duration::from_millis(20));
            // A mount over the stand-in keeps it from being removed for a moment.
            wait_for("the place to be free", || {
                let gone = fs::remove_file(&elsewhere)
                    .or_else(|_| fs::remove_dir(&elsewhere))
                    .is_ok()
                    || fs::symlink_metadata(&elsewhere).is_err();
                gone.then_some(())
            });
            fs::rename(&away, &whisper).unwrap();
            moves += 1;
        }
        sleep(Duration::from_millis(20));
    }
    fs::write(place.path("still"), "").unwrap();
    wait_for("the end of the mounts", || {
        place.path("mounts-are-over").exists().then_some(())
    });
    assert!(moves > 10, "{moves} moves");
    assert_eq!(truth_of(&whisper), truth);
    settles(&place);
    let log = place.log();
    assert!(!log.contains(" ERROR "), "{log}");
    // One line when it begins, one when it ends, and some reasons: for each move, and for each mount of 20 ms.
    let most = 12 * (UNREST.as_millis() / 20) as usize;
    let others = log.lines().filter(|line| !line.contains(" metrics in ")).count();
    assert!(others < most, "{others} lines in {moves} moves");
    assert!(status(&daemon.child, "VmHWM") < 24 << 10);
    daemon.stop();
}
