//! From the text of the file to a [`Config`]: reading, parsing, and what each value must be.

use std::fmt::Display;
use std::io::Read;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use serde::de::{Deserialize, Deserializer, Error};

use super::{Config, ConfigError};
use crate::graphite::exclude::Exclude;

/// A configuration is a page of text; anything larger is some other file named by mistake.
const MAX_BYTES: u64 = 1 << 20;
/// Longest duration accepted, so that deadlines stay within what the clocks can hold.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Shortest duration accepted: anything below would be a busy loop.
const MIN_DURATION: Duration = Duration::from_millis(1);
const MAX_DEPTH: u32 = 64;
/// Most samples in a window: each is kept in memory for every disk.
const MAX_SAMPLES: u32 = 1000;

/// Reads the file, which must be a regular one (a FIFO would block) of at most 1 MiB of UTF-8.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let refuse = |reason: String| ConfigError {
        file: path.to_path_buf(),
        line: None,
        key: None,
        reason,
    };
    let metadata = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_file() {
        return Err(refuse("not a regular file".into()));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| refuse(error.to_string()))?;
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

/// Parses `text`; `file` only appears in errors.
pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    let config: Config = toml::from_str(text).map_err(|error| {
        let offset = error.span().map(|span| span.start);
        ConfigError {
            file: file.to_path_buf(),
            line: offset.map(|offset| line_at(text.as_bytes(), offset)),
            key: offset.and_then(|offset| key_at(text, offset).or_else(|| key_on_line(text, offset))),
            reason: error.message().trim_end().replace('\n', ", "),
        }
    })?;
    let refuse = |table: &str, key: &str, span: Option<Range<usize>>, reason| ConfigError {
        file: file.to_path_buf(),
        line: span.map(|span| line_at(text.as_bytes(), span.start)),
        key: Some(format!("{table}.{key}")),
        reason,
    };
    for (index, pattern) in config.graphite.exclude.iter().enumerate() {
        if let Err(error) = Exclude::new(std::slice::from_ref(pattern)) {
            let span = span_of(text, "graphite", "exclude", index);
            return Err(refuse("graphite", "exclude", span, format!("{error:#}")));
        }
    }
    let (disks, vmware) = (&config.disks, &config.vmware);
    for (table, interval, window) in [
        ("disks", disks.interval, disks.window),
        ("vmware", vmware.interval, vmware.window),
    ] {
        if let Some(reason) = window_refused(interval, window) {
            let window = span_of(text, table, "window", 0);
            let key = if window.is_some() { "window" } else { "interval" };
            return Err(refuse(
                table,
                key,
                window.or_else(|| span_of(text, table, key, 0)),
                reason,
            ));
        }
    }
    Ok(config)
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

/// Where the value of a key is, or the element of that index where the value is a list.
fn span_of(text: &str, table: &str, key: &str, index: usize) -> Option<Range<usize>> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let value = document.get_ref().get(table)?.get_ref().as_table()?.get(key)?;
    let element = value
        .get_ref()
        .as_array()
        .and_then(|elements| elements.get(index));
    Some(element.unwrap_or(value).span())
}

fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

/// The dotted key whose name or value is at `offset`, in a document that is TOML though no configuration.
fn key_at(text: &str, offset: usize) -> Option<String> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let covers = |span: Range<usize>| span.start == offset || span.contains(&offset);
    for (name, value) in document.get_ref() {
        // Keys of a table may stand anywhere below its header, outside the span of the table itself.
        if let Some(table) = value.get_ref().as_table()
            && let Some((key, _)) = table
                .iter()
                .find(|(key, value)| covers(key.span()) || covers(value.span()))
        {
            return Some(format!("{}.{}", name.get_ref(), key.get_ref()));
        }
        if covers(name.span()) || covers(value.span()) {
            return Some(name.get_ref().to_string());
        }
    }
    None
}

