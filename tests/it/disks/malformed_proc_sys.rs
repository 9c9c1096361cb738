//! Kernel text that is not as the kernel writes it: /proc/diskstats and sysfs, malformed, huge, torn, gone or changing
//! while the built binary reads them. The disk in question is skipped and logged once. All others keep right
//! values.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::watch::{Watch, status};
use crate::support::{Daemon, TestDir, document, wait_for};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

/// Most that the daemon may have had in memory, in KiB: a debug build takes some 6 MB, and the largest text 4 MiB.
const MAX_MEMORY_KIB: u64 = 32 << 10;

/// A daemon over kernel files of the test's own, with disks whose figures are in fixed proportions: whatever the
/// times of two samples are, a value that is not of both can be told.
struct Host {
    place: TestDir,
    daemon: Daemon,
    reads: Watch,
    turn: u64,
}

impl Host {
    fn new(disks: &[&str], more: &str) -> Self {
        let place = TestDir::in_memory();
        let (proc, sys) = (place.path("proc"), place.path("sys"));
        fs::create_dir(&proc).unwrap();
        for disk in disks {
            fs::create_dir_all(sys.join("block").join(disk).join("device")).unwrap();
        }
        place.configure_with(
            "",
            "",
            "interval = \"5ms\"\nwindow = \"500ms\"",
            &format!(
                "{more}\n[host]\nproc = \"{}\"\nsys = \"{}\"",
                proc.display(),
                sys.display()
            ),
        );
        fs::write(proc.join("diskstats"), good("sda", 0)).unwrap();
        let reads = Watch::read(&proc);
        let daemon = Daemon::start(&place);
        let mut host = Self {
            place,
            daemon,
            reads,
            turn: 0,
        };
        host.recovers();
        host
    }

    fn sys(&self, name: &str) -> PathBuf {
        self.place.path("sys").join(name)
    }

    /// Puts something in the place of /proc/diskstats, at once.
    fn put(&self, make: impl FnOnce(&Path)) {
        let new = self.place.path("proc/new");
        make(&new);
        let target = self.place.path("proc/diskstats");
        if target.is_dir() {
            fs::remove_dir(&target).unwrap();
        }
        if let Err(error) = fs::rename(&new, &target) {
            // A directory does not replace a file.
            assert!(new.is_dir(), "{error}");
            fs::remove_file(&target).unwrap();
            fs::rename(new, target).unwrap();
        }
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        self.put(|path| fs::write(path, text).unwrap());
    }

    /// Writes what the kernel would, later than before.
    fn write_good(&mut self) {
        self.turn += 1;
        self.write(good("sda", self.turn));
    }

    /// Waits until a sample of the present text was published, or its error logged.
    fn samples(&self) {
        // The first may have begun before it was there; when the third begins, the second is through.
        self.reads.wait_for("diskstats", 3);
    }

    /// The document, whose values must be possible, whatever the kernel's text was.
    fn disks(&self) -> Value {
        let Some(document) = self.place.disks() else {
            return json!({});
        };
        for (name, disk) in document["disks"].as_object().unwrap() {
            assert_proportions(name, disk);
        }
        document["disks"].clone()
    }

    fn names(&self) -> Vec<String> {
        self.disks().as_object().unwrap().keys().cloned().collect()
    }

    fn recovers(&mut self) {
        wait_for("values of good text", || {
            self.write_good();
            let disks = self.disks();
            (disks["sda"]["reads_per_second"].as_f64()? > 0.0).then_some(())
        });
    }

    fn warnings(&self) -> Vec<String> {
        let log = self.place.log();
        let warned = log.lines().filter(|line| line.contains(" WARN "));
        warned.map(String::from).collect()
    }

    fn ends_well(self) {
        let most = status(&self.daemon.child, "VmHWM");
        assert!(most < MAX_MEMORY_KIB, "{most} KiB of memory");
        self.daemon.stop();
    }
}

/// The line of a disk after so many turns: 100 reads of 4096 bytes, 2 ms each, in each turn; 3 ms of queue in each.
fn good(name: &str, turn: u64) -> String {
    let (reads, sectors, ms, queue) = (100 * turn, 800 * turn, 200 * turn, 3 * turn);
    format!("   8       0 {name} {reads} 0 {sectors} {ms} 0 0 0 0 0 {turn} {queue} 0 0 0 0 0 0\n")
}

