//! What was detected on this machine: the whisper tree, VMware, and the paths that the sandbox of the service opens.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Config, WhisperPaths};
use crate::generate::writable_paths;
use crate::reader::Reader;
use crate::vmware::detect::detect;

/// How long finding the whisper tree may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The whisper directory that a count would use now.
#[derive(Debug, Serialize, Deserialize)]
pub struct WhisperTree {
    /// The directory.
    pub whisper_dir: PathBuf,
    /// The published file that belongs to it.
    pub output: PathBuf,
    exists: bool,
}

impl WhisperTree {
    /// Finds it. Blocks if its storage does not respond.
    pub fn find(config: &Config) -> Self {
        let WhisperPaths { whisper_dir, output } = WhisperPaths::choose(&config.graphite);
        Self {
            exists: whisper_dir.is_dir(),
            whisper_dir,
            output,
        }
    }

    /// Finds it in a child process. Returns the reason if that fails.
    pub fn find_elsewhere(config_path: Option<&Path>) -> Result<Self, String> {
        let option = config_path.map(|path| ["--config".into(), path.into()]);
        let command = ["config", "show"].map(OsString::from);
        let mut reader = Reader::new(option.into_iter().flatten().chain(command).collect());
        match reader.read(TIMEOUT) {
            Ok(Some(tree)) => Ok(tree),
            Ok(None) => Err("its storage does not respond".into()),
            Err(error) => Err(format!("{error:#}")),
        }
    }
}

/// Returns each fact with its name, at most 9 characters.
pub fn facts(config: &Config, tree: &Result<WhisperTree, String>) -> [(&'static str, String); 3] {
    let tree = match tree {
        Ok(tree) if tree.exists => tree.whisper_dir.display().to_string(),
        Ok(tree) => format!("{} does not exist", tree.whisper_dir.display()),
        Err(reason) => reason.clone(),
    };
    let detection = detect(&config.host.sys);
    let vmware = match detection.is_vmware {
        true => "a VMware virtual machine",
        false => "not a VMware virtual machine",
    };
    let (writable, too_broad) = writable_paths(config);
    let mut sandbox = format!("the service can write to {}", writable.join(" "));
    if !too_broad.is_empty() {
        sandbox += &format!("; not to {} (too broad)", too_broad.join(" "));
    }
    [
        ("whisper", tree),
        ("machine", format!("{vmware} ({})", detection.evidence)),
        ("sandbox", sandbox),
    ]
}
