//! Opens and checks the directories of the whisper tree.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Error, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, fstatfs, openat, statat};
use rustix::io::Errno;

use super::snapshot::{Record, Stamp};
use crate::escape::display_path;

const READ_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);
/// Enough to look up names below a directory and to read its stamp, even if it cannot be listed.
const PATH_FLAGS: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// What the service's sandbox can hide, and how to show it.
const HIDDEN_HINT: &str = "if it exists, the sandbox of the service hides it, see \"A whisper tree in a home\" in docs/configuration.md";

/// File systems that hold no users' files, by their magic numbers in linux/magic.h: proc, sysfs, cgroup, cgroup2, devpts,
/// debugfs, tracefs, securityfs, bpf, pstore, configfs, efivarfs, mqueue, binfmt_misc, fusectl, selinuxfs, hugetlbfs.
const PSEUDO_FILE_SYSTEMS: [u32; 17] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x1cd1,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x6165_676c,
    0x6265_6570,
    0xde5e_81e4,
    0x1980_0202,
    0x4249_4e4d,
    0x6573_5543,
    0xf97c_ff8c,
    0x9584_58f6,
];

/// The result of checking a directory.
pub enum DirState {
    /// It does not exist any more, is not a directory, or is a pseudo file system.
    Gone,
    /// It cannot be read, for this reason.
    Unreadable(String),
    /// Unchanged, and open if it has subdirectories.
    Unchanged(Option<OwnedFd>),
    /// Open, to be read.
    ToRead(OwnedFd, Stamp),
}

/// Opens directories, relative to the whisper directory.
pub struct Opener {
    root: Stat,
    /// Whether reading can still leave access times as they are.
    keep_access_times: bool,
}

impl Opener {
    /// Opens the whisper directory, which may be a symbolic link.
    ///
    /// The error names a link that leads nowhere: in the service's sandbox, /home is empty.
    pub fn open_root(whisper_dir: &Path) -> Result<(Self, OwnedFd, Stamp)> {
        let flags = READ_FLAGS.difference(OFlags::NOFOLLOW);
        let opened = openat(CWD, whisper_dir, flags, Mode::empty());
        let (fd, root) = opened
            .and_then(|fd| fstat(&fd).map(|stat| (fd, stat)))
            .map_err(|errno| open_error(whisper_dir, errno))?;
        let stamp = Stamp::new(&root, root.st_dev);
        let opener = Self {
            root,
            keep_access_times: true,
        };
        Ok((opener, fd, stamp))
    }

    /// Returns whether this path still leads to the directory that was opened first.
    pub fn is_root(&self, whisper_dir: &Path) -> bool {
        let is_same = |stat: Stat| (stat.st_dev, stat.st_ino) == (self.root.st_dev, self.root.st_ino);
        statat(CWD, whisper_dir, AtFlags::empty()).is_ok_and(is_same)
    }

    /// Checks the subdirectory `name` of `parent`, and opens it if that is needed. Fails if this process lacks resources.
    ///
    /// `known` is its record if the entries of an unchanged directory need not be read. `device` is that of the parent.
    pub fn check_directory(
        &mut self,
        parent: BorrowedFd<'_>,
        device: Option<u64>,
        name: &CStr,
        known: Option<&Record>,
        has_children: bool,
    ) -> Result<DirState> {
        match self.try_check(parent, name, known, has_children) {
            Err(errno) if is_resource_error(errno) => Err(resource_error(errno)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(DirState::Gone),
            Err(errno) => Ok(DirState::Unreadable(io::Error::from(errno).to_string())),
            // Not counted: /proc alone can have millions of entries.
            Ok(DirState::ToRead(fd, stamp))
                if stamp.device.is_some() && stamp.device != device && is_pseudo(&fd) =>
            {
                Ok(DirState::Gone)
            }
            Ok(state) => Ok(state),
        }
    }

    fn try_check(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        known: Option<&Record>,
        has_children: bool,
    ) -> Result<DirState, Errno> {
        let root_device = self.root.st_dev;
        let stamp_of = |stat: &Stat| Stamp::new(stat, root_device);
        if let Some(known) = known
            && has_children
        {
            let fd = openat(parent, name, PATH_FLAGS, Mode::empty())?;
            let stamp = stamp_of(&fstat(&fd)?);
            if known.is_valid(&stamp) {
                return Ok(DirState::Unchanged(Some(fd)));
            }
            let fd = self.open_to_read(fd.as_fd(), c".")?;
            return Ok(DirState::ToRead(fd, stamp));
        } else if let Some(known) = known {
            let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Ok(DirState::Gone);
            }
            if known.is_valid(&stamp_of(&stat)) {
                return Ok(DirState::Unchanged(None));
            }
        }
        let fd = self.open_to_read(parent, name)?;
        let stamp = stamp_of(&fstat(&fd)?);
        Ok(DirState::ToRead(fd, stamp))
    }

    /// Opens a directory for reading, if possible without a new access time, which would be written to the disk. The
    /// kernel allows that to the directory's owner and to processes with CAP_FOWNER.
    fn open_to_read(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
        if self.keep_access_times {
            match openat(parent, name, READ_FLAGS | OFlags::NOATIME, Mode::empty()) {
                Err(Errno::PERM) => self.keep_access_times = false,
                opened => return opened,
            }
        }
        openat(parent, name, READ_FLAGS, Mode::empty())
    }
}

fn is_pseudo(fd: &OwnedFd) -> bool {
    // The type has 32 bits, in a word of another size on some machines.
    fstatfs(fd).is_ok_and(|found| PSEUDO_FILE_SYSTEMS.contains(&(found.f_type as u32)))
}

fn open_error(whisper_dir: &Path, errno: Errno) -> Error {
    let error = io::Error::from(errno);
    let shown = display_path(whisper_dir);
    match dangling_link(whisper_dir) {
        Some(link) => Error::msg(format!("{error}; {HIDDEN_HINT}"))
            .context(format!("opening the whisper directory {shown}, {link}")),
        None => Error::from(error).context(format!("opening the whisper directory {shown}")),
    }
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

/// Whether an error is about this process and not about the directory.
pub fn is_resource_error(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}

/// Returns the error of a count that cannot go on.
pub fn resource_error(errno: Errno) -> Error {
    let error = Error::from(io::Error::from(errno));
    match errno {
        Errno::MFILE => error.context(
            "every level of the tree stays open, raise the limit of open files (LimitNOFILE=, ulimit -n)",
        ),
        _ => error.context("reading directories"),
    }
}