/// Whether the values can come of samples of [`good`] lines.
fn assert_proportions(name: &str, disk: &Value) {
    let value = |key: &str| {
        let value = disk[key].as_f64().unwrap();
        assert!(value.is_finite() && value >= 0.0, "{name}: {key} is {value}");
        value
    };
    let near = |what: &str, value: f64, wanted: f64| {
        assert!(
            (value - wanted).abs() <= 0.002 + wanted * 0.001,
            "{what} of {name} is {value}, not {wanted}: {disk}"
        );
    };
    let reads = value("reads_per_second");
    assert!(value("util_percent") <= 100.0);
    near("bytes", value("read_bytes_per_second"), reads * 4096.0);
    near(
        "await",
        value("read_await_ms"),
        if reads == 0.0 { 0.0 } else { 2.0 },
    );
    near("queue", value("queue_size"), reads * 3.0 / 100.0 / 1000.0);
    for key in ["writes_per_second", "write_bytes_per_second", "write_await_ms"] {
        near(key, value(key), 0.0);
    }
}

#[test]
fn truncated_diskstats_gives_right_values_or_none() {
    let mut host = Host::new(&["sda", "sdb", "sdc"], "");
    // Lines of 14, 18 and 20 columns: cut behind the 14th, a line still looks whole.
    let text = |turn: u64| {
        let line = good("sdb", turn);
        let short = |columns: usize| {
            line.split_whitespace()
                .take(columns)
                .collect::<Vec<_>>()
                .join(" ")
        };
        format!(
            "{}{}\n 8 33 sdc1 1 2 3\n{}\n",
            good("sda", turn),
            short(14),
            short(18).replace("sdb", "sdc")
        )
    };
    let length = text(12_000).len();
    let mut with_sdc = 0;
    for cut in 0..=length {
        // Large numbers: cut short, they are other numbers.
        host.turn = 12_000 + cut as u64;
        host.write(text(host.turn));
        host.samples();
        with_sdc += usize::from(host.names() == ["sda", "sdb", "sdc"]);
        host.turn += 1;
        host.write(&text(host.turn)[..cut]);
        host.samples();
        let names = host.names();
        if cut == length {
            assert!(names.contains(&"sdc".to_string()), "the whole file");
        } else {
            assert!(
                !names.contains(&"sdc".to_string()),
                "cut at {cut}, values of a line without its end"
            );
        }
    }
    assert!(with_sdc > 0, "the whole file was never read in between");
    let warned = host.warnings();
    assert!(warned.len() < 10, "{} warnings:\n{warned:#?}", warned.len());
    host.recovers();
    host.ends_well();
}

