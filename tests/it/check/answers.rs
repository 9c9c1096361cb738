//! docs/answers.md and the answers of `check`: every row is an answer. That every answer is a row is checked wherever a
//! test runs `check`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::check_fixture::{CheckFixture, assert_is_row, count, disks, ready, rows};

/// Rows that other tests produce, with `assert_is_row`: they need root, storage that hangs, or a panic.
const ELSEWHERE: [&str; 4] = [
    "GRAPHITE UNKNOWN: the storage of the whisper tree has not responded for …",
    "… UNKNOWN: cannot read the file …: owned by uid …, must be owned by root or shinken-gatherer",
    "… UNKNOWN: cannot read the file …: Permission denied (os error 13)",
    "SHINKEN-GATHERER UNKNOWN: internal error, please report it: …",
];

/// A section of the page, and the rows of it that were not produced yet.
struct Section {
    site: CheckFixture,
    missing: Vec<String>,
}

impl Section {
    fn new(heading: &str) -> Self {
        let is_produced_here = |row: &String| !ELSEWHERE.contains(&&**row);
        Self {
            site: CheckFixture::new(),
            missing: rows(heading).into_iter().filter(is_produced_here).collect(),
        }
    }

    /// Runs `check` with the words of `args`, which must answer as in `row`.
    fn expect(&mut self, args: &str, row: &str) {
        assert_is_row(row, &self.site.check(args).1);
        self.missing.retain(|other| other != row);
    }

    fn end(self) {
        assert!(self.missing.is_empty(), "no test produces {:#?}", self.missing);
    }
}

#[test]
fn every_graphite_row_of_the_page_is_an_answer() {
    let mut section = Section::new("Graphite");
    section.expect(
        "graphite",
        "GRAPHITE UNKNOWN: … does not exist and counting failed: …",
    );
    // So many directories that counting them is not done at once, in memory.
    let tree = tempfile::tempdir_in("/dev/shm").unwrap();
    for number in 0..10_000 {
        fs::create_dir_all(tree.path().join(format!("{}/{number}", number % 100))).unwrap();
    }
    symlink(tree.path(), section.site.path("whisper")).unwrap();
    section.expect("graphite", "GRAPHITE … counted by this check, … does not exist");
    section.expect(
        "graphite --timeout 0",
        "GRAPHITE UNKNOWN: … does not exist and counting failed: counting …: timed out after …",
    );
    section.site.publish("whisper.nb_metrics", count(120));
    section.expect("graphite", "GRAPHITE OK: … metrics, … hosts, counted … ago");
    section.expect("graphite -w 9", "GRAPHITE WARNING: … (…)…");
    section.expect("graphite --hosts -c 9", "GRAPHITE CRITICAL: … (…)…");
    let mut unreadable = count(120);
    unreadable["unreadable"] = 3.into();
    section.site.publish("whisper.nb_metrics", unreadable);
    section.expect("graphite", "GRAPHITE … unreadable directories not counted, …");
    section.site.publish("whisper.nb_metrics", count(7200));
    section.expect(
        "graphite",
        "GRAPHITE … outdated: … old, the limit is …; is the gatherer running?",
    );
    section.site.publish("whisper.nb_metrics", count(-7200));
    section.expect(
        "graphite",
        "GRAPHITE … outdated: timestamp is … in the future; is the gatherer running?",
    );
    section.end();
}

#[test]
fn every_disks_row_of_the_page_is_an_answer() {
    let mut section = Section::new("Disks");
    section.expect(
        "disks",
        "DISKS UNKNOWN: cannot read the file …: no such file, is the gatherer running?",
    );
    section
        .site
        .publish("disks", disks(3, &[("sda", 95.0, 1.0)], &[]));
    section.expect("disks", "DISKS OK: %util … over … s");
    section.expect("disks -w 90", "DISKS WARNING: … (…)…");
    section.expect("disks -c 90", "DISKS CRITICAL: … (…)…");
    section.expect("disks --disk sdb", "DISKS … no such disk: …");
    section.expect(
        "disks --whisper",
        "DISKS … the disks of the whisper tree are unknown",
    );
    section
        .site
        .publish("disks", disks(3, &[("sda", 100.0, 0.0)], &[]));
    section.expect(
        "disks",
        "DISKS CRITICAL: … (HUNG: requests queued, none completed)…",
    );
    section.site.publish("disks", disks(3, &[("", 0.0, 0.0); 0], &[]));
    section.expect("disks", "DISKS UNKNOWN: no physical disks found");
    section
        .site
        .publish("disks", disks(600, &[("sda", 1.0, 1.0)], &[]));
    section.expect(
        "disks",
        "DISKS UNKNOWN: the file … is outdated: … old, the limit is …; is the gatherer running?",
    );
    section
        .site
        .publish("disks", disks(-600, &[("sda", 1.0, 1.0)], &[]));
    section.expect(
        "disks",
        "DISKS UNKNOWN: the file … is outdated: timestamp is … in the future; is the gatherer running?",
    );
    fs::remove_file(section.site.path("disks")).unwrap();
    section
        .site
        .reconfigure("[disks]\n", "[disks]\nenabled = false\n");
    section.expect(
        "disks",
        "DISKS UNKNOWN: cannot read the file …: no such file ([disks] is disabled)",
    );
    section.end();
}

