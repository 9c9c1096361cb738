//! The life of exports.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Daemon, FAST, TestDir, Watch, assert_contains, stderr_of, text, wait_for, wait_until};

/// Adds an export to the configuration.
pub fn export(dir: &TestDir, name: &str, template: &str, rest: &str) {
    let config = dir.read("gatherer.toml");
    let path = dir.path(name);
    dir.write(
        "gatherer.toml",
        &format!("{config}\n[[export]]\npath = {path:?}\n{template}\n{rest}\n"),
    );
}

/// Returns a VMware VM with these exports: of the count, of the count and VMware, of the disks.
fn with_exports() -> TestDir {
    let dir = TestDir::in_memory();
    dir.metrics(["host-1/a.wsp"]);
    dir.configure_vm("", "interval = \"20ms\"", FAST, FAST);
    let template = "template = '''{{ graphite.hosts }} {{ graphite.metrics }}\n'''";
    export(&dir, "plain", template, "from = ['graphite']\nmode = '0640'");
    let template = "template = '{{ graphite.hosts }} {{ vmware.vcpus }}'";
    export(&dir, "both", template, "from = ['graphite', 'vmware']");
    dir.write("disks.j2", "{% for name in disks.disks %}{{ name }} {% endfor %}");
    let template = format!("template_file = {:?}", dir.path("disks.j2"));
    export(&dir, "busy", &template, "from = ['disks', 'graphite']");
    dir
}

fn wait_for_text(dir: &TestDir, name: &str, expected: &str) {
    wait_for(name, || {
        fs::read_to_string(dir.path(name))
            .ok()
            .filter(|text| text == expected)
    });
}

fn wait_for_all(dir: &TestDir) {
    for (name, expected) in [("plain", "1 1\n"), ("both", "1 4"), ("busy", "sda ")] {
        wait_for_text(dir, name, expected);
    }
}

#[test]
fn export_lives_as_long_as_the_documents_that_it_uses() {
    let dir = with_exports();
    let daemon = Daemon::start(&dir);
    wait_for_all(&dir);
    for (name, mode) in [("plain", 0o640), ("both", 0o644)] {
        assert_eq!(fs::metadata(dir.path(name)).unwrap().mode() & 0o7777, mode);
    }
    daemon.stop();
    assert!(!dir.path("busy").exists(), "{}", dir.log());
    assert!(dir.path("plain").exists() && dir.path("both").exists());

    // Of a killed daemon: by the lock record, although the configuration does not name it any more.
    let daemon = Daemon::start(&dir);
    wait_for_text(&dir, "busy", "sda ");
    daemon.kill();
    dir.reconfigure("['disks', 'graphite']", "['graphite']");
    let cleaned = dir.run(&["clean-up"]);
    assert!(cleaned.status.success(), "{}", stderr_of(&cleaned));
    assert!(!dir.path("busy").exists());
}

#[test]
fn export_is_written_for_its_own_documents_and_ends_with_them() {
    let dir = TestDir::in_memory();
    let rare = "interval = \"1h\"\nwindow = \"2h\"";
    dir.configure_vm("log_level = \"info\"", "enabled = false", rare, FAST);
    let name = "{% for name in disks.disks %}{{ name }}{% endfor %}";
    export(&dir, "rare", &format!("template = '{name}'"), "from = ['disks']");
    let template = format!("template = '{name} {{{{ vmware.vcpus }}}}'");
    export(&dir, "frequent", &template, "from = ['disks', 'vmware']");
    let replaced = Watch::replaced(&dir.path(""));
    let daemon = Daemon::start(&dir);
    wait_for_text(&dir, "rare", "sda");
    wait_for_text(&dir, "frequent", "sda 4");
    dir.reconfigure("\"info\"", "\"debug\"");
    dir.reload(&daemon);
    assert_eq!(dir.read("rare"), "sda");
    Watch::replaced(&dir.path("")).wait_for("frequent", 10);
    assert_eq!(dir.read("frequent"), "sda 4");
    assert_eq!(replaced.times("rare"), 1);
    // Disabling a collector has the effect of a stop, for the exports that use it.
    dir.reconfigure("[vmware]\n", "[vmware]\nenabled = false\n");
    dir.reload(&daemon);
    dir.wait_until_removed("frequent");
    assert!(dir.path("rare").exists());
    dir.reconfigure("[disks]\n", "[disks]\nenabled = false\n");
    dir.reload(&daemon);
    dir.wait_until_removed("rare");
    daemon.stop();
}

#[test]
fn export_that_cannot_be_rendered_any_more_is_removed() {
    let dir = TestDir::in_memory();
    dir.make_disks(["sda", "sdb"]);
    let both = dir.read("proc/diskstats");
    dir.replace("proc/diskstats", both.split_inclusive('\n').next().unwrap());
    dir.configure_with("", "enabled = false", FAST, "");
    let template = "template = '{% if disks.disks.sdb %}{{ disks.none.none }}{% endif %}'";
    export(&dir, "failing", template, "from = ['disks']");
    let daemon = Daemon::start(&dir);
    wait_until("the export", || dir.path("failing").exists());
    dir.replace("proc/diskstats", &both);
    dir.wait_until_removed("failing");
    wait_for("the disks", || dir.disks()?["disks"].get("sdb").cloned());
    daemon.stop();
}

