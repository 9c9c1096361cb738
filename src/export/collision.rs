//! Finds paths that name the same file, through links and mounts.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Fails if publishing at `path`, the value of `key`, would replace one of the other files. Accesses all of the paths.
pub fn ensure_separate(key: &str, path: &Path, others: &[(String, PathBuf)]) -> Result<()> {
    match same_file(path, others) {
        Some(other) => bail!("{key} and {other} are the same file, through links: {path:?}"),
        None => Ok(()),
    }
}

/// Returns the name of the first other file that publishing at `path` would replace. Accesses all of the paths.
pub fn same_file<'o>(path: &Path, others: &'o [(String, PathBuf)]) -> Option<&'o str> {
    let is_same = |other: &Path| {
        // A published file replaces a link at its name; the log is written through one.
        let target = fs::canonicalize(other).unwrap_or_else(|_| other.to_path_buf());
        is_same_entry(path, other) || is_same_entry(path, &target)
    };
    let found = others.iter().find(|(_, other)| is_same(other))?;
    Some(&found.0)
}

/// Returns whether two paths name the same entry of the same directory.
fn is_same_entry(one: &Path, other: &Path) -> bool {
    let folder = |path: &Path| {
        let metadata = fs::metadata(path.parent()?).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    one.file_name() == other.file_name() && folder(one).is_some_and(|found| Some(found) == folder(other))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn same_file_is_found_through_links() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("real")).unwrap();
        symlink(path("real"), path("link")).unwrap();
        fs::write(path("real/log"), "").unwrap();
        symlink(path("real/log"), path("log")).unwrap();
        for (output, other, is_same) in [
            ("link/a", "real/a", true),
            ("link/log", "log", true),
            ("link/a", "real/b", false),
            ("link/a", "absent/a", false),
            ("absent/a", "absent/b", false),
        ] {
            let others = [("key".to_string(), path(other))];
            assert_eq!(same_file(&path(output), &others).is_some(), is_same, "{output}");
        }
    }
}
