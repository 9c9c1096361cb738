//! Every key: its default, wrong values, and what is accepted. The text is parsed in this process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use shinken_gatherer::config::Config;
use toml::Table;

use super::cases::{self, Mistake, keys};
use crate::support::{assert_is_short_line, matches};

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
fn usual_mistake_is_rejected_with_a_hint() {
    assert_all_rejected(cases::of_hints());
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

#[test]
fn page_and_shipped_file_have_every_key_with_its_default() {
    let page = read("docs/configuration.md");
    let blocks = page.split("```toml\n").skip(1);
    let blocks: String = blocks.filter_map(|rest| rest.split("```").next()).collect();
    let shipped = read("etc/shinken-gatherer/gatherer.toml");
    assert_eq!(parse(&shipped), Ok(Config::default()), "every key is a comment");
    let is_key = |rest: &&str| rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '[');
    let unknown = parse("[[export]]\nnone = 1").unwrap_err();
    let (_, export) = unknown.split_once("expected one of ").unwrap();
    let export = export
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|key| format!("export.{key}"));
    let export: Vec<_> = export.collect();
    let lines = shipped.lines();
    let set = lines.map(|line| line.strip_prefix('#').filter(is_key).unwrap_or(line));
    for text in [&blocks, &set.collect::<Vec<_>>().join("\n")] {
        let table: Table = toml::from_str(text).unwrap();
        let mut found = Vec::new();
        for (name, value) in &table {
            match value.as_table() {
                Some(table) => found.extend(table.keys().map(|key| format!("{name}.{key}"))),
                None if name == "export" => {
                    let tables = value.as_array().unwrap().iter().filter_map(|one| one.as_table());
                    found.extend(tables.flat_map(|table| table.keys().map(|key| format!("{name}.{key}"))));
                }
                None => found.push(name.clone()),
            }
        }
        let mut expected = [keys(), export.clone()].concat();
        expected.sort_unstable();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, expected);
        let mut config = parse(text).unwrap();
        assert_eq!(std::mem::take(&mut config.export).len(), 2);
        // These two are chosen at run time if they are not set.
        let whisper_dir = config.graphite.whisper_dir.take().unwrap();
        assert_eq!(whisper_dir, Config::default().graphite.whisper_dirs()[0]);
        let output = config.graphite.output.take().unwrap();
        assert_eq!(output, config.graphite.output_of(&whisper_dir));
        assert_eq!(config, Config::default());
    }
}

#[test]
fn missing_keys_and_tables_have_their_defaults() {
    let mut config = Config::default();
    assert_eq!(parse(""), Ok(config.clone()));
    assert_eq!(
        parse("[graphite]\n[disks]\n[vmware]\n[carbon]\n[host]"),
        Ok(config.clone())
    );
    config.disks.interval = Duration::from_secs(9);
    assert_eq!(parse("disks.interval = '9s'"), Ok(config));
}

#[test]
fn unusual_valid_values_are_accepted() {
    let patterns = |patterns: String| format!("graphite.exclude = [{patterns}]\n");
    let large = format!("'{}'", "?".repeat(4096));
    let x = |count| "x".repeat(count);
    let libraries = vec![format!("'{}'", x(255)); 16].join(", ");
    for text in [
        "\n\n# nothing\n",
        "log_file = ''\n",
        "\u{feff}[disks]\r\ninterval = '1s'\r\n",
        "disks = { interval = '1s' }\ngraphite.exclude = []\n",
        "disks.interval = '1s'\n'disks'.window = '2s'\n",
        "disks.interval = '1s'\ndisks.window = '1000s'\n",
        "[host]\nproc = '/'\nsys = '/tmp/../sys/'\n",
        "[graphite]\nwhisper_dir = '/opt/graphite/storage/whisper/'\nexclude = ['[', \"\\n\", 'é', \"\\u0000\"]\n",
        "[graphite]\nhost_depth = 0x40\nmax_busy_percent = 1_0_0\ninterval = '1ms'\n",
        "[vmware]\nlibraries = ['/opt/lib/x.so']\nwindow = '366days'\ninterval = '366days'\n",
        "[vmware]\nenabled = false\noutput = '/tmp/__check_graphite_iostats.tmp'\n",
        "[carbon]\naddress = '[fe80::1]:65535'\nprefix = '{hostname}.x-{hostname}'\n",
        "log_file = '/etcetera/x'\nstate_dir = '/home/x/state'\n",
        "disks = { enabled = false, output = '/etc/shadow' }\n[graphite]\nwhisper_dir = '/usr/w'\noutput = '/dev/shm/w'\n",
        "[vmware]\noutput = '/etc/../srv/x'\n",
        // As long, as many and as deep as they can be.
        &format!(
            "log_file = '/{}'\nstate_dir = '/{}'\nhost.proc = '{}'\n",
            x(239),
            x(255),
            "/x".repeat(2000)
        ),
        &format!("vmware.libraries = [{libraries}]\ncarbon.prefix = '{}'\n", x(200)),
        &patterns(format!("'{}{}'", "{".repeat(2048), "}".repeat(2048))),
        &patterns(vec![large; 16].join(", ")),
        &patterns(vec!["'a*?b[a-z]{a,b}'"; 1000].join(", ")),
    ] {
        assert!(parse(text).is_ok(), "{text:.200}: {:?}", parse(text));
    }
}
