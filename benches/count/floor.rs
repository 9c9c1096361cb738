//! The floor: the same system calls without any other work.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, openat, statat};

/// A directory and its subdirectories, read in advance.
pub struct Known {
    name: CString,
    below: Vec<Known>,
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Reads every directory: openat from the parent's descriptor, getdents into 32 KiB, a test of the suffix.
pub fn read_all(top: &Path, expected: usize) {
    let mut buffer = Vec::with_capacity(32 * 1024);
    let directory = openat(CWD, top, FLAGS, Mode::empty()).expect("opening the tree");
    assert_eq!(read(&directory, buffer.spare_capacity_mut()), expected);
}

fn read(directory: &OwnedFd, buffer: &mut [MaybeUninit<u8>]) -> usize {
    let mut metrics = 0;
    let mut below: Vec<CString> = Vec::new();
    let mut entries = RawDir::new(directory, &mut *buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.expect("reading a directory");
        match entry.file_type() {
            FileType::Directory if !matches!(entry.file_name().to_bytes(), b"." | b"..") => {
                below.push(entry.file_name().to_owned());
            }
            _ => metrics += usize::from(entry.file_name().to_bytes().ends_with(b".wsp")),
        }
    }
    for name in below {
        metrics += read(
            &openat(directory, name, FLAGS, Mode::empty()).expect("opening a directory"),
            buffer,
        );
    }
    metrics
}

/// Lists all directories.
pub fn learn(top: &Path) -> Known {
    let mut below: Vec<Known> = Vec::new();
    for entry in std::fs::read_dir(top).expect("reading the tree").flatten() {
        if entry.file_type().expect("a type").is_dir() {
            below.push(learn(&entry.path()));
        }
    }
    let name = top.file_name().expect("a name").as_encoded_bytes();
    Known {
        name: CString::new(name).expect("a name without NUL"),
        below,
    }
}

/// Checks every directory: one fstatat from the parent's descriptor; reads none.
pub fn look_at_all(top: &Path, known: &Known) {
    let directory = openat(CWD, top, FLAGS, Mode::empty()).expect("opening the tree");
    look(directory.as_fd(), known);
}

fn look(directory: BorrowedFd<'_>, known: &Known) {
    for child in &known.below {
        statat(directory, &child.name, AtFlags::SYMLINK_NOFOLLOW).expect("looking at a directory");
        if !child.below.is_empty() {
            let inside =
                openat(directory, &child.name, FLAGS | OFlags::PATH, Mode::empty()).expect("opening");
            look(inside.as_fd(), child);
        }
    }
}
