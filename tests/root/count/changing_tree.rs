//! A whisper tree that changes while the daemon counts as fast as it can: directories are made, renamed, removed,
//! mounted over and closed. Once it is still, the published count is that of a naive walk.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{
    Daemon, Mounted, Numbers, TestDir, copy_of_binary, descriptors, status, totals_of, wait_for, walk,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// How long the tree changes.
const CHANGES: Duration = Duration::from_secs(4);
/// A directory that is unchanged for longer is not read.
const SETTLED: Duration = Duration::from_millis(2500);
/// Levels of the branches that are renamed.
const DEEP: usize = 60;
const MAX_MEMORY_KIB: u64 = 24 << 10;

/// Waits until the published count is right, and checks that it stays right.
fn assert_settles(dir: &TestDir) {
    let found = walk(&dir.path("whisper"));
    let expected = ((found.hosts, found.metrics), found.closed);
    let published = || {
        let count = dir.count()?;
        Some((totals_of(&count), count["unreadable"].as_u64().unwrap_or(0)))
    };
    wait_for(&format!("{expected:?}"), || {
        published().filter(|found| *found == expected)
    });
    dir.wait_for_more_log(" INFO graphite: ", 6);
    assert_eq!(published(), Some(expected));
}

/// Starts a daemon as nobody, in a mount namespace in which `script` runs, too. `None` without root.
fn start(dir: &TestDir, script: &str) -> Option<Daemon> {
    let _is_root = Mounted::none()?;
    dir.configure("interval = \"5ms\"\nmax_busy_percent = 100");
    for (path, mode) in [("", 0o777), ("gatherer.toml", 0o644)] {
        fs::set_permissions(dir.path(path), Permissions::from_mode(mode)).unwrap();
    }
    let shell = format!(
        "ulimit -n 4096; cd {} && ({script}) & \
         exec setpriv --reuid 65534 --regid 65534 --clear-groups {} --config {} run",
        dir.path("").display(),
        copy_of_binary(dir).display(),
        dir.path("gatherer.toml").display(),
    );
    let daemon = Daemon::spawn(Command::new("unshare").args(["-m", "sh", "-c", &shell]), None);
    wait_for("the first count", || dir.count());
    Some(daemon)
}

/// Makes and removes metrics, checks and hosts. Another thread may be faster.
fn make_and_remove(whisper: &Path, numbers: &mut Numbers) {
    let host = whisper.join(format!("host-{}", numbers.below(12)));
    let check = host.join(format!("check-{}", numbers.below(6)));
    let metric = check.join(format!("m{}.wsp", numbers.below(30)));
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

/// Moves branches from host to host, into each other, out of the tree and back, and exchanges them.
fn rename(dir: &TestDir, numbers: &mut Numbers) {
    let whisper = dir.path("whisper");
    let mut branch = || {
        let mut path = whisper.join(format!("deep-{}", numbers.below(4)));
        path.extend(std::iter::repeat_n("d", numbers.below(DEEP)));
        path
    };
    let (from, to, deep) = (branch(), branch(), branch());
    let host = whisper.join(format!("host-{}", numbers.below(12)));
    let aside = dir.path("aside");
    let (from, to, flags) = match numbers.below(6) {
        0 => (from, to, RenameFlags::EXCHANGE),
        1 => (from, host, RenameFlags::EXCHANGE),
        2 => (from, aside, RenameFlags::NOREPLACE),
        3 => (aside, deep.join("back"), RenameFlags::NOREPLACE),
        4 => (deep.join("back"), to.join("again"), RenameFlags::NOREPLACE),
        _ => (from, deep.join("moved"), RenameFlags::NOREPLACE),
    };
    let _ = renameat_with(CWD, from, CWD, to, flags);
}

fn close(whisper: &Path, name: &str, mode: u32) {
    fs::set_permissions(whisper.join("closed").join(name), Permissions::from_mode(mode)).unwrap();
}

/// Changes the tree in every way for a while, with this pause after each change. Returns how often a directory was
/// closed.
fn change_all(dir: &TestDir, daemon: &mut Daemon, pause: Duration) -> usize {
    let whisper = &dir.path("whisper");
    let (is_done, closings) = (&AtomicBool::new(false), &AtomicUsize::new(0));
    let repeat = |mut change: Box<dyn FnMut()>| {
        while !is_done.load(Ordering::Relaxed) {
            change();
            sleep(pause);
        }
    };
    let mut max_descriptors = 0;
    std::thread::scope(|scope| {
        for seed in 1..=2 {
            let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 >> seed);
            scope.spawn(move || repeat(Box::new(move || make_and_remove(whisper, &mut numbers))));
        }
        let mut numbers = Numbers(0xDA94_2042_E4DD_58B5);
        scope.spawn(move || repeat(Box::new(move || rename(dir, &mut numbers))));
        scope.spawn(move || {
            repeat(Box::new(move || {
                let name = format!("at-times-{}", closings.fetch_add(1, Ordering::Relaxed) % 4);
                close(whisper, &name, 0);
                // Long enough for some counts.
                sleep(Duration::from_millis(150));
                close(whisper, &name, 0o755);
            }));
        });
        let started = Instant::now();
        let mut ended = None;
        while started.elapsed() < CHANGES && ended.is_none() {
            max_descriptors = descriptors(&daemon.child).max(max_descriptors);
            ended = daemon.child.try_wait().unwrap();
            sleep(Duration::from_millis(1));
        }
        is_done.store(true, Ordering::Relaxed);
        assert!(ended.is_none(), "{ended:?}\n{}", dir.log());
    });
    assert!(max_descriptors < 2100, "{max_descriptors} descriptors");
    closings.load(Ordering::Relaxed)
}

