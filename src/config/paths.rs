//! Compares paths of the configuration by their text, without access to them.

use std::path::{Component, Path, PathBuf};

/// System folders, in which nothing is written.
const PROTECTED: [&str; 12] = [
    "/etc", "/usr", "/boot", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/root", "/proc", "/sys",
];

/// Returns the protected folder that `path` is, or is in, by whole components.
pub fn protected_folder(path: &Path) -> Option<&'static str> {
    let path = without_dots(path);
    PROTECTED.into_iter().find(|folder| path.starts_with(folder))
}

/// Returns an absolute path without `.`, `..` and `//`.
pub fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_folders_are_compared_by_whole_components() {
        for (path, folder) in [
            ("/etc", Some("/etc")),
            ("/etc/shadow", Some("/etc")),
            ("//etc//shadow", Some("/etc")),
            ("/tmp/../etc/x", Some("/etc")),
            ("/../../usr/./lib/x", Some("/usr")),
            ("/lib64/x", Some("/lib64")),
            ("/etcetera/x", None),
            ("/etc/../srv/x", None),
            ("/libraries/x", None),
            ("/srv/etc/x", None),
            ("/home/x", None),
            ("/", None),
        ] {
            assert_eq!(protected_folder(Path::new(path)), folder, "{path}");
        }
    }
}
