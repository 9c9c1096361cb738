//! Notices that the sandbox does not protect the whisper tree any more.
//!
//! systemd mounts the tree read-only when the service starts. A tree that is then moved away and created again, or
//! mounted over, is another directory, which the service can write.

use crate::escape::display_path;
use crate::graphite::report::NAME;
use crate::logging::Log;
use crate::worker::protocol::Tree;

/// What is known of one whisper directory.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// It was not seen, or it was writable from the start: there is no sandbox.
    #[default]
    None,
    /// It was read-only.
    ReadOnly,
    /// It became writable, which was logged.
    Lost,
}

impl Protection {
    /// Logs a warning if the tree was read-only and is now writable: at most one.
    pub fn check(&mut self, tree: &Tree, log: &mut Log) {
        match (*self, tree.is_read_only) {
            (Self::None, Some(true)) => *self = Self::ReadOnly,
            (Self::ReadOnly, Some(false)) => {
                *self = Self::Lost;
                let tree = display_path(&tree.whisper_dir);
                log.warn(
                    NAME,
                    format_args!(
                        "{tree} is no longer read-only; if it was replaced or mounted over, restart \
                         shinken-gatherer to protect it"
                    ),
                    &[],
                );
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use log::LevelFilter;

    use super::*;

    #[test]
    fn tree_that_was_read_only_and_becomes_writable_is_one_warning() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let mut log = Log::new(LevelFilter::Warn, Some(&file));
        let mut check = |read_only: &[bool]| {
            let mut protection = Protection::default();
            for is_read_only in read_only {
                let tree = Tree {
                    whisper_dir: "/whisper".into(),
                    output: "/whisper.nb_metrics".into(),
                    devices: Vec::new(),
                    is_read_only: Some(*is_read_only),
                };
                protection.check(&tree, &mut log);
            }
            std::fs::read_to_string(&file).unwrap_or_default()
        };
        assert_eq!(check(&[false, false]), "");
        let text = check(&[true, true, false, true, false]);
        assert_eq!(
            text.matches("\"/whisper\" is no longer read-only").count(),
            1,
            "{text}"
        );
    }
}