/// Text that is not the kernel's, and the disks there are values of: those whose lines are well-formed.
fn texts(good: &str) -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let of = |text: String| text.into_bytes();
    let line = |columns: &str| of(format!("{good}   8 16 sdb {columns}\n"));
    let other = |number: usize| format!("   8 99 loop{number} 0 0 0 0 0 0 0 0 0 0 0\n");
    let mut noise: Vec<u8> = (0..65_536u64)
        .map(|number| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect();
    noise.push(b'\n');
    noise.extend(good.as_bytes());
    vec![
        ("empty", vec![], &[]),
        ("blank lines", of("\n\n \t \n".into()), &[]),
        ("NULs", vec![0; 1 << 20], &[]),
        ("noise", noise, &["sda"]),
        ("too few columns", line("1 0 8 2 0 0 0 0 0 1"), &["sda"]),
        ("no columns", line(""), &["sda"]),
        ("negative", line("1 0 8 2 0 0 0 0 -1 1 3"), &["sda"]),
        ("a sign", line("+1 0 8 2 0 0 0 0 0 1 3"), &["sda"]),
        ("hexadecimal", line("0x1 0 8 2 0 0 0 0 0 1 3"), &["sda"]),
        ("a fraction", line("1.5 0 8 2 0 0 0 0 0 1 3"), &["sda"]),
        ("an exponent", line("1e3 0 8 2 0 0 0 0 0 1 3"), &["sda"]),
        (
            "digits of another script",
            line("１ 0 8 2 0 0 0 0 0 1 3"),
            &["sda"],
        ),
        (
            "beyond 64 bits",
            line("18446744073709551616 0 8 2 0 0 0 0 0 1 3"),
            &["sda"],
        ),
        ("a column of 1 MB", line(&"9".repeat(1 << 20)), &["sda"]),
        ("a line of 1 MB", line(&"9 ".repeat(1 << 19)), &["sda", "sdb"]),
        (
            "a name of 1 MB",
            of(format!("{good} 8 16 {} 1 0 8\n", "n".repeat(1 << 20))),
            &["sda"],
        ),
        (
            "names that are paths",
            of(format!(
                "{good}{}",
                [".", "..", "/", "../..", "../block/sda", "sda/..", "sda/device"]
                    .map(|name| format!(" 8 1 {name} 1 0 8 2 0 0 0 0 0 1 3\n"))
                    .concat()
            )),
            &["sda"],
        ),
        (
            "names that are not text",
            [good.as_bytes(), b" 8 16 sd\xff 1 0 8 2 0 0 0 0 0 1 3\n"].concat(),
            &["sda"],
        ),
        ("twice the same", of(format!("{good}{good}")), &["sda"]),
        ("ends of lines of DOS", of(good.replace('\n', "\r\n")), &["sda"]),
        (
            "100,000 other devices",
            of((0..100_000).map(other).collect::<String>() + good),
            &["sda"],
        ),
        (
            "two million lines of nothing",
            of("x\n".repeat(2_000_000) + good),
            &["sda"],
        ),
        (
            "10 MB",
            of((0..300_000).map(other).collect::<String>() + good),
            &[],
        ),
    ]
}

#[test]
fn malformed_diskstats_line_skips_only_that_disk() {
    let mut host = Host::new(&["sda", "sdb"], "");
    let cases = texts("").len();
    for case in 0..cases {
        host.turn += 1;
        let (what, text, wanted) = texts(&good("sda", host.turn)).swap_remove(case);
        let before = host.warnings().len();
        host.write(text);
        host.samples();
        assert_eq!(host.names(), wanted, "{what}");
        host.samples();
        let warned = host.warnings().split_off(before);
        assert!(warned.len() <= 6, "{what}: {warned:#?}");
        for line in warned {
            assert!(line.len() < 300, "{what}: a line of {} bytes", line.len());
        }
        host.recovers();
    }
    let log = host.place.log();
    assert!(
        !log.contains("sda was replaced"),
        "a line that comes twice is no other disk:\n{log}"
    );
    host.ends_well();
}

#[test]
fn counters_at_the_end_of_their_range_give_no_wild_values() {
    let mut host = Host::new(&["sda", "sdb"], "");
    let numbers = [0, 1, u64::MAX, u64::MAX - 1, u64::MAX / 2, 1 << 32, (1 << 32) - 1];
    for turn in 0..numbers.len() * 12 {
        let mut columns = [0; 17];
        for (place, column) in columns.iter_mut().enumerate() {
            *column = numbers[(turn * (place + 1) + turn / 7) % numbers.len()];
        }
        let columns = columns.map(|column| column.to_string()).join(" ");
        host.turn += 1;
        host.write(format!("{} 8 16 sdb {columns}\n", good("sda", host.turn)));
        host.samples();
        let document = host.place.disks().expect("the other disk's values");
        assert_proportions("sda", &document["disks"]["sda"]);
        for (key, value) in document["disks"]["sdb"].as_object().into_iter().flatten() {
            let value = value.as_f64().unwrap();
            // 32 TiB/s is what no disk does.
            assert!((0.0..=4e13).contains(&value), "{key} is {value}");
        }
    }
    let lines = host.place.log().lines().count();
    assert!(lines < 30, "{lines} lines:\n{}", host.place.log());
    host.ends_well();
}