#[test]
fn export_is_removed_with_its_document_and_at_the_start() {
    let dir = with_exports();
    dir.write("busy", "of an earlier daemon");
    dir.write("proc/diskstats", "");
    dir.reconfigure("[disks]\n", "[disks]\nenabled = false\n");
    let daemon = Daemon::start(&dir);
    dir.wait_until_removed("busy");
    dir.reconfigure("[disks]\nenabled = false\n", "[disks]\n");
    dir.write("proc/diskstats", "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n");
    dir.reload(&daemon);
    wait_for_text(&dir, "busy", "sda ");
    // Sampling fails: the disks file is removed, and what was made from it. Later samples log nothing.
    let rendering = format!("WARN export: rendering {:?}", dir.path("disks.j2"));
    let before = dir.logged(&rendering);
    fs::remove_file(dir.path("proc/diskstats")).unwrap();
    dir.wait_until_removed("disks.tmp");
    dir.wait_until_removed("busy");
    wait_until("the reason", || dir.logged(&rendering) > before);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(dir.logged(&rendering), before + 1, "{}", dir.log());
    dir.write("proc/diskstats", "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n");
    wait_for_text(&dir, "busy", "sda ");
    dir.reconfigure("[disks]\n", "[disks]\nenabled = false\n");
    dir.reload(&daemon);
    dir.wait_until_removed("busy");
    // Another export takes the path, and has no document.
    dir.reconfigure("[disks]\nenabled = false\n", "[disks]\n");
    dir.reload(&daemon);
    wait_for_text(&dir, "busy", "sda ");
    dir.reconfigure("[vmware]\n", "[vmware]\nenabled = false\n");
    dir.reconfigure("['disks', 'graphite']", "['vmware']");
    dir.reload(&daemon);
    assert!(!dir.path("busy").exists());
    daemon.stop();
}

#[test]
fn reload_removes_moved_exports_and_keeps_all_if_one_is_wrong() {
    let dir = with_exports();
    let daemon = Daemon::start(&dir);
    wait_for_all(&dir);
    dir.write("disks.j2", "one\n{{ disks. }}");
    daemon.signal(Signal::HUP);
    dir.wait_for_log("reload failed, keeping the current configuration");
    let reason = format!("{}:2: column 11: syntax error", dir.path("disks.j2").display());
    assert!(dir.log().contains(&reason), "{reason}: {}", dir.log());
    assert!(dir.path("busy").exists());

    dir.write("disks.j2", "moved");
    dir.reconfigure("/busy\"", "/moved\"");
    dir.reconfigure("/both\"", "/also-moved\"");
    dir.reload(&daemon);
    wait_for_text(&dir, "moved", "moved");
    wait_for_text(&dir, "also-moved", "1 4");
    assert!(!dir.path("busy").exists() && !dir.path("both").exists());
    // The path of the count is free if the count is elsewhere.
    dir.reconfigure("/plain\"", "/whisper.nb_metrics\"");
    dir.reconfigure(
        "[graphite]\n",
        &format!("[graphite]\noutput = {:?}\n", dir.path("json")),
    );
    dir.reload(&daemon);
    wait_for_text(&dir, "whisper.nb_metrics", "1 1\n");
    let status = text(&dir.run(&["check", "graphite"]).stdout);
    assert_contains(&status, "1 hosts");
    daemon.stop();
}

#[test]
fn once_prints_one_export_and_writes_all() {
    let dir = with_exports();
    let busy = dir.path("./link/../busy").display().to_string();
    let once = |words: &[&str]| dir.run(&[&["once", "--window", "10ms"], words].concat());
    let printed = once(&["--export", &busy]);
    assert_eq!(text(&printed.stdout), "sda ", "{}", stderr_of(&printed));
    assert!(!dir.path("busy").exists());
    let unknown = once(&["--export", "/nonexistent"]);
    assert_eq!(unknown.status.code(), Some(2));
    let written = once(&["--write"]);
    assert_eq!(
        stderr_of(&written).lines().count(),
        1,
        "the library is missing: {written:?}"
    );
    wait_for_all(&dir);
    let shown = text(&dir.run(&["config", "show"]).stdout);
    assert_eq!(shown.matches("\n[[export]]\n").count(), 3, "{shown}");
    dir.write("shown.toml", &shown);
    let tested = dir
        .command()
        .args(["config", "test"])
        .arg(dir.path("shown.toml"))
        .output();
    assert!(tested.as_ref().unwrap().status.success(), "{tested:?}");
    dir.write("disks.j2", "{{ nothing }}");
    let failed = once(&["--export", &busy]);
    assert_eq!(
        (failed.status.code(), text(&failed.stdout)),
        (Some(1), String::new())
    );
    assert_contains(&stderr_of(&failed), ": line 1, column 4: undefined value");
}
