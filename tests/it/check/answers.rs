//! docs/answers.md and the answers of `check`: every row is an answer. That every answer is a row is checked wherever a
//! test runs `check`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{CheckFixture, assert_is_row, collectors, count, disks, ready, rows};

/// Rows that other tests produce, with `assert_is_row`: they need root, storage that hangs, or a panic.
const ELSEWHERE: [&str; 4] = [
    "GRAPHITE UNKNOWN: the storage of the whisper tree has not responded for …",
    "… UNKNOWN: cannot read the file …: owned by uid …, must be owned by root or shinken-gatherer",
    "… UNKNOWN: cannot read the file …: Permission denied (os error 13)",
    "SHINKEN-GATHERER UNKNOWN: internal error, please report it: …",
];

const OUTDATED: &str = "… outdated: … old, the limit is …; is the gatherer running?";
const FUTURE: &str = "… outdated: timestamp is … in the future; is the gatherer running?";

/// A section of the page, and the rows of it that were not produced yet.
struct Section {
    site: CheckFixture,
    missing: Vec<String>,
    /// What the rows of the section begin with.
    start: &'static str,
}

impl Section {
    fn new(heading: &str, start: &'static str) -> Self {
        let is_produced_here = |row: &String| !ELSEWHERE.contains(&&**row);
        Self {
            site: CheckFixture::new(),
            missing: rows(heading).into_iter().filter(is_produced_here).collect(),
            start,
        }
    }

    /// Runs `check` with the words of `args`, which must answer as in the row that ends with `row`.
    fn expect(&mut self, args: &str, row: &str) {
        let row = format!("{}{row}", self.start);
        assert_is_row(&row, &self.site.check(args));
        self.missing.retain(|other| *other != row);
    }

    fn end(self) {
        assert!(self.missing.is_empty(), "no test produces {:#?}", self.missing);
    }
}

#[test]
fn every_graphite_row_of_the_page_is_an_answer() {
    let mut page = Section::new("Graphite", "GRAPHITE ");
    let failed = "UNKNOWN: … does not exist and counting failed: …";
    page.expect("graphite", failed);
    // So many directories that counting them is not done at once, in memory.
    let tree = tempfile::tempdir_in("/dev/shm").unwrap();
    for number in 0..10_000 {
        fs::create_dir_all(tree.path().join(format!("{}/{number}", number % 100))).unwrap();
    }
    symlink(tree.path(), page.site.path("whisper")).unwrap();
    page.expect("graphite", "… counted by this check, … does not exist");
    let timed_out = failed.replace("failed: …", "failed: counting …: timed out after …");
    page.expect("graphite --timeout 0", &timed_out);
    page.site.publish("whisper.nb_metrics", count(120));
    page.expect("graphite", "OK: … metrics, … hosts, counted … ago");
    page.expect("graphite -w 9", "WARNING: … (…)…");
    page.expect("graphite --hosts -c 9", "CRITICAL: … (…)…");
    let mut unreadable = count(120);
    unreadable["unreadable"] = 3.into();
    page.site.publish("whisper.nb_metrics", unreadable);
    page.expect("graphite", "… unreadable directories not counted, …");
    page.site.publish("whisper.nb_metrics", count(7200));
    page.expect("graphite", OUTDATED);
    page.site.publish("whisper.nb_metrics", count(-7200));
    page.expect("graphite", FUTURE);
    page.end();
}

#[test]
fn every_disks_row_of_the_page_is_an_answer() {
    let mut page = Section::new("Disks", "DISKS ");
    let missing = "UNKNOWN: cannot read the file …: no such file";
    page.expect("disks", &format!("{missing}, is the gatherer running?"));
    page.site.publish("disks", disks(3, &[("sda", 95.0, 1.0)], &[]));
    page.expect("disks", "OK: %util … over … s");
    page.expect("disks -w 90", "WARNING: … (…)…");
    page.expect("disks -c 90", "CRITICAL: … (…)…");
    page.expect("disks --disk sdb", "… no such disk: …");
    page.expect("disks --whisper", "… the disks of the whisper tree are unknown");
    page.site.publish("disks", disks(3, &[("sda", 100.0, 0.0)], &[]));
    page.expect("disks", "CRITICAL: … (HUNG: requests queued, none completed)…");
    page.site.publish("disks", disks(3, &[("", 0.0, 0.0); 0], &[]));
    page.expect("disks", "UNKNOWN: no physical disks found");
    for (age, row) in [(600, OUTDATED), (-600, FUTURE)] {
        page.site.publish("disks", disks(age, &[("sda", 1.0, 1.0)], &[]));
        page.expect("disks", &row.replacen('…', "UNKNOWN: the file … is", 1));
    }
    fs::remove_file(page.site.path("disks")).unwrap();
    page.site.reconfigure("[disks]\n", "[disks]\nenabled = false\n");
    page.expect("disks", &format!("{missing} ([disks] is disabled)"));
    page.end();
}

