//! The PID files of Shinken daemons and carbon-cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::process::{Process, parse_pid};
use crate::kernel;

/// Limits of the files of a folder and of the bytes of each: Shinken's folder belongs to its user.
const MAX_FILES: usize = 256;
const MAX_PID_BYTES: u64 = 32;
/// A longer command line is not a parent's.
const MAX_COMMAND_LINE_BYTES: u64 = 1 << 20;

/// The PID files of parents: FOLDER/PREFIX*.pid, each of a process with `program` in its command line.
struct PidFiles {
    folder: &'static str,
    prefix: &'static str,
    program: &'static str,
}

const PID_FILES: [PidFiles; 3] = [
    PidFiles {
        folder: "var/run/shinken",
        prefix: "",
        program: "shinken",
    },
    // Debian's carbon-cache, and that of Graphite's own packages.
    PidFiles {
        folder: "var/run",
        prefix: "carbon-cache",
        program: "carbon-cache",
    },
    PidFiles {
        folder: "opt/graphite/storage",
        prefix: "carbon-cache",
        program: "carbon-cache",
    },
];

/// Returns the parents that have a PID file and run.
pub fn running(root: &Path) -> Vec<Process> {
    PID_FILES
        .iter()
        .flat_map(|pid_files| {
            pid_files
                .paths(root)
                .into_iter()
                .map(move |path| (pid_files, path))
        })
        .filter_map(|(pid_files, path)| parent(&path, pid_files.program).ok().flatten())
        .collect()
}

impl PidFiles {
    fn paths(&self, root: &Path) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(root.join(self.folder)) else {
            return Vec::new();
        };
        let is_ours = |name: &str| name.starts_with(self.prefix) && name.ends_with(".pid");
        entries
            .take(MAX_FILES)
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(is_ours))
            .map(|entry| entry.path())
            .collect()
    }
}

/// Returns the process of a PID file; `None` if it does not run, or if the PID now belongs to another program.
fn parent(pid_file: &Path, program: &str) -> Result<Option<Process>> {
    let pid = String::from_utf8(kernel::read(pid_file, MAX_PID_BYTES)?)?;
    let pid = parse_pid(pid.trim()).context("not a PID")?;
    // In this order: if the PID is reused in between, the descriptor refers to the ended process.
    let process = Process::open(pid);
    let command_line = PathBuf::from(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    let command_line = kernel::read(&command_line, MAX_COMMAND_LINE_BYTES)?;
    let command_line = String::from_utf8_lossy(&command_line);
    let is_parent = command_line.contains(program) && !command_line.contains("shinken-gatherer");
    Ok(process.filter(|_| is_parent))
}
