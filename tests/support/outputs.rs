//! Keeps the outputs of every collector in the directory of the test. A collector that the test does not name is disabled.

use std::path::Path;

use shinken_gatherer::config::Config;

/// Returns the configuration `text` with an output in `dir` for each collector that would publish at its default path, and
/// with `enabled = false` for each collector without a table.
/// Returns `text` itself if it is not valid: the program rejects it and publishes nothing.
pub fn publish_in(dir: &Path, text: &str) -> String {
    let file = dir.join("gatherer.toml");
    let mut merged = text.to_string();
    let Ok(config) = Config::parse(&file, text) else {
        return merged;
    };
    for default in Config::default().collectors() {
        let name = default.name;
        if config.collector(name).outputs != default.outputs {
            continue;
        }
        let header = format!("[{name}]\n");
        let output = format!("{header}output = {:?}\n", dir.join(format!("{name}.output")));
        merged = match merged.contains(&header) {
            true => merged.replacen(&header, &output, 1),
            false => format!("{merged}\n{output}enabled = false\n"),
        };
    }
    let config = Config::parse(&file, &merged).unwrap_or_else(|error| panic!("{error}\n{merged}"));
    for default in Config::default().collectors() {
        assert_ne!(
            config.collector(default.name).outputs,
            default.outputs,
            "{merged}"
        );
    }
    merged
}
