//! The whisper directory, and the published file that belongs to it.

use std::path::{Path, PathBuf};

use super::schema::GraphiteConfig;

/// The usual whisper directories: Shinken's, Debian's, EPEL's.
const WHISPER_DIRS: [&str; 3] = [
    "/opt/graphite/storage/whisper",
    "/var/lib/graphite/whisper",
    "/var/lib/carbon/whisper",
];

/// The paths of a count, chosen once by the command that counts or reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhisperPaths {
    /// The directory to count.
    pub whisper_dir: PathBuf,
    /// The published file.
    pub output: PathBuf,
}

impl WhisperPaths {
    /// Chooses the configured directory, else the first usual one that exists now, else the first.
    ///
    /// Calls stat(2) on up to three paths if none is configured, which blocks if their storage does not respond.
    pub fn choose(config: &GraphiteConfig) -> Self {
        let candidates = config.whisper_dirs();
        let existing = match candidates.len() {
            1 => None,
            _ => candidates.iter().find(|path| path.is_dir()),
        };
        let whisper_dir = existing.unwrap_or(&candidates[0]).clone();
        let output = config.output_of(&whisper_dir);
        Self { whisper_dir, output }
    }
}

impl GraphiteConfig {
    /// Returns the directories that may be the whisper directory, at least one: the configured one or the usual ones.
    pub fn whisper_dirs(&self) -> Vec<PathBuf> {
        match &self.whisper_dir {
            Some(path) => vec![path.clone()],
            None => WHISPER_DIRS.map(PathBuf::from).into(),
        }
    }

    /// Returns the published file if `whisper_dir` is the whisper directory.
    pub fn output_of(&self, whisper_dir: &Path) -> PathBuf {
        self.output.clone().unwrap_or_else(|| {
            // Built from the components so that a trailing slash does not put the file inside the tree.
            let mut output = whisper_dir.components().as_path().as_os_str().to_os_string();
            output.push(".nb_metrics");
            output.into()
        })
    }
}
