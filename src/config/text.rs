//! From the text of the file to a [`Config`]: reading, parsing, and what the values must be to each other.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use serde::Deserialize;
use toml::de::{DeTable, Deserializer};

use super::place::{Place, line_at};
use super::{Config, ConfigError};
use crate::graphite::exclude::Exclude;

/// A configuration is a page of text; anything larger is some other file named by mistake.
const MAX_BYTES: u64 = 1 << 20;
/// Most samples in a window: each is kept in memory for every disk.
const MAX_SAMPLES: u32 = 1000;
/// Every entry of the tree is held against every pattern.
const MAX_PATTERNS: usize = 1000;
/// Compiling a pattern goes as deep as its braces are nested.
const MAX_PATTERN_BYTES: usize = 4096;
/// Compiling takes some hundred times the memory and the time of reading.
const MAX_PATTERNS_BYTES: usize = 64 << 10;
/// The tables. serde would take an array for each of them, its elements for the keys in their order.
const TABLES: [&str; 5] = ["graphite", "disks", "vmware", "carbon", "host"];

/// Reads the file, which must be a regular one of at most 1 MiB of UTF-8.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let refuse = |reason: String| ConfigError {
        file: path.to_path_buf(),
        line: None,
        key: None,
        reason,
    };
    let failed = |error: std::io::Error| refuse(error.to_string());
    let regular = |metadata: std::fs::Metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(refuse("not a regular file".into())),
    };
    regular(std::fs::metadata(path).map_err(failed)?)?;
    // A FIFO may have taken its place since: it is opened without waiting for a writer.
    let mut open = OpenOptions::new();
    open.read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    let file = open.open(path).map_err(failed)?;
    regular(file.metadata().map_err(failed)?)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refuse(format!(
            "larger than {MAX_BYTES} bytes, this can't be a configuration"
        )));
    }
    String::from_utf8(bytes).map_err(|error| ConfigError {
        line: Some(line_at(error.as_bytes(), error.utf8_error().valid_up_to())),
        ..refuse("not UTF-8 text".into())
    })
}

/// Parses `text`; `file` only appears in errors, and no other file may be the same.
pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    let refuse = |place: Place, reason: String| ConfigError {
        file: file.to_path_buf(),
        line: place.line,
        key: place.key,
        reason,
    };
    let document = DeTable::parse(text).map_err(|error| {
        refuse(
            Place::of_syntax(text, error.span()),
            error.message().trim_end().replace('\n', ", "),
        )
    })?;
    for (name, value) in document.get_ref() {
        if TABLES.contains(&name.get_ref().as_ref()) && !value.get_ref().is_table() {
            let reason = format!("invalid type: {}, expected a table", value.get_ref().type_str());
            return Err(refuse(Place::of_value(text, value.span()), reason));
        }
    }
    let config = Config::deserialize(Deserializer::from(document)).map_err(|error| {
        let mut reason = error.message().trim_end().replace('\n', ", ");
        if let Some(found) = error
            .span()
            .and_then(|span| super::place::type_at(text, span.start))
        {
            // serde has no word for a date and takes it for a map.
            reason = reason.replacen("invalid type: map", &format!("invalid type: {found}"), 1);
        }
        let place = match error.span() {
            Some(span) => Place::of_value(text, span),
            None => Place::default(),
        };
        refuse(place, reason)
    })?;
    check_patterns(&config.graphite.exclude).map_err(|(index, reason)| {
        refuse(
            Place::of_key(text, "graphite", "exclude", index).unwrap_or_default(),
            reason,
        )
    })?;
    let (disks, vmware) = (&config.disks, &config.vmware);
    for (table, interval, window) in [
        ("disks", disks.interval, disks.window),
        ("vmware", vmware.interval, vmware.window),
    ] {
        if let Some(reason) = window_refused(interval, window) {
            let place = |key| Place::of_key(text, table, key, None);
            let place = place("window").or_else(|| place("interval"));
            return Err(refuse(place.unwrap_or_default(), reason));
        }
    }
    check_paths(file, text, &config).map_err(|(place, reason)| refuse(place, reason))?;
    Ok(config)
}

/// Which pattern is refused, if it is one, and why.
fn check_patterns(patterns: &[String]) -> Result<(), (Option<usize>, String)> {
    if patterns.len() > MAX_PATTERNS {
        return Err((None, format!("more than {MAX_PATTERNS} patterns")));
    }
    if patterns.iter().map(String::len).sum::<usize>() > MAX_PATTERNS_BYTES {
        return Err((
            None,
            format!("patterns of more than {MAX_PATTERNS_BYTES} bytes together"),
        ));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        if pattern.len() > MAX_PATTERN_BYTES {
            let reason = format!("a pattern of more than {MAX_PATTERN_BYTES} bytes");
            return Err((Some(index), reason));
        }
        Exclude::new(std::slice::from_ref(pattern)).map_err(|error| (Some(index), format!("{error:#}")))?;
    }
    // Patterns that are fine one by one can be too large together.
    Exclude::new(patterns).map_err(|error| (None, format!("{error:#}")))?;
    Ok(())
}

fn window_refused(interval: Duration, window: Duration) -> Option<String> {
    let said = |relation| {
        let (interval, window) = (
            humantime::format_duration(interval),
            humantime::format_duration(window),
        );
        Some(format!(
            "the window ({window}) is {relation} the interval ({interval})"
        ))
    };
    if window < interval {
        said("below")
    } else if window > interval * MAX_SAMPLES {
        said("more than 1000 times")
    } else {
        None
    }
}

/// No two of the files that are written may be the same, nor the tree or this configuration: one would replace the
/// other for ever. Told from the paths alone: links are not looked at.
fn check_paths(file: &Path, text: &str, config: &Config) -> Result<(), (Place, String)> {
    let (graphite, disks, vmware) = (&config.graphite, &config.disks, &config.vmware);
    let whisper_dir = graphite.whisper_dir();
    let output = graphite.output(&whisper_dir);
    let tree = |path| graphite.enabled.then_some(path);
    let paths = [
        ("", "", std::path::absolute(file).ok()),
        ("", "log_file", config.log_file.clone()),
        ("graphite", "whisper_dir", tree(whisper_dir)),
        ("graphite", "output", tree(output)),
        ("disks", "output", disks.enabled.then(|| disks.output.clone())),
        ("vmware", "output", vmware.enabled.then(|| vmware.output.clone())),
    ];
    let paths: Vec<_> = paths
        .into_iter()
        .filter_map(|(table, key, path)| Some((table, key, without_dots(&path?))))
        .collect();
    for (index, (table, key, path)) in paths.iter().enumerate() {
        let Some((other_table, other_key, _)) = paths[..index].iter().find(|(_, _, other)| other == path)
        else {
            continue;
        };
        let place = |table, key| Place::of_key(text, table, key, None);
        let place = place(table, key).or_else(|| place(other_table, other_key));
        let names = match (*other_table, *other_key) {
            ("", "") => "the configuration itself".to_string(),
            (other_table, other_key) => format!(
                "both {} and {}",
                dotted(other_table, other_key),
                dotted(table, key)
            ),
        };
        return Err((place.unwrap_or_default(), format!("{path:?} is {names}")));
    }
    Ok(())
}

/// The key as errors name it.
pub fn dotted(table: &str, key: &str) -> String {
    match table {
        "" => key.to_string(),
        table => format!("{table}.{key}"),
    }
}

fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