/// The key of a `key = value` line that is not TOML, where it can be told.
fn key_on_line(text: &str, offset: usize) -> Option<String> {
    let start = text.get(..offset)?.rfind('\n').map_or(0, |newline| newline + 1);
    let (key, _) = text[start..].lines().next()?.split_once('=')?;
    Some(key.trim().to_string()).filter(|key| !key.is_empty())
}

fn refused<E: Error>(found: impl Display, expected: &str) -> E {
    E::custom(format!("{found:.60} is not {expected}"))
}

/// A humantime duration within what the scheduler can keep.
pub fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(value)?;
    let duration = humantime::parse_duration(&text).map_err(|error| {
        D::Error::custom(format!(
            "{text:?} is not a duration such as \"10s\" or \"15m\": {error}"
        ))
    })?;
    match duration {
        Duration::ZERO => Err(D::Error::custom(format!("{text:?} is zero"))),
        short if short < MIN_DURATION => Err(refused(format!("{text:?}"), "at least 1ms")),
        long if long > MAX_DURATION => Err(refused(format!("{text:?}"), "at most 366days")),
        fine => Ok(fine),
    }
}

/// One of the four levels.
pub fn log_level<'de, D: Deserializer<'de>>(value: D) -> Result<LevelFilter, D::Error> {
    match String::deserialize(value)?.as_str() {
        "error" => Ok(LevelFilter::Error),
        "warn" => Ok(LevelFilter::Warn),
        "info" => Ok(LevelFilter::Info),
        "debug" => Ok(LevelFilter::Debug),
        other => Err(refused(
            format!("{other:?}"),
            "one of \"error\", \"warn\", \"info\", \"debug\"",
        )),
    }
}

/// An absolute path that names something.
pub fn path<'de, D: Deserializer<'de>>(value: D) -> Result<PathBuf, D::Error> {
    checked_path(String::deserialize(value)?)
}

/// As [`path`], for a key that has no fixed default.
pub fn some_path<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    path(value).map(Some)
}

/// As [`path`], or `""` for none.
pub fn optional_path<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(value)?;
    if text.is_empty() {
        Ok(None)
    } else {
        checked_path(text).map(Some)
    }
}

fn checked_path<E: Error>(text: String) -> Result<PathBuf, E> {
    // Relative paths would depend on where the daemon was started from; a NUL can be in no path.
    if !text.starts_with('/') || text.contains('\0') {
        return Err(refused(format!("{text:?}"), "an absolute path"));
    }
    Ok(text.into())
}

/// 1 to 100.
pub fn percent<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    within(value, 1, 100)
}

/// 1 to [`MAX_DEPTH`].
pub fn depth<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    within(value, 1, MAX_DEPTH)
}

fn within<'de, D: Deserializer<'de>>(value: D, least: u32, most: u32) -> Result<u32, D::Error> {
    let number = i64::deserialize(value)?;
    u32::try_from(number)
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| refused(number, &format!("within {least} to {most}")))
}

/// An IP address and a port. No names: looking one up may block for as long as it likes.
pub fn address<'de, D: Deserializer<'de>>(value: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(value)?;
    let address = text
        .parse()
        .ok()
        .filter(|address: &SocketAddr| address.port() != 0);
    address.ok_or_else(|| {
        refused(
            format!("{text:?}"),
            "an IP address and a port, such as \"127.0.0.1:2003\"",
        )
    })
}

/// Nodes of a Graphite path, joined by dots.
pub fn metric_prefix<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let text = String::deserialize(value)?;
    let is_node = |node: &str| {
        !node.is_empty()
            && node
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    if text.len() <= 200 && text.split('.').all(is_node) {
        Ok(text)
    } else {
        Err(refused(
            format!("{text:?}"),
            "a path of letters, digits, \"_\" and \"-\" joined by dots",
        ))
    }
}

/// At least one library name, none empty.
pub fn libraries<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(value)?;
    if names.is_empty() || names.iter().any(|name| name.is_empty() || name.contains('\0')) {
        return Err(D::Error::custom(
            "at least one library name is needed, and none may be empty",
        ));
    }
    Ok(names)
}