#[test]
fn diskstats_that_is_not_a_file_is_an_error_without_delay() {
    let mut host = Host::new(&["sda"], "");
    type Make = fn(&Path);
    let planted: [(&str, Make); 7] = [
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a FIFO", |path| {
            mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        }),
        ("a socket", |path| {
            // Bound by a short name: the paths of sockets are short.
            std::os::unix::net::UnixListener::bind(path).unwrap();
        }),
        ("a dangling link", |path| symlink("/nowhere", path).unwrap()),
        ("a link to itself", |path| symlink("diskstats", path).unwrap()),
        ("a device without end", |path| symlink("/dev/zero", path).unwrap()),
        ("a file that does not answer", |path| {
            symlink("/dev/full", path).unwrap();
        }),
    ];
    for (what, make) in planted {
        let before = host.warnings().len();
        host.put(make);
        wait_for(&format!("{what}: the disks' file to go"), || {
            host.place.disks().is_none().then_some(())
        });
        let warned = wait_for("a warning", || {
            Some(host.warnings().split_off(before)).filter(|warned| !warned.is_empty())
        });
        assert!(
            warned.len() == 1 && warned[0].contains("reading ") && warned[0].contains("proc/diskstats"),
            "{what}: {warned:#?}"
        );
        host.recovers();
    }
    fs::remove_file(host.place.path("proc/diskstats")).unwrap();
    wait_for("the disks' file to go with the kernel's", || {
        host.place.disks().is_none().then_some(())
    });
    host.recovers();
    host.ends_well();
}

/// Something in the place of a file or directory of sysfs.
fn plant(path: &Path, kind: &str) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir_all(path);
    match kind {
        "nothing" => {}
        "a directory" => fs::create_dir(path).unwrap(),
        "a FIFO" => mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
        "a dangling link" => symlink("/nowhere", path).unwrap(),
        "a link to itself" => symlink(path.file_name().unwrap(), path).unwrap(),
        "a device without end" => symlink("/dev/zero", path).unwrap(),
        "10 MB" => fs::write(path, vec![b'7'; 10 << 20]).unwrap(),
        text => fs::write(path, text).unwrap(),
    }
}

const PLANTED: [&str; 12] = [
    "a directory",
    "a FIFO",
    "a dangling link",
    "a link to itself",
    "a device without end",
    "10 MB",
    "",
    "\n",
    "garbage \u{1b}[31m\n",
    "-1\n",
    "99999999999999999999\n",
    "\0\0\0\0",
];

#[test]
fn missing_or_invalid_sysfs_does_not_affect_other_disks() {
    let mut host = Host::new(&["sda", "sdb"], "");
    let files = [
        "hidden",
        "size",
        "dev",
        "diskseq",
        "device/type",
        "device/media",
        "device/devtype",
    ];
    let step = |host: &mut Host, what: &str| {
        host.turn += 1;
        host.write(good("sda", host.turn) + &good("sdb", host.turn));
        host.samples();
        let names = host.names();
        assert!(names.contains(&"sda".to_string()), "{what}: {names:?}");
        names.len()
    };
    for file in files {
        for kind in PLANTED {
            let path = host.sys("block/sdb").join(file);
            plant(&path, kind);
            step(&mut host, &format!("{file}: {kind:?}"));
            plant(&path, "nothing");
        }
    }
    for (what, path) in [("the device", "block/sdb/device"), ("the disk", "block/sdb")] {
        for kind in PLANTED {
            plant(&host.sys(path), kind);
            step(&mut host, &format!("{what}: {kind:?}"));
            plant(&host.sys(path), "nothing");
            let disks = step(&mut host, "gone");
            assert_eq!(disks, 1, "{what} is gone, and is still published");
            fs::create_dir_all(host.sys("block/sdb/device")).unwrap();
            wait_for("the disk to come back", || {
                (step(&mut host, "back") == 2).then_some(())
            });
        }
    }
    assert!(host.warnings().is_empty(), "{:#?}", host.warnings());
    for kind in PLANTED.into_iter().filter(|kind| *kind != "a directory") {
        plant(&host.sys("block"), kind);
        wait_for("the disks' file to go", || {
            host.place.disks().is_none().then_some(())
        });
        plant(&host.sys("block"), "nothing");
        fs::create_dir_all(host.sys("block/sda/device")).unwrap();
        host.recovers();
    }
    let warned = host.warnings();
    assert!(warned.len() <= PLANTED.len(), "{warned:#?}");
    host.ends_well();
}

