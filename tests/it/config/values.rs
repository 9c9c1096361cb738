//! Every key: its default, wrong values, and what is accepted. The text is parsed in this process.

use std::fs;
use std::path::Path;

use shinken_gatherer::config::Config;
use toml::Table;

use super::cases::{self, Mistake, keys};
use crate::support::check_fixture::matches;
use crate::support::refusal::assert_is_short_line;

const FILE: &str = "/x/gatherer.toml";

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new(FILE), text).map_err(|error| error.to_string())
}

fn assert_all_rejected(mistakes: Vec<Mistake>) {
    for (text, expected) in mistakes {
        let error = parse(&text).expect_err(&format!("{text:.200} is accepted"));
        assert_is_short_line(&error);
        let expected = format!("{FILE}:{expected}");
        assert!(
            matches(&expected, &error),
            "{text:.200}\nis not rejected with {expected} but with {error}"
        );
        assert!(!error.ends_with(": "), "no reason: {error}");
    }
}

#[test]
fn every_wrong_value_is_rejected_with_its_location() {
    let mistakes = cases::of_values();
    assert!(mistakes.len() > 500, "{} mistakes", mistakes.len());
    assert_all_rejected(mistakes);
}

#[test]
fn every_table_mistake_is_rejected_with_its_location() {
    assert_all_rejected(cases::of_tables());
}

#[test]
fn invalid_toml_is_rejected_with_its_location() {
    assert_all_rejected(cases::of_syntax());
}

#[test]
fn conflicting_values_are_rejected_with_their_location() {
    assert_all_rejected(cases::of_combinations());
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Returns the configuration in docs/configuration.md.
fn documented() -> String {
    let page = read("docs/configuration.md");
    let block = page.split("```toml\n").nth(1).unwrap();
    block.split("```").next().unwrap().to_string()
}

/// Returns the value of `key` in `table`, as TOML.
fn value_of(table: &Table, key: &str) -> Option<String> {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let table = match section {
        "" => table,
        section => table.get(section)?.as_table()?,
    };
    // In JSON, which is TOML for these types.
    table.get(name).map(|value| serde_json::to_string(value).unwrap())
}

#[test]
fn page_and_shipped_file_have_every_key_with_its_default() {
    let is_key = |rest: &&str| rest.starts_with(|letter: char| letter.is_ascii_lowercase());
    let shipped = read("etc/shinken-gatherer/gatherer.toml");
    assert_eq!(parse(&shipped), Ok(Config::default()), "every key is a comment");
    let set = shipped
        .lines()
        .map(|line| line.strip_prefix('#').filter(is_key).unwrap_or(line));
    for text in [documented(), set.collect::<Vec<_>>().join("\n")] {
        let table: Table = toml::from_str(&text).unwrap();
        let missing: Vec<_> = keys().filter(|key| value_of(&table, key).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let count = |value: &toml::Value| value.as_table().map_or(1, Table::len);
        assert_eq!(
            table.values().map(count).sum::<usize>(),
            keys().count(),
            "keys of KEYS"
        );
        let mut config = parse(&text).unwrap();
        // These two are chosen at run time if they are not set.
        let whisper_dir = config.graphite.whisper_dir.take().unwrap();
        assert_eq!(whisper_dir, Config::default().graphite.whisper_dirs()[0]);
        let output = config.graphite.output.take().unwrap();
        assert_eq!(output, config.graphite.output_of(&whisper_dir));
        assert_eq!(config, Config::default());
    }
}

/// A value for each key that is not its default.
fn other_value(key: &str) -> String {
    let path = format!("'/other/{key}'");
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let value = match name {
        "log_level" => "'debug'",
        "enabled" if section == "carbon" => "true",
        "enabled" => "false",
        "max_busy_percent" => "51",
        "host_depth" => "2",
        "exclude" => "[]",
        "interval" => "'11s'",
        "full_scan_interval" => "'23h'",
        "window" => "'61s'",
        "libraries" => "['lib.so']",
        "address" => "'[::1]:2004'",
        "prefix" => "'other'",
        _ => &path,
    };
    value.to_string()
}

#[test]
fn every_key_that_is_missing_has_its_default() {
    let defaults: Table = toml::from_str(&documented()).unwrap();
    let with = |changed: &str, value: Option<String>| {
        let others = keys()
            .filter(|key| *key != changed)
            .map(|key| format!("{key} = {}\n", other_value(key)));
        let set = value.map(|value| format!("{changed} = {value}\n"));
        parse(&others.chain(set).collect::<String>()).unwrap()
    };
    for key in keys() {
        let missing = with(key, None);
        assert_ne!(missing, with("", None), "{key} changes nothing");
        match key {
            "graphite.whisper_dir" => assert_eq!(missing.graphite.whisper_dir, None),
            "graphite.output" => assert_eq!(missing.graphite.output, None),
            _ => assert_eq!(missing, with(key, value_of(&defaults, key)), "{key}"),
        }
    }
    assert_eq!(parse(""), Ok(Config::default()));
}

#[test]
fn unusual_valid_values_are_accepted() {
    let patterns = |patterns: String| format!("graphite.exclude = [{patterns}]\n");
    let large = format!("'{}'", "?".repeat(4096));
    for text in [
        "\n\n# nothing\n",
        "log_file = ''\n",
        "\u{feff}[disks]\r\ninterval = '1s'\r\n",
        "disks = { interval = '1s' }\ngraphite.exclude = []\n",
        "disks.interval = '1s'\n'disks'.window = '2s'\n",
        "[host]\nproc = '/'\nsys = '/tmp/../sys/'\n",
        "[graphite]\nwhisper_dir = '/opt/graphite/storage/whisper/'\nexclude = ['[', \"\\n\", 'é', \"\\u0000\"]\n",
        "[graphite]\nhost_depth = 0x40\nmax_busy_percent = 1_0_0\ninterval = '1ms'\n",
        "[vmware]\nlibraries = ['/opt/lib/x.so']\nwindow = '366days'\ninterval = '366days'\n",
        "[vmware]\nenabled = false\noutput = '/tmp/__check_graphite_iostats.tmp'\n",
        "[carbon]\naddress = '[fe80::1]:65535'\n",
        "log_file = '/etcetera/x'\nstate_dir = '/home/x/state'\n",
        "disks = { enabled = false, output = '/etc/shadow' }\n[graphite]\nwhisper_dir = '/usr/w'\noutput = '/dev/shm/w'\n",
        "[vmware]\noutput = '/etc/../srv/x'\n",
        // As deep, as long and as many as patterns can be.
        &patterns(format!("'{}{}'", "{".repeat(2048), "}".repeat(2048))),
        &patterns(vec![large; 16].join(", ")),
        &patterns(vec!["'a*?b[a-z]{a,b}'"; 1000].join(", ")),
    ] {
        assert!(parse(text).is_ok(), "{text:.200}: {:?}", parse(text));
    }
}
