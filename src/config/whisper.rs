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
        let whisper_dir = match &config.whisper_dirs()[..] {
            [configured] => configured.clone(),
            usual => first_existing(usual).clone(),
        };
        let output = config.output_of(&whisper_dir);
        Self { whisper_dir, output }
    }
}

/// Returns the first path that is a directory now, else the first.
fn first_existing(paths: &[PathBuf]) -> &PathBuf {
    paths.iter().find(|path| path.is_dir()).unwrap_or(&paths[0])
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn usual_directories_are_those_of_the_page_in_its_order() {
        let page = include_str!("../../docs/configuration.md").replace("\n#", "");
        let [first, second, third] = WHISPER_DIRS;
        let text = format!(
            "the first of {first}, {second} (Debian) and {third} (EPEL) that exists; {first} until one does"
        );
        assert!(page.contains(&text), "{text}");
        let config = GraphiteConfig::default();
        assert_eq!(config.whisper_dirs(), WHISPER_DIRS.map(PathBuf::from));
        assert_eq!(
            config.output_of(Path::new(third)),
            Path::new("/var/lib/carbon/whisper.nb_metrics")
        );
    }

    #[test]
    fn first_existing_directory_is_chosen_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "c"].map(|name| dir.path().join(name));
        assert_eq!(first_existing(&paths), &paths[0]);
        for existing in [2, 1, 0] {
            fs::create_dir(&paths[existing]).unwrap();
            assert_eq!(first_existing(&paths), &paths[existing]);
        }
        fs::remove_dir(&paths[0]).unwrap();
        fs::write(&paths[0], "").unwrap();
        assert_eq!(first_existing(&paths), &paths[1], "a file is not a directory");
    }
}
