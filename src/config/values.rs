//! Parses and checks the value of each key.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::duration;
use crate::publish::DOCUMENT_MODE;

/// Keeps deadlines within the range of the clocks.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Shorter intervals would be a busy loop.
const MIN_DURATION: Duration = Duration::from_millis(1);
const MAX_DEPTH: i64 = 64;
/// The kernel's limit is 4096 bytes. The rest is for what is appended to the path.
const MAX_PATH_BYTES: usize = 4000;
/// The kernel's limit for a name in a path.
const MAX_NAME_BYTES: usize = 255;
/// The temporary name of a published file is up to 16 bytes longer.
const MAX_FILE_NAME_BYTES: usize = MAX_NAME_BYTES - 16;
/// Stands for the name of the machine in a metric prefix.
pub const HOSTNAME: &str = "{hostname}";
const MAX_PREFIX_BYTES: usize = 200;
const MAX_LIBRARIES: usize = 16;

fn invalid<E: Error>(found: impl Display, expected: &str) -> E {
    wrong(found, format_args!("is not {expected}"))
}

/// Returns an error that begins with the value, shortened.
fn wrong<E: Error>(found: impl Display, problem: impl Display) -> E {
    E::custom(format!("{:.60} {problem}", found.to_string()))
}

/// Accepts a humantime duration from 1 ms to 366 days.
pub fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(value)?;
    let found = format!("{text:?}");
    match duration::parse(&text) {
        Err(error) => {
            let expected = format!("a duration (examples: \"10s\", \"15m\"): {error}");
            Err(invalid(found, &expected))
        }
        Ok(Duration::ZERO) => Err(wrong(found, "must be greater than zero")),
        Ok(short) if short < MIN_DURATION => Err(wrong(found, "is too short, the minimum is 1ms")),
        Ok(long) if long > MAX_DURATION => Err(wrong(found, "is too long, the maximum is 366days")),
        Ok(duration) => Ok(duration),
    }
}

/// Accepts one of the four levels.
pub fn log_level<'de, D: Deserializer<'de>>(value: D) -> Result<LevelFilter, D::Error> {
    match String::deserialize(value)?.as_str() {
        "error" => Ok(LevelFilter::Error),
        "warn" => Ok(LevelFilter::Warn),
        "info" => Ok(LevelFilter::Info),
        "debug" => Ok(LevelFilter::Debug),
        other => Err(invalid(
            format!("{other:?}"),
            "one of \"error\", \"warn\", \"info\", \"debug\"",
        )),
    }
}

/// Accepts an absolute path.
pub fn path<'de, D: Deserializer<'de>>(value: D) -> Result<PathBuf, D::Error> {
    checked_path(String::deserialize(value)?)
}

/// Does the same as [`path`], for a key without a fixed default.
pub fn some_path<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    path(value).map(Some)
}

/// Accepts the absolute path of a file that is written.
pub fn file<'de, D: Deserializer<'de>>(value: D) -> Result<PathBuf, D::Error> {
    checked_file(String::deserialize(value)?)
}

/// Does the same as [`file()`], for a key without a fixed default.
pub fn some_file<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    file(value).map(Some)
}

/// Does the same as [`file()`], and accepts `""` for none.
pub fn optional_file<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(value)?;
    (!text.is_empty()).then(|| checked_file(text)).transpose()
}

/// Accepts the absolute path of a folder, or `""` for none.
pub fn optional_folder<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(value)?;
    (!text.is_empty()).then(|| checked_path(text)).transpose()
}

fn checked_file<E: Error>(text: String) -> Result<PathBuf, E> {
    let ends_as_folder = ["/", "/.", "/.."].iter().any(|end| text.ends_with(end));
    let path = checked_path::<E>(text)?;
    let name = path.file_name().filter(|_| !ends_as_folder);
    match name.map(|name| name.len()) {
        None => Err(invalid(format!("{path:?}"), "a file path")),
        Some(bytes) if bytes > MAX_FILE_NAME_BYTES => Err(E::custom(format!(
            "file name is {bytes} bytes long, the limit is {MAX_FILE_NAME_BYTES}"
        ))),
        Some(_) => Ok(path),
    }
}

