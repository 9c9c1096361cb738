//! What each value of the configuration must be.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Longest duration accepted, so that deadlines stay within what the clocks can hold.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Shortest duration accepted: anything below would be a busy loop.
const MIN_DURATION: Duration = Duration::from_millis(1);
const MAX_DEPTH: i64 = 64;
/// Longest path, less than the kernel's 4096 bytes by what is appended to make other names of it.
const MAX_PATH_BYTES: usize = 4000;
/// Longest name in a path: the kernel's limit.
const MAX_NAME_BYTES: usize = 255;
/// Longest name of a file that is written, whose temporary name beside it is 16 bytes longer.
const MAX_FILE_NAME_BYTES: usize = MAX_NAME_BYTES - 16;
const MAX_PREFIX_BYTES: usize = 200;
const MAX_LIBRARIES: usize = 16;

fn refused<E: Error>(found: impl Display, expected: &str) -> E {
    E::custom(format!("{found:.60} is not {expected}"))
}

/// A humantime duration within what the scheduler can keep.
pub fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(value)?;
    let duration = humantime::parse_duration(&text).map_err(|error| {
        D::Error::custom(format!(
            "{:.60} is not a duration such as \"10s\" or \"15m\": {error}",
            format!("{text:?}")
        ))
    })?;
    match duration {
        Duration::ZERO => Err(D::Error::custom(format!("{:.60} is zero", format!("{text:?}")))),
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

/// An absolute path.
pub fn path<'de, D: Deserializer<'de>>(value: D) -> Result<PathBuf, D::Error> {
    checked_path(String::deserialize(value)?)
}

/// As [`path`], for a key that has no fixed default.
pub fn some_path<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    path(value).map(Some)
}

/// The absolute path of a file that is written.
pub fn file<'de, D: Deserializer<'de>>(value: D) -> Result<PathBuf, D::Error> {
    checked_file(String::deserialize(value)?)
}

/// As [`file()`], for a key that has no fixed default.
pub fn some_file<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    file(value).map(Some)
}

/// As [`file()`], or `""` for none.
pub fn optional_file<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(value)?;
    if text.is_empty() {
        Ok(None)
    } else {
        checked_file(text).map(Some)
    }
}

/// Accepts the absolute path of a folder, or `""` for none.
pub fn optional_folder<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(value)?;
    if text.is_empty() {
        Ok(None)
    } else {
        checked_path(text).map(Some)
    }
}

fn checked_file<E: Error>(text: String) -> Result<PathBuf, E> {
    let ends_as_folder = ["/", "/.", "/.."].iter().any(|end| text.ends_with(end));
    let path = checked_path::<E>(text)?;
    let name = path.file_name().filter(|_| !ends_as_folder);
    match name.map(|name| name.len()) {
        None => Err(refused(format!("{path:?}"), "the path of a file")),
        Some(bytes) if bytes > MAX_FILE_NAME_BYTES => Err(E::custom(format!(
            "the name of the file has {bytes} bytes, at most {MAX_FILE_NAME_BYTES} can be written"
        ))),
        Some(_) => Ok(path),
    }
}

fn checked_path<E: Error>(text: String) -> Result<PathBuf, E> {
    // Relative paths would depend on where the daemon was started from.
    if !text.starts_with('/') {
        return Err(refused(format!("{text:?}"), "an absolute path"));
    }
    if text.contains(char::is_control) {
        return Err(refused(format!("{text:?}"), "a path without control characters"));
    }
    if text.len() > MAX_PATH_BYTES {
        let bytes = text.len();
        return Err(E::custom(format!(
            "a path of {bytes} bytes, at most {MAX_PATH_BYTES} are taken"
        )));
    }
    if Path::new(&text).iter().any(|name| name.len() > MAX_NAME_BYTES) {
        return Err(E::custom(format!(
            "a path with a name of more than {MAX_NAME_BYTES} bytes"
        )));
    }
    Ok(text.into())
}

/// 1 to 100.
pub fn percent<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    value.deserialize_i64(Within(1, 100))
}

/// 1 to [`MAX_DEPTH`].
pub fn depth<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    value.deserialize_i64(Within(1, MAX_DEPTH))
}

/// Takes an integer from the first to the second.
struct Within(i64, i64);

impl Visitor<'_> for Within {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer within {} to {}", self.0, self.1)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u32, E> {
        let Self(least, most) = self;
        u32::try_from(number)
            .ok()
            .filter(|_| (least..=most).contains(&number))
            .ok_or_else(|| refused(number, &format!("within {least} to {most}")))
    }
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
    if text.len() <= MAX_PREFIX_BYTES && text.split('.').all(is_node) {
        Ok(text)
    } else {
        Err(refused(
            format!("{text:?}"),
            "a path of letters, digits, \"_\" and \"-\" joined by dots",
        ))
    }
}

/// At least one library, each by its name alone or by its absolute path.
pub fn libraries<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(value)?;
    if names.is_empty() || names.len() > MAX_LIBRARIES {
        return Err(D::Error::custom(format!(
            "at least one library name is needed, and at most {MAX_LIBRARIES} are taken"
        )));
    }
    for name in &names {
        if name.contains('/') {
            checked_path::<D::Error>(name.clone())?;
        } else if name.is_empty() || name.contains(char::is_control) || name.len() > MAX_NAME_BYTES {
            return Err(refused(format!("{name:?}"), "the name of a library"));
        }
    }
    Ok(names)
}