#[test]
fn every_vmware_row_of_the_page_is_an_answer() {
    let mut page = Section::new("VMware", "VMWARE ");
    page.expect("vmware", "OK: not a VMware VM");
    page.site.make_vmware();
    page.expect("vmware", "UNKNOWN: … does not exist, is the gatherer running?");
    let mut elsewhere = ready(3, None, Some(4));
    elsewhere["is_vmware"] = false.into();
    page.site.publish("vmware", elsewhere);
    page.expect("vmware", "OK: not a VMware VM");
    page.site.publish("vmware", ready(3, Some(24.0), Some(4)));
    page.expect("vmware", "OK: … ready per vCPU, … in total on … over … s");
    page.expect("vmware -w 5", "WARNING: … ready per vCPU (…), …");
    page.expect("vmware -c 5", "CRITICAL: … ready per vCPU (…), …");
    page.site.publish("vmware", ready(3, Some(24.0), None));
    let unknown = "UNKNOWN: … ready in total over … s, on an unknown number of vCPUs";
    page.expect("vmware", unknown);
    let mut none = ready(3, None, Some(2));
    page.site.publish("vmware", &none);
    page.expect("vmware", "UNKNOWN: %ready unknown yet: two samples are needed");
    none["error"] = "the host refuses".into();
    page.site.publish("vmware", none);
    page.expect("vmware", "UNKNOWN: %ready unknown: …");
    for (age, row) in [(3600, OUTDATED), (-3600, FUTURE)] {
        page.site.publish("vmware", ready(age, Some(24.0), Some(4)));
        page.expect("vmware", row);
    }
    fs::remove_file(page.site.path("vmware")).unwrap();
    page.site.reconfigure("[vmware]\n", "[vmware]\nenabled = false\n");
    page.expect("vmware", "UNKNOWN: [vmware] is disabled and … does not exist");
    page.end();
}

#[test]
fn file_that_is_not_trusted_is_an_answer_of_the_page() {
    let start = "… UNKNOWN: cannot read the file …: ";
    let mut page = Section::new("Files that are not trusted", start);
    let path = page.site.path("disks");
    let good = disks(3, &[("sda", 1.0, 1.0)], &[]);
    page.site.publish("elsewhere", &good);
    symlink(page.site.path("elsewhere"), &path).unwrap();
    page.expect("disks", "is a symbolic link");
    fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    page.expect("disks", "not a regular file");
    page.site.publish("disks", "");
    page.expect("disks", "malformed: …");
    // A sparse file, of which only the first 16 MiB may be read.
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    page.expect("disks", "larger than 16777216 bytes");
    page.site
        .publish("disks", format!("{good}{}", " ".repeat(16 << 20)));
    page.expect("disks", "larger than 16777216 bytes");
    let later = good.to_string().replace("\"schema\":1", "\"schema\":2");
    page.site.publish("disks", later);
    page.expect("disks", "unsupported schema …, expected …");
    page.site.reconfigure("/disks\"", "/disks/below\"");
    page.expect("disks", "… (os error …)");
    page.end();
}

#[test]
fn wrong_use_of_check_is_an_answer_of_the_page() {
    let mut page = Section::new("The check itself", "SHINKEN-GATHERER UNKNOWN: ");
    for args in ["disks -w 80%", "disks -w 20:10", "disks --max-age soon"] {
        page.expect(args, "invalid value …");
    }
    for args in ["disks --nonsense", "disks extra", "--nonsense disks"] {
        page.expect(args, "unexpected argument …");
    }
    page.expect("everything", "unrecognized subcommand …");
    page.expect("disks -w", "a value is required for …");
    page.expect("disks -w 1 -w 2", "the argument … cannot be used …");
    page.expect("", "missing subcommand: …");
    page.start = "… UNKNOWN: …: ";
    page.site.reconfigure("[disks]\n", "[disks]\nintervall = 1\n");
    for service in collectors() {
        page.expect(service, "…");
    }
    let file = page.site.path("gatherer.toml");
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    let owner = "owner is user … and mode is …, must be owned by root… and not writable by group or others";
    page.expect("disks", owner);
    page.end();
}

#[test]
fn each_section_of_the_page_has_a_test() {
    let (page, tests) = (
        include_str!("../../../docs/answers.md"),
        include_str!("answers.rs"),
    );
    for heading in page.lines().filter_map(|line| line.strip_prefix("## ")) {
        // The last one is about `status`.
        let is_tested = tests.contains(&format!("Section::new(\"{heading}\""));
        assert!(is_tested || heading.contains("status"), "{heading}");
    }
}
