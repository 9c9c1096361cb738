//! Opens the directories of the whisper tree.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Error, Result};
use rustix::fs::{CWD, Mode, OFlags, Stat, fstat, openat};

use crate::escape::display_path;

/// Flags to open a directory for reading.
pub const READ_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);
/// What the service's sandbox can hide, and how to show it.
const HIDDEN_HINT: &str =
    "if it exists, the sandbox of the service hides it, see \"Paths of your own\" in README.md";

/// Opens the whisper directory, which may be a symbolic link.
///
/// The error names a link that leads nowhere: in the service's sandbox, /home is empty.
pub fn open_root(whisper_dir: &Path) -> Result<(OwnedFd, Stat)> {
    let opened = openat(
        CWD,
        whisper_dir,
        READ_FLAGS.difference(OFlags::NOFOLLOW),
        Mode::empty(),
    )
    .and_then(|fd| fstat(&fd).map(|stat| (fd, stat)));
    opened.map_err(|errno| {
        let error = io::Error::from(errno);
        let shown = display_path(whisper_dir);
        match dangling_link(whisper_dir) {
            Some(link) => Error::msg(format!("{error}; {HIDDEN_HINT}"))
                .context(format!("opening the whisper directory {shown}, {link}")),
            None => Error::from(error).context(format!("opening the whisper directory {shown}")),
        }
    })
}

/// Describes the link in `path`, or at its end, whose target cannot be reached; `None` if there is no such link.
fn dangling_link(path: &Path) -> Option<String> {
    let (link, target) = path
        .ancestors()
        .find_map(|ancestor| Some((ancestor, fs::read_link(ancestor).ok()?)))?;
    let target = display_path(&target);
    match fs::metadata(link) {
        Ok(_) => None,
        Err(_) if link == path => Some(format!("a link to {target}")),
        Err(_) => Some(format!("below {}, a link to {target}", display_path(link))),
    }
}
