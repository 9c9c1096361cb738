//! Every key: wrong, twice, missing.

use std::fs;
use std::path::Path;

use shinken_gatherer::config::Config;

use super::cases::{self, Bad, KEYS};
use super::{only_these_are_in, refusal};
use crate::support::{TestDir, stderr_of};

/// Each is refused by both commands with its place and a reason, and nothing is written.
fn all_are_refused(place: &TestDir, bad: &[Bad]) {
    let file = place.path("gatherer.toml");
    let mut wrong = String::new();
    for case in bad {
        fs::write(&file, &case.text).unwrap();
        for words in [&["run"][..], &["once", "--write", "--window", "10ms"]] {
            let said = refusal(place, words);
            let expected = format!("{}{}", file.display(), case.expected);
            let has_reason = !said.ends_with(": ");
            if !(said.starts_with(&expected) && said.ends_with(&case.end) && has_reason) {
                wrong += &format!("{:.200}\n{expected}… is not what it says:\n{said}\n\n", case.text);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    only_these_are_in(place, &["gatherer.toml", "state", "whisper"]);
}

#[test]
fn every_wrong_value_is_rejected_with_its_location() {
    let bad = cases::of_values();
    assert!(bad.len() > 500, "{} cases", bad.len());
    all_are_refused(&TestDir::new(), &bad);
}

#[test]
fn every_table_mistake_is_rejected_with_its_location() {
    all_are_refused(&TestDir::new(), &cases::of_tables());
}

#[test]
fn invalid_toml_is_rejected_with_its_location() {
    all_are_refused(&TestDir::new(), &cases::of_syntax());
}

#[test]
fn conflicting_values_are_rejected_with_their_location() {
    let place = TestDir::new();
    let bad = cases::of_values_together(&place);
    all_are_refused(&place, &bad);
}

/// A value for each key that is not its default.
fn other_value(place: &TestDir, table: &str, key: &str) -> String {
    let path = |name: &str| format!("{:?}", place.path(name));
    match (table, key) {
        ("", "log_level") => "\"debug\"".into(),
        ("", "log_file") => path("gatherer.log"),
        ("graphite", "whisper_dir") => path("whisper"),
        ("graphite", "max_busy_percent") => "51".into(),
        ("graphite", "host_depth") => "2".into(),
        ("graphite", "exclude") => "[]".into(),
        ("vmware", "libraries") => "[\"lib.so\"]".into(),
        ("carbon", "address") => "\"[::1]:2004\"".into(),
        ("carbon", "prefix") => "\"other\"".into(),
        (_, "enabled") => if table == "carbon" { "true" } else { "false" }.into(),
        (_, "output") => path(&format!("{table}.out")),
        (_, "interval") => "\"11s\"".into(),
        (_, "full_scan_interval") => "\"23h\"".into(),
        (_, "window") => "\"61s\"".into(),
        (_, key) => path(key),
    }
}

/// The configuration with all keys at other values, but for `changed`, which has `value` or is missing.
fn written(place: &TestDir, changed: Option<(&str, &str)>, value: Option<&str>) -> String {
    let mut text = String::new();
    let mut last = "";
    for (table, key, _, _) in KEYS {
        if table != std::mem::replace(&mut last, table) {
            text += &format!("[{table}]\n");
        }
        let other = other_value(place, table, key);
        match value {
            _ if changed != Some((table, key)) => text += &format!("{key} = {other}\n"),
            Some(value) => text += &format!("{key} = {value}\n"),
            None => {}
        }
    }
    text
}

#[test]
fn every_key_that_is_missing_has_its_default() {
    let place = TestDir::new();
    let parse = |text: &str| {
        Config::parse(Path::new("gatherer.toml"), text).unwrap_or_else(|error| panic!("{error}"))
    };
    let all = parse(&written(&place, None, None));
    for (table, key, _, default) in KEYS {
        let text = written(&place, Some((table, key)), None);
        let missing = parse(&text);
        assert_ne!(missing, all, "{table}.{key} changes nothing");
        match (default, key) {
            (Some(default), _) => {
                let set = parse(&written(&place, Some((table, key)), Some(default)));
                assert_eq!(missing, set, "{table}.{key}");
            }
            (None, "output") => assert_eq!(missing.graphite.output, None),
            (None, _) => assert_eq!(missing.graphite.whisper_dir, None),
        }
        fs::write(place.path("gatherer.toml"), text).unwrap();
        let output = place.command().args(["status", "--json"]).output().unwrap();
        assert_ne!(
            output.status.code(),
            Some(2),
            "{table}.{key}: {}",
            stderr_of(&output)
        );
    }
    assert_eq!(parse(""), Config::default());
}

#[test]
fn unusual_valid_values_are_accepted() {
    let place = TestDir::new();
    let fine = [
        "",
        "\n\n# nothing\n",
        "log_file = \"\"\n",
        "\u{feff}[disks]\r\ninterval = \"1s\"\r\n",
        "disks = { interval = \"1s\" }\ngraphite.exclude = []\n",
        "disks.interval = \"1s\"\n\"disks\".window = '2s'\n",
        "[host]\nproc = \"/\"\nsys = \"/tmp/../sys/\"\n",
        "[graphite]\nwhisper_dir = \"/opt/graphite/storage/whisper/\"\nexclude = [\"[\", \"\\n\", \"é\", \"\\u0000\"]\n",
        "[graphite]\nhost_depth = 0x40\nmax_busy_percent = 1_0_0\ninterval = \"1ms\"\n",
        "[vmware]\nlibraries = [\"/opt/lib/x.so\"]\nwindow = \"366days\"\ninterval = \"366days\"\n",
        "[vmware]\nenabled = false\noutput = \"/tmp/__check_graphite_iostats.tmp\"\n",
        "[carbon]\naddress = \"[fe80::1]:65535\"\n",
        "log_file = \"/etcetera/x\"\nstate_dir = \"/home/x/state\"\n",
        "[disks]\nenabled = false\noutput = \"/etc/shadow\"\n[graphite]\nwhisper_dir = \"/usr/w\"\noutput = \"/dev/shm/w\"\n",
        "[vmware]\noutput = \"/etc/../srv/x\"\n",
    ];
    for text in fine {
        fs::write(place.path("gatherer.toml"), text).unwrap();
        let output = place.command().args(["status", "--json"]).output().unwrap();
        assert_ne!(output.status.code(), Some(2), "{text:?}: {}", stderr_of(&output));
        assert_eq!(stderr_of(&output), "", "{text:?}");
    }
    // As deep and as many as patterns can be.
    let deep = format!("\"{}{}\"", "{".repeat(2048), "}".repeat(2048));
    let large = format!("\"{}\"", "?".repeat(4096));
    for patterns in [
        deep,
        vec![large; 16].join(", "),
        vec!["\"a*?b[a-z]{a,b}\""; 1000].join(", "),
    ] {
        fs::write(
            place.path("gatherer.toml"),
            format!("graphite.exclude = [{patterns}]\n"),
        )
        .unwrap();
        let output = place.command().args(["status", "--json"]).output().unwrap();
        assert_eq!(stderr_of(&output), "", "{patterns:.100}");
    }
    let comment = format!("#{}\n", "x".repeat((1 << 20) - 2));
    fs::write(place.path("gatherer.toml"), comment).unwrap();
    let output = place.command().args(["status", "--json"]).output().unwrap();
    assert_eq!(stderr_of(&output), "", "a file of just 1 MiB");
}
