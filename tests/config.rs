//! Bad configurations: exit code 2, the file, line and key named, nothing written.

mod common;

use std::fs;

use common::{Place, gatherer, stderr_of};

/// The text, and what the error is to name after the file.
const BAD: [(&str, &str); 22] = [
    ("log_lvel = \"info\"\n", ":1: log_lvel: unknown field"),
    ("log_level = 3\n", ":1: log_level: invalid type"),
    ("log_level = \"loud\"\n", ":1: log_level: \"loud\" is not one of"),
    (
        "log_file = \"relative.log\"\n",
        ":1: log_file: \"relative.log\" is not an absolute path",
    ),
    ("\n[disk]\ninterval = \"1s\"\n", ":2: disk: unknown field"),
    (
        "[disks]\n\nintervall = \"1s\"\n",
        ":3: disks.intervall: unknown field",
    ),
    ("[disks]\nenabled = \"yes\"\n", ":2: disks.enabled: invalid type"),
    ("[disks]\ninterval = 10\n", ":2: disks.interval: invalid type"),
    (
        "[disks]\ninterval = \"0s\"\n",
        ":2: disks.interval: \"0s\" is zero",
    ),
    (
        "[disks]\ninterval = \"ten\"\n",
        ":2: disks.interval: \"ten\" is not a duration",
    ),
    (
        "[disks]\ninterval = \"900000days\"\n",
        ":2: disks.interval: \"900000days\" is not at most",
    ),
    (
        "[disks]\ninterval = \"20s\"\nwindow = \"10s\"\n",
        ":3: disks.window: the window (10s) is below the interval (20s)",
    ),
    (
        "[vmware]\ninterval = \"2m\"\n",
        ":2: vmware.interval: the window (1m) is below the interval (2m)",
    ),
    ("[vmware]\nlibraries = []\n", ":2: vmware.libraries: "),
    (
        "[graphite]\nmax_busy_percent = 0\n",
        ":2: graphite.max_busy_percent: 0 is not within 1 to 100",
    ),
    (
        "[graphite]\nmax_busy_percent = 101\n",
        ":2: graphite.max_busy_percent: 101 is not within 1 to 100",
    ),
    (
        "[graphite]\nhost_depth = -1\n",
        ":2: graphite.host_depth: -1 is not within",
    ),
    (
        "[graphite]\nexclude = [\n  \"fine\",\n  \"{bad\",\n]\n",
        ":4: graphite.exclude: \"{bad\" is not a gitignore pattern",
    ),
    (
        "[graphite]\nwhisper_dir = \"\"\n",
        ":2: graphite.whisper_dir: \"\" is not an absolute path",
    ),
    (
        "[graphite]\nenabled = true\nenabled = false\n",
        ":3: enabled: duplicate key",
    ),
    ("[graphite\n", ":1: "),
    ("log_level =\n", ":1: log_level: "),
];

#[test]
fn every_bad_configuration_is_refused_with_its_place() {
    for (text, expected) in BAD {
        let place = Place::new();
        fs::write(place.path("gatherer.toml"), text).unwrap();
        for command in [&["run"][..], &["once", "--write", "--window", "10ms"]] {
            let output = place.command().args(command).output().unwrap();
            let expected = format!("{}{expected}", place.path("gatherer.toml").display());
            assert_eq!(output.status.code(), Some(2), "{text:?}");
            assert!(
                stderr_of(&output).contains(&expected),
                "{text:?}: {expected} is not in {}",
                stderr_of(&output)
            );
            assert_eq!(stderr_of(&output).lines().count(), 1, "{}", stderr_of(&output));
        }
        let mut left: Vec<_> = fs::read_dir(place.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["gatherer.toml", "whisper"], "something was written");
    }
}

#[test]
fn a_file_that_is_no_configuration_is_refused() {
    let place = Place::new();
    let refused = |expected: &str| {
        let output = place.command().args(["once"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr_of(&output).contains(expected),
            "{expected} is not in {}",
            stderr_of(&output)
        );
    };
    let file = place.path("gatherer.toml");
    fs::write(&file, b"log_level = \"info\"\n# caf\xe9\n").unwrap();
    refused("gatherer.toml:2: not UTF-8 text");
    fs::write(&file, "#".repeat((1 << 20) + 1)).unwrap();
    refused("gatherer.toml: larger than");
    fs::remove_file(&file).unwrap();
    refused("gatherer.toml: No such file or directory");
    fs::create_dir(&file).unwrap();
    refused("gatherer.toml: not a regular file");
    fs::remove_dir(&file).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &file,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    refused("gatherer.toml: not a regular file");
}

#[test]
fn the_defaults_written_out_are_accepted() {
    let place = Place::new();
    let text = r#"
        log_level = "info"
        log_file  = ""
        [graphite]
        enabled = false
        whisper_dir = "/opt/graphite/storage/whisper"
        output = "/opt/graphite/storage/whisper.nb_metrics"
        interval = "15m"
        max_busy_percent = 50
        host_depth = 1
        full_scan_interval = "24h"
        exclude = ["/lost+found/"]
        [disks]
        enabled = false
        output = "/tmp/__check_graphite_iostats.tmp"
        interval = "10s"
        window = "60s"
        [vmware]
        enabled = false
        output = "/dev/shm/vmware_stats_export.dat"
        interval = "10s"
        window = "60s"
        libraries = ["libguestlib.so.0", "libvmGuestLib.so.0", "libvmGuestLib.so"]
        [host]
        proc = "/proc"
        sys = "/sys"
    "#;
    fs::write(place.path("gatherer.toml"), text).unwrap();
    let output = place.command().args(["once", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr_of(&output));
    assert_eq!(
        common::text(&output.stdout),
        "{\"graphite\":null,\"disks\":null,\"vmware\":null}\n"
    );
}

#[test]
fn bad_usage_is_code_2_and_help_is_code_0() {
    for arguments in [
        &["runn"][..],
        &[],
        &["once", "--window", "0s"],
        &["--config"],
        &["once", "--jsonn"],
    ] {
        let output = gatherer().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
    for arguments in [&["--help"][..], &["--version"], &["once", "--help"]] {
        let output = gatherer().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}
