//! The count of the whisper tree by the built binary, against a naive walk with lstat.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::tree::{make_large, naive};
use crate::support::{TestDir, gatherer, json_of, skip, stderr_of};
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat};

fn figures(document: &serde_json::Value) -> (u64, u64) {
    (
        document["hosts"].as_u64().unwrap(),
        document["metrics"].as_u64().unwrap(),
    )
}

#[test]
fn every_unusual_entry_counts_by_its_lstat_type() {
    let place = TestDir::new();
    let names: [&[u8]; 12] = [
        b"host-1/check/a.wsp",
        b"host-1/check/b.wsp",
        b"host-1/not-a-metric.txt",
        b"host-1/xwsp",
        b"host-1/UPPER.WSP",
        b"host-1/.wsp",
        b".hidden-host/c.wsp",
        b"latin-\xe9\xff/caf\xe9.wsp",
        b"new\nline/tab\t.wsp",
        b"host-2/x.wsp/inside.wsp",
        b"directly.wsp",
        b"plain-file",
    ];
    place.metrics(names);
    let whisper = place.path("whisper");
    fs::create_dir(whisper.join("empty-host")).unwrap();
    fs::create_dir(whisper.join("a-host-called.wsp")).unwrap();
    fs::create_dir_all(whisper.join("host-3").join("d".repeat(255)).join("e".repeat(255))).unwrap();
    symlink("check/a.wsp", whisper.join("host-1/link-to-file.wsp")).unwrap();
    symlink("/nowhere", whisper.join("host-1/dangling.wsp")).unwrap();
    symlink("../host-1", whisper.join("host-2/link-to-directory")).unwrap();
    symlink("../host-1", whisper.join("host-2/link-to-directory.wsp")).unwrap();
    symlink(".", whisper.join("loop")).unwrap();
    symlink("loop.wsp", whisper.join("loop.wsp")).unwrap();
    mknodat(
        CWD,
        whisper.join("host-1/fifo.wsp"),
        FileType::Fifo,
        Mode::RUSR,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(whisper.join("host-1/socket.wsp")).unwrap();

    let expected = naive(&whisper).figures();
    assert_eq!(expected, (8, 12), "the naive walk itself");
    let document = place.once_json()["graphite"].clone();
    assert_eq!(figures(&document), expected);
    assert_eq!(document.get("unreadable"), None);
}

#[test]
fn the_whisper_directory_may_be_a_link() {
    let place = TestDir::new();
    place.metrics(["host/a.wsp"]);
    symlink(place.path("whisper"), place.path("link")).unwrap();
    let output = place
        .command()
        .args(["once", "--json", "--window=10ms", "--whisper-dir"])
        .arg(place.path("link"))
        .output();
    let document: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(figures(&document["graphite"]), (1, 1));
}

#[test]
fn pseudo_file_systems_below_the_tree_are_not_counted() {
    let place = TestDir::new();
    place.metrics(["host-1/a.wsp", "mounted/b.wsp"]);
    for folder in ["proc", "sys", "host-1/proc"] {
        fs::create_dir(place.path("whisper").join(folder)).unwrap();
    }
    let shell = format!(
        "cd {} && mount -t proc proc proc && mount -t proc proc host-1/proc && mount -t sysfs sysfs sys && \
         mount -t tmpfs none mounted && touch mounted/c.wsp && cd / && exec \"$@\"",
        place.path("whisper").display()
    );
    let mut command = Command::new("unshare");
    let once = place.command();
    let output = command
        .args(["-m", "sh", "-c", &shell, "sh"])
        .arg(once.get_program())
        .args(once.get_args())
        .args(["once", "--json", "--window", "10ms"])
        .output()
        .unwrap();
    if stderr_of(&output).contains("mount: ") || stderr_of(&output).contains("unshare") {
        return skip("mounts of its own need root");
    }
    assert_eq!(figures(&json_of(&output)["graphite"]), (2, 2), "{output:?}");
}

#[test]
fn hosts_are_at_their_configured_depth() {
    let place = TestDir::new();
    place.metrics([
        "_pre/host-1/a.wsp",
        "_pre/host-2/b.wsp",
        "other/host-3/c/d.wsp",
        "e.wsp",
    ]);
    place.configure("host_depth = 2");
    assert_eq!(figures(&place.once_json()["graphite"]), (3, 4));
}

#[test]
fn excluded_entries_are_in_neither_count() {
    let place = TestDir::new();
    place.metrics([
        "lost+found/x.wsp",
        "host/lost+found/y.wsp",
        "host/a.wsp",
        "host/a.old.wsp",
        "tmp-1/b.wsp",
    ]);
    assert_eq!(
        figures(&place.once_json()["graphite"]),
        (2, 4),
        "by default /lost+found/"
    );
    place.configure(r#"exclude = ["lost+found", "*.old.wsp", "/tmp-*/"]"#);
    assert_eq!(figures(&place.once_json()["graphite"]), (1, 1));
}

/// Makes a chain of directories of one letter, relative to each other: their whole path may be too long for the kernel.
fn deep_tree(top: &Path, levels: usize) {
    let mut directory = openat(CWD, top, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..levels {
        mkdirat(&directory, "d", Mode::RWXU).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        directory = openat(&directory, "d", flags, Mode::empty()).unwrap();
        openat(&directory, "m.wsp", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    }
}

#[test]
fn tree_of_2100_levels_counts_to_2047_with_little_stack() {
    let place = TestDir::new();
    deep_tree(&place.path("whisper"), 2100);
    let once = |limits: &str| {
        let command = format!(
            "ulimit {limits}; exec {} --config {} once --json --window 10ms",
            env!("CARGO_BIN_EXE_shinken-gatherer"),
            place.path("gatherer.toml").display()
        );
        Command::new("sh").args(["-c", &command]).output().unwrap()
    };
    let output = once("-n 4096 -s 256");
    let document = json_of(&output);
    assert_eq!(figures(&document["graphite"]), (1, 2047));
    assert_eq!(document["graphite"]["unreadable"], 1);
    let said = stderr_of(&output);
    assert!(
        said.contains(", not counted: more than 2047 levels deep"),
        "{said}"
    );
    // Every level stays open: the error names the limit.
    let output = once("-n 64");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr_of(&output);
    assert!(said.contains("LimitNOFILE=, ulimit -n"), "{said}");
}

#[test]
fn unreadable_directories_are_counted_apart_and_named() {
    if !rustix::process::geteuid().is_root() {
        skip("only root can become another user");
        return;
    }
    let place = TestDir::new();
    place.metrics([
        "open/a.wsp",
        "closed/b.wsp",
        "open/closed-too/c.wsp",
        "listed/d.wsp",
        "listed/below/e.wsp",
    ]);
    let set = |path: &str, mode| {
        fs::set_permissions(place.path("whisper").join(path), Permissions::from_mode(mode))
    };
    for (path, mode) in [
        ("closed", 0),
        ("open/closed-too", 0o300),
        ("listed", 0o444),
        ("", 0o755),
    ] {
        set(path, mode).unwrap();
    }
    fs::set_permissions(place.path(""), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(place.path("gatherer.toml"), Permissions::from_mode(0o644)).unwrap();
    let output = Command::new(crate::support::copy_of_binary(&place))
        .arg("--config")
        .arg(place.path("gatherer.toml"))
        .args(["once", "--json", "--window", "10ms"])
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let document = json_of(&output);
    // "listed" can be listed but not entered: its own metric counts, what is below it can't be known.
    assert_eq!(figures(&document["graphite"]), (3, 2), "{}", stderr_of(&output));
    assert_eq!(document["graphite"]["unreadable"], 3);
    let said = stderr_of(&output);
    for path in [
        "whisper/closed\"",
        "whisper/open/closed-too\"",
        "whisper/listed/below\"",
    ] {
        assert!(said.contains(path), "{path} is not named in {said}");
    }
    assert!(output.status.success());
}

#[test]
fn a_file_system_without_entry_types_counts_right() {
    let place = TestDir::new();
    let (image, mount) = (place.path("image"), place.path("mounted"));
    fs::create_dir(&mount).unwrap();
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let run = |program: &str, args: &[&str], path: &Path| {
        let output = Command::new(program).args(args).arg(path).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !run("mkfs.ext4", &["-q", "-O", "^filetype"], &image)
        || !run("mount", &["-o", "loop", image.to_str().unwrap()], &mount)
    {
        skip("mounting an image needs root and mkfs.ext4");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        for name in ["host-1/a.wsp", "host-1/sub/b.wsp", "host-2/c.txt", "d.wsp"] {
            let path = mount.join("whisper").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::create_dir(mount.join("whisper/x.wsp")).unwrap();
        symlink("/nowhere", mount.join("whisper/host-1/link.wsp")).unwrap();
        mknodat(
            CWD,
            mount.join("whisper/host-1/fifo.wsp"),
            FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        let types_are_unknown = rustix::fs::Dir::read_from(fs::File::open(mount.join("whisper")).unwrap())
            .unwrap()
            .filter_map(Result::ok)
            .all(|entry| entry.file_type() == FileType::Unknown);
        assert!(types_are_unknown, "this file system was to have no types");
        let output = place
            .command()
            .args(["once", "--json", "--window=10ms", "--whisper-dir"])
            .arg(mount.join("whisper"))
            .output();
        let document: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        assert_eq!(figures(&document["graphite"]), (3, 4));
    });
    assert!(run("umount", &[], &mount), "unmounting the image");
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn missing_whisper_directory_is_an_error_without_publication() {
    let place = TestDir::new();
    fs::remove_dir(place.path("whisper")).unwrap();
    let output = place
        .command()
        .args(["once", "--json", "--write", "--window", "10ms"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr_of(&output).contains("opening the whisper directory"),
        "{}",
        stderr_of(&output)
    );
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["graphite"].is_null());
    assert!(document["disks"].is_object(), "the other collectors go on");
    assert!(!place.path("whisper.nb_metrics").exists());
}

#[test]
fn nothing_is_published_without_write() {
    let place = TestDir::new();
    place.metrics(["host/a.wsp"]);
    place.once_json();
    assert!(place.count().is_none() && place.disks().is_none());
    let output = place
        .command()
        .args(["once", "--write", "--window", "10ms"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr_of(&output));
    assert_eq!(figures(&place.count().unwrap()), (1, 1));
    assert!(place.disks().is_some());
    assert!(
        crate::support::text(&output.stdout).contains("1 hosts, 1 metrics"),
        "{}",
        crate::support::text(&output.stdout)
    );
}

#[test]
fn hundred_thousand_metrics_count_in_64_mb_of_address_space() {
    let place = TestDir::new();
    make_large(&place.path("whisper"));
    let command = format!(
        "ulimit -v 65536; exec {} --config {} once --json --window 10ms",
        env!("CARGO_BIN_EXE_shinken-gatherer"),
        place.path("gatherer.toml").display()
    );
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    let document = json_of(&output);
    assert_eq!(figures(&document["graphite"]), (400, 100_000));
}

#[test]
fn committed_tree_has_the_count_that_readme_states() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = gatherer()
        .current_dir(root)
        .args([
            "once",
            "--json",
            "--window",
            "10ms",
            "--whisper-dir",
            "tests/data/whisper",
        ])
        .output()
        .unwrap();
    let document = json_of(&output);
    assert_eq!(
        figures(&document["graphite"]),
        naive(&root.join("tests/data/whisper")).figures()
    );
}
