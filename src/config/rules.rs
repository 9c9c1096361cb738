//! Rules for the values in combination.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::Document;
use super::error::Mistake;
use super::export;
use super::location::{Location, dotted};
use super::paths::{protected_folder, without_dots};
use super::schema::Config;
use crate::exclude::Exclude;

/// Each sample of a window is kept in memory for every disk.
const MAX_SAMPLES: u32 = 1000;
/// Every entry of the tree is compared with every pattern.
const MAX_PATTERNS: usize = 1000;
/// Compiling a pattern recurses as deep as its braces are nested.
const MAX_PATTERN_BYTES: usize = 4096;
/// Compiling takes some hundred times the memory and time of reading.
const MAX_PATTERNS_BYTES: usize = 64 << 10;

/// Checks the values together. `file` is the path of the configuration.
pub fn check(file: &Path, document: &Document, config: &Config) -> Result<(), Mistake> {
    check_patterns(&config.graphite.exclude).map_err(|(index, reason)| Mistake {
        location: document
            .location_of("graphite", "exclude", index)
            .unwrap_or_default(),
        reason,
    })?;
    for collector in config.collectors() {
        let (table, interval) = (collector.name, collector.interval);
        let Some(window) = collector.window else {
            continue;
        };
        if let Some(reason) = wrong_window(interval, window) {
            let location = |key| document.location_of(table, key, None);
            let location = location("window").or_else(|| location("interval"));
            return Err(Mistake {
                location: location.unwrap_or_default(),
                reason,
            });
        }
    }
    for (index, one) in config.export.iter().enumerate() {
        export::check(one, config).map_err(|(key, reason)| Mistake {
            location: document
                .location_of("export", key, Some(index))
                .unwrap_or_default(),
            reason,
        })?;
    }
    let paths = paths(config);
    check_protected(document, &paths)?;
    check_collisions(file, document, &paths)
}

/// Returns the reason for rejecting the patterns, with the index if it is about one of them.
fn check_patterns(patterns: &[String]) -> Result<(), (Option<usize>, String)> {
    if patterns.len() > MAX_PATTERNS {
        return Err((None, format!("too many patterns, the limit is {MAX_PATTERNS}")));
    }
    if patterns.iter().map(String::len).sum::<usize>() > MAX_PATTERNS_BYTES {
        return Err((
            None,
            format!("patterns are longer than {MAX_PATTERNS_BYTES} bytes in total"),
        ));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        if pattern.len() > MAX_PATTERN_BYTES {
            let reason = format!("pattern is longer than {MAX_PATTERN_BYTES} bytes");
            return Err((Some(index), reason));
        }
        Exclude::new(std::slice::from_ref(pattern)).map_err(|error| (Some(index), format!("{error:#}")))?;
    }
    // Patterns that are valid one by one can be too large together.
    Exclude::new(patterns).map_err(|error| (None, format!("{error:#}")))?;
    Ok(())
}

fn wrong_window(interval: Duration, window: Duration) -> Option<String> {
    let limit = if window < interval {
        "at least"
    } else if window > interval * MAX_SAMPLES {
        "at most 1000 times"
    } else {
        return None;
    };
    let [interval, window] = [interval, window].map(humantime::format_duration);
    Some(format!(
        "window ({window}) must be {limit} the interval ({interval})"
    ))
}

/// A path of the configuration, or the default of its key.
struct Configured {
    table: &'static str,
    /// Of an export.
    index: Option<usize>,
    key: &'static str,
    path: PathBuf,
    is_written: bool,
}

impl Configured {
    fn name(&self) -> String {
        dotted(self.table, self.key)
    }

    fn location_in(&self, document: &Document) -> Option<Location> {
        document.location_of(self.table, self.key, self.index)
    }
}

/// Returns the paths that may be used. Without a configured whisper directory, these are all usual ones.
fn paths(config: &Config) -> Vec<Configured> {
    let used = |table, key, path: &Path, is_written| Configured {
        table,
        index: None,
        key,
        path: path.to_path_buf(),
        is_written,
    };
    let mut paths = Vec::new();
    for (key, path) in [("log_file", &config.log_file), ("state_dir", &config.state_dir)] {
        paths.extend(path.iter().map(|path| used("", key, path, true)));
    }
    if config.graphite.enabled {
        let trees = config.graphite.whisper_dirs().into_iter();
        paths.extend(trees.map(|tree| used("graphite", "whisper_dir", &tree, false)));
    }
    for collector in config.collectors().iter().filter(|collector| collector.enabled) {
        let outputs = collector.outputs.iter();
        paths.extend(outputs.map(|path| used(collector.name, "output", path, true)));
    }
    for (index, export) in config.export.iter().enumerate() {
        let index = Some(index);
        let template = export.template_file.iter();
        let template = template.map(|path| used("export", "template_file", path, false));
        let used = template.chain([used("export", "path", &export.path, true)]);
        paths.extend(used.map(|used| Configured { index, ..used }));
    }
    paths
}

/// Rejects written paths in system folders.
fn check_protected(document: &Document, paths: &[Configured]) -> Result<(), Mistake> {
    for configured in paths.iter().filter(|configured| configured.is_written) {
        if let Some(folder) = protected_folder(&configured.path) {
            let location = configured.location_in(document);
            // The default of graphite.output is made from the whisper directory.
            let location = location.or_else(|| document.location_of("graphite", "whisper_dir", None));
            return Err(Mistake {
                location: location.unwrap_or_default(),
                reason: format!(
                    "{:?} is in {folder}, must not be in a system folder",
                    configured.path
                ),
            });
        }
    }
    Ok(())
}

/// Rejects equal paths, and the path of the configuration: one file would replace the other.
fn check_collisions(file: &Path, document: &Document, paths: &[Configured]) -> Result<(), Mistake> {
    let location = |configured: &Configured| configured.location_in(document);
    let file = std::path::absolute(file).map(|file| without_dots(&file)).ok();
    for (index, configured) in paths.iter().enumerate() {
        let path = without_dots(&configured.path);
        let is_same = |other: &&Configured| {
            (other.is_written || configured.is_written) && without_dots(&other.path) == path
        };
        let other = paths[..index].iter().find(is_same);
        let names = match other {
            _ if file.as_ref() == Some(&path) => "the configuration file".to_string(),
            Some(other) => format!("both {} and {}", other.name(), configured.name()),
            None => continue,
        };
        let location = location(configured).or_else(|| other.and_then(location));
        return Err(Mistake {
            location: location.unwrap_or_default(),
            reason: format!("{path:?} is {names}"),
        });
    }
    Ok(())
}