#[test]
fn devices_that_are_made_of_each_other_end() {
    let mut host = Host::new(&["sda"], "");
    let whisper = fs::metadata(host.place.path("whisper")).unwrap().dev();
    let (major, minor) = (rustix::fs::major(whisper), rustix::fs::minor(whisper));
    let device = host.sys(&format!("dev/block/{major}:{minor}"));
    let whisper_disks = |host: &mut Host| {
        host.write_good();
        // The count worker has reported the device of the tree.
        host.place.wait_for_log(" INFO graphite: ");
        host.samples();
        host.place.disks().expect("the disks")["whisper_disks"].clone()
    };
    assert_eq!(whisper_disks(&mut host), json!([]), "no dev/block at all");
    fs::create_dir_all(device.parent().unwrap()).unwrap();
    for kind in PLANTED {
        plant(&device, kind);
        assert_eq!(whisper_disks(&mut host), json!([]), "{kind:?}");
    }
    plant(&device, "nothing");
    // Each of twelve is made of all the others, and of the disk: as many ways round as there are atoms.
    let stacked: Vec<_> = (0..12)
        .map(|number| host.sys(&format!("block/dm-{number}")))
        .collect();
    for below in &stacked {
        fs::create_dir_all(below.join("slaves")).unwrap();
    }
    for below in &stacked {
        for other in stacked.iter().filter(|other| *other != below) {
            symlink(other, below.join("slaves").join(other.file_name().unwrap())).unwrap();
        }
        symlink("nowhere", below.join("slaves/sdx")).unwrap();
        symlink("itself", below.join("slaves/itself")).unwrap();
    }
    symlink(&stacked[0], &device).unwrap();
    assert_eq!(whisper_disks(&mut host), json!([]));
    symlink(host.sys("block/sda"), stacked[11].join("slaves/sda")).unwrap();
    assert_eq!(whisper_disks(&mut host), json!(["sda"]));
    host.recovers();
    host.ends_well();
}

#[test]
fn invalid_firmware_is_not_vmware_and_invalid_cpus_are_unknown() {
    let place = TestDir::in_memory();
    let sys = place.path("sys");
    let vendor = sys.join("class/dmi/id/sys_vendor");
    let online = sys.join("devices/system/cpu/online");
    fs::create_dir_all(vendor.parent().unwrap()).unwrap();
    fs::create_dir_all(online.parent().unwrap()).unwrap();
    place.configure_with(
        "",
        "enabled = false",
        "enabled = false",
        &format!(
            "interval = \"10ms\"\nwindow = \"1s\"\nlibraries = [\"/nowhere\"]\n[host]\nsys = \"{}\"",
            sys.display()
        ),
    );
    for kind in PLANTED {
        plant(&vendor, kind);
        let daemon = Daemon::start(&place);
        place.wait_for_log("not a VMware virtual machine");
        let log = place.log();
        assert!(log.lines().all(|line| line.len() < 300), "{kind:?}: a long line");
        assert!(!log.contains(['\u{1b}', '\0']), "{kind:?}: {log:?}");
        assert!(!place.path("vmware.dat").exists(), "{kind:?}");
        daemon.stop();
        fs::remove_file(place.path("gatherer.log")).unwrap();
    }
    plant(&vendor, "VMware, Inc.\u{1b}[31m\n");
    let daemon = Daemon::start(&place);
    let cpus = |least: u64| {
        let path = place.path("vmware.dat");
        let watch = Watch::replaced(&place.path(""));
        watch.wait_for("vmware.dat", least as usize);
        document(&path).unwrap()["vcpus"].clone()
    };
    for kind in PLANTED.into_iter().chain([
        "0-",
        "3-0",
        "0-4294967294",
        "0-3,,5",
        "0x1",
        "+1",
        "0-1,1,9999999999",
    ]) {
        plant(&online, kind);
        assert_eq!(cpus(3), Value::Null, "{kind:?}");
    }
    plant(&online, "0-3,8\n");
    assert_eq!(cpus(3), json!(5));
    let warned = place.log().matches(" WARN ").count();
    assert_eq!(warned, 1, "the library is missing, once:\n{}", place.log());
    daemon.stop();
}