fn checked_path<E: Error>(text: String) -> Result<PathBuf, E> {
    // A relative path would depend on the working directory of the daemon.
    if !text.starts_with('/') {
        return Err(invalid(format!("{text:?}"), "an absolute path"));
    }
    if text.contains(char::is_control) {
        return Err(invalid(format!("{text:?}"), "a path without control characters"));
    }
    if text.len() > MAX_PATH_BYTES {
        let bytes = text.len();
        return Err(E::custom(format!(
            "path is {bytes} bytes long, the limit is {MAX_PATH_BYTES}"
        )));
    }
    if Path::new(&text).iter().any(|name| name.len() > MAX_NAME_BYTES) {
        return Err(E::custom(format!(
            "path component is longer than {MAX_NAME_BYTES} bytes"
        )));
    }
    Ok(text.into())
}

/// Returns the mode of a published file.
pub fn default_mode() -> u32 {
    DOCUMENT_MODE
}

/// Accepts three or four octal digits without special bits. Consumers trust the file, so only owner and group can write it.
pub fn mode<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    let text = String::deserialize(value)?;
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u32::from_str_radix(&text, 8).ok();
    match mode.filter(|mode| is_octal && *mode <= 0o777) {
        Some(mode) if mode & 0o002 != 0 => {
            let reason = format!("all users could write the file with mode {text:?}");
            Err(D::Error::custom(reason))
        }
        Some(mode) => Ok(mode),
        None => Err(invalid(format!("{text:?}"), "a mode, such as \"0644\"")),
    }
}

/// Accepts 1 to 100.
pub fn percent<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    value.deserialize_i64(FromTo(1, 100))
}

/// Accepts 1 to [`MAX_DEPTH`].
pub fn depth<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    value.deserialize_i64(FromTo(1, MAX_DEPTH))
}

/// Accepts an integer from the first to the second.
struct FromTo(i64, i64);

impl Visitor<'_> for FromTo {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer from {} to {}", self.0, self.1)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u32, E> {
        let Self(min, max) = self;
        u32::try_from(number)
            .ok()
            .filter(|_| (min..=max).contains(&number))
            .ok_or_else(|| wrong(number, format_args!("is out of range, must be {min} to {max}")))
    }
}

/// Accepts an IP address and a port. Host names are rejected: looking one up can block without limit.
pub fn address<'de, D: Deserializer<'de>>(value: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(value)?;
    let address = text
        .parse()
        .ok()
        .filter(|address: &SocketAddr| address.port() != 0);
    let has_host_name = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_in_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        host.contains(|c: char| c.is_ascii_alphabetic())
            && host.chars().all(is_in_name)
            && port.parse::<u16>().is_ok()
    });
    if has_host_name {
        let problem = "is a host name, must be an IP address: looking up a name can block the daemon";
        return Err(wrong(format!("{text:?}"), problem));
    }
    address.ok_or_else(|| {
        invalid(
            format!("{text:?}"),
            "an IP address and a port, such as \"127.0.0.1:2003\"",
        )
    })
}

/// Accepts nodes of a Graphite path, joined by dots. They may contain [`HOSTNAME`].
pub fn metric_prefix<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let text = String::deserialize(value)?;
    let is_node = |node: &str| {
        !node.is_empty()
            && node
                .replace(HOSTNAME, "")
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    if text.len() <= MAX_PREFIX_BYTES && text.split('.').all(is_node) {
        Ok(text)
    } else {
        Err(invalid(
            format!("{text:?}"),
            "a metric prefix: letters, digits, \"_\", \"-\" and {hostname}, separated by dots, at most 200 bytes",
        ))
    }
}

/// Accepts 1 to [`MAX_LIBRARIES`] libraries, each a file name or an absolute path.
pub fn libraries<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(value)?;
    if names.is_empty() || names.len() > MAX_LIBRARIES {
        return Err(D::Error::custom(format!(
            "must list 1 to {MAX_LIBRARIES} library names"
        )));
    }
    for name in &names {
        if name.contains('/') {
            checked_path::<D::Error>(name.clone())?;
        } else if name.is_empty() || name.contains(char::is_control) || name.len() > MAX_NAME_BYTES {
            return Err(invalid(format!("{name:?}"), "a library name"));
        }
    }
    Ok(names)
}