#[test]
fn every_vmware_row_of_the_page_is_an_answer() {
    let mut section = Section::new("VMware");
    section.expect("vmware", "VMWARE OK: not a VMware VM");
    section.site.publish("vmware", ready(3, Some(24.0), Some(4)));
    section.expect("vmware", "VMWARE OK: … ready per vCPU, … in total on … over … s");
    section.expect("vmware -w 5", "VMWARE WARNING: … ready per vCPU (…), …");
    section.expect("vmware -c 5", "VMWARE CRITICAL: … ready per vCPU (…), …");
    section.site.publish("vmware", ready(3, Some(24.0), None));
    section.expect(
        "vmware",
        "VMWARE UNKNOWN: … ready in total over … s, on an unknown number of vCPUs",
    );
    let mut unknown = ready(3, None, Some(2));
    section.site.publish("vmware", &unknown);
    section.expect(
        "vmware",
        "VMWARE UNKNOWN: %ready unknown yet: two samples are needed",
    );
    unknown["error"] = "the host refuses".into();
    section.site.publish("vmware", unknown);
    section.expect("vmware", "VMWARE UNKNOWN: %ready unknown: …");
    section.site.publish("vmware", ready(3600, Some(24.0), Some(4)));
    section.expect(
        "vmware",
        "VMWARE … outdated: … old, the limit is …; is the gatherer running?",
    );
    section.site.publish("vmware", ready(-3600, Some(24.0), Some(4)));
    section.expect(
        "vmware",
        "VMWARE … outdated: timestamp is … in the future; is the gatherer running?",
    );
    fs::remove_file(section.site.path("vmware")).unwrap();
    section
        .site
        .reconfigure("[vmware]\n", "[vmware]\nenabled = false\n");
    section.expect(
        "vmware",
        "VMWARE UNKNOWN: [vmware] is disabled and … does not exist",
    );
    section.end();
}

#[test]
fn file_that_is_not_trusted_is_an_answer_of_the_page() {
    let mut section = Section::new("Files that are not trusted");
    let path = section.site.path("disks");
    let good = disks(3, &[("sda", 1.0, 1.0)], &[]);
    section.site.publish("elsewhere", &good);
    symlink(section.site.path("elsewhere"), &path).unwrap();
    section.expect("disks", "… UNKNOWN: cannot read the file …: is a symbolic link");
    fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    section.expect("disks", "… UNKNOWN: cannot read the file …: not a regular file");
    // A sparse file of 1 TiB, and a document that is longer than the limit.
    section.site.publish("disks", "");
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    section.expect(
        "disks",
        "… UNKNOWN: cannot read the file …: larger than 16777216 bytes",
    );
    section
        .site
        .publish("disks", format!("{good}{}", " ".repeat(16 << 20)));
    section.expect(
        "disks",
        "… UNKNOWN: cannot read the file …: larger than 16777216 bytes",
    );
    for malformed in ["", "{\"schema\":1"] {
        section.site.publish("disks", malformed);
        section.expect("disks", "… UNKNOWN: cannot read the file …: malformed: …");
    }
    section
        .site
        .publish("disks", good.to_string().replace("\"schema\":1", "\"schema\":2"));
    section.expect(
        "disks",
        "… UNKNOWN: cannot read the file …: unsupported schema …, expected …",
    );
    section.site.reconfigure("/disks\"", "/disks/below\"");
    section.expect("disks", "… UNKNOWN: cannot read the file …: … (os error …)");
    section.end();
}

#[test]
fn wrong_use_of_check_is_an_answer_of_the_page() {
    let mut section = Section::new("The check itself");
    let name = "SHINKEN-GATHERER UNKNOWN:";
    for args in ["disks -w 80%", "disks -w 20:10", "disks --max-age soon"] {
        section.expect(args, &format!("{name} invalid value …"));
    }
    for args in ["disks --nonsense", "disks extra", "--nonsense disks"] {
        section.expect(args, &format!("{name} unexpected argument …"));
    }
    section.expect("everything", &format!("{name} unrecognized subcommand …"));
    section.expect("disks -w", &format!("{name} a value is required for …"));
    section.expect(
        "disks -w 1 -w 2",
        &format!("{name} the argument … cannot be used …"),
    );
    section.expect(
        "",
        &format!("{name} missing subcommand: graphite, disks or vmware"),
    );
    let file = section.site.path("gatherer.toml");
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    section.expect(
        "disks",
        "… UNKNOWN: …: owner is user … and mode is …, must be owned by root… and not writable by group or others",
    );
    fs::remove_file(&file).unwrap();
    section.expect("graphite", "… UNKNOWN: …: …");
    section.end();
}