#[test]
fn changing_tree_is_counted_right_once_it_is_still() {
    let dir = TestDir::new();
    dir.metrics((0..720).map(|number| format!("host-{}/check-{}/m{number}.wsp", number % 12, number % 6)));
    for branch in 0..4 {
        dir.metrics((1..DEEP).map(|level| format!("deep-{branch}/{}m{level}.wsp", "d/".repeat(level))));
        dir.metrics([format!("closed/at-times-{branch}/m.wsp")]);
        dir.metrics([format!("mounts/over-{branch}/below.wsp")]);
    }
    dir.metrics((0..5).map(|number| format!("closed/always-{number}/m.wsp")));
    for number in 0..5 {
        close(&dir.path("whisper"), &format!("always-{number}"), 0);
    }
    // File systems are mounted over directories, empty and full ones.
    let mounts = "n=0
        while [ -e gatherer.toml ] && ! [ -e still ]; do
            n=$((n + 1)); over=whisper/mounts/over-$((n % 4))
            case $((n % 3)) in
                0) mount --bind whisper/host-1 $over ;;
                *) mount -t tmpfs -o mode=755 none $over && mkdir -p $over/a/b && touch $over/a/b/m$n.wsp ;;
            esac
            [ $((n % 5)) = 0 ] || umount -l $over
        done
        for over in 0 1 2 3; do while umount -l whisper/mounts/over-$over 2>/dev/null; do :; done; done
        echo $n >mounts-are-over";
    let Some(mut daemon) = start(&dir, mounts) else {
        return;
    };
    let mut closings = 0;
    // First as fast as possible, then so slowly that most of what is changed was found settled before.
    for pause in [Duration::ZERO, Duration::from_millis(15)] {
        closings += change_all(&dir, &mut daemon, pause);
        sleep(SETTLED);
    }
    fs::write(dir.path("still"), "").unwrap();
    let mounted = wait_for("the end of the mounts", || {
        let number = fs::read_to_string(dir.path("mounts-are-over")).ok()?;
        number.strip_suffix('\n')?.parse::<u32>().ok()
    });
    assert!(mounted > 10, "{mounted} mounts");
    assert_settles(&dir);
    assert_eq!(dir.count().unwrap()["unreadable"], 5);
    assert!(status(&daemon.child, "VmHWM") < MAX_MEMORY_KIB);

    let log = dir.log();
    let logged = |part: &str| log.matches(part).count();
    for number in 0..5 {
        assert_eq!(logged(&format!("always-{number}\", not counted")), 1, "{log}");
    }
    let closed = logged("at-times-");
    assert!(
        (1..=closings).contains(&closed),
        "closed {closings} times:\n{log}"
    );
    let is_other = |line: &&str| !line.contains(" INFO graphite: ") && !line.contains("closed/a");
    let others: Vec<_> = log.lines().filter(is_other).collect();
    assert!(others.len() < 30 && !log.contains(" ERROR "), "{others:#?}");
    let stopped = daemon.stop();
    assert!(stopped < Duration::from_secs(1), "stopped in {stopped:?}");
}
