//! The configurations that administrators read: docs/configuration.md and the file of the package.

use std::fs;
use std::path::Path;

use shinken_gatherer::config::Config;
use toml::Table;

use super::cases::KEYS;

/// Paths that are found at run time if they are not set, with the value that the documents show.
const FOUND_AT_RUN_TIME: [(&str, &str); 2] = [
    ("whisper_dir", "\"/opt/graphite/storage/whisper\""),
    ("output", "\"/opt/graphite/storage/whisper.nb_metrics\""),
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Compares each key of `text` with its default, and the whole with `Config::default()`.
fn assert_is_default(name: &str, text: &str) {
    let mut table: Table = toml::from_str(text).unwrap();
    for (section, key, _, default) in KEYS {
        let default =
            default.unwrap_or_else(|| FOUND_AT_RUN_TIME.iter().find(|found| found.0 == key).unwrap().1);
        let default = toml::from_str::<Table>(&format!("{key} = {default}")).unwrap()[key].clone();
        let keys = match section {
            "" => Some(&mut table),
            section => table.get_mut(section).and_then(|keys| keys.as_table_mut()),
        };
        let shown = keys.and_then(|keys| keys.remove(key));
        assert_eq!(shown, Some(default), "{name}: {section}.{key}");
    }
    table.retain(|_, left| left.as_table().is_none_or(|keys| !keys.is_empty()));
    assert!(table.is_empty(), "{name} has keys without a default: {table:?}");

    let mut config = Config::parse(Path::new(name), text).unwrap();
    config.graphite.whisper_dir = None;
    config.graphite.output = None;
    assert_eq!(config, Config::default(), "{name}");
}

#[test]
fn documented_configuration_is_the_default_value_by_value() {
    let page = read("docs/configuration.md");
    let block = page
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    assert_is_default("docs/configuration.md", block.unwrap());
}

#[test]
fn shipped_configuration_is_the_default_value_by_value() {
    let path = "etc/shinken-gatherer/gatherer.toml";
    let shipped = read(path);
    let is_key = |rest: &&str| rest.starts_with(|letter: char| letter.is_ascii_lowercase());
    let set = shipped
        .lines()
        .map(|line| line.strip_prefix('#').filter(is_key).unwrap_or(line));
    assert_is_default(path, &set.collect::<Vec<_>>().join("\n"));
    assert_eq!(
        Config::parse(Path::new(path), &shipped).unwrap(),
        Config::default()
    );
}
