//! What is left out of the count: gitignore patterns, relative to the whisper directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Compiled patterns. As with git, nothing below an excluded directory can be brought back by a `!` pattern.
#[derive(Debug)]
pub struct Exclude {
    matcher: Gitignore,
    /// Whether a pattern can match a file; `dir/` patterns can't, and then no file name needs matching.
    takes_files: bool,
    /// Whether all patterns are of the kind `/name`, which nothing below the whisper directory's own entries matches.
    only_at_top: bool,
}

impl Exclude {
    /// Compiles `patterns`; fails at the first that is not a valid gitignore pattern.
    pub fn new(patterns: &[String]) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            builder
                .add_line(None, &escape_braces(pattern))
                .with_context(|| format!("{pattern:?} is not a gitignore pattern"))?;
        }
        let matcher = builder.build().context("compiling the patterns")?;
        let takes_files = patterns.iter().any(|pattern| !pattern.trim_end().ends_with('/'));
        let only_at_top = patterns.iter().all(|pattern| is_name_at_top(pattern));
        Ok(Self {
            matcher,
            takes_files,
            only_at_top,
        })
    }

    /// Whether the directory at `path`, relative to the whisper directory, is left out with all below it.
    pub fn takes_directory(&self, path: &[u8]) -> bool {
        self.matcher.matched(as_path(path), true).is_ignore()
    }

    /// Whether the file at `path`, relative to the whisper directory, is left out.
    pub fn takes_file(&self, path: &[u8]) -> bool {
        self.takes_files && self.matcher.matched(as_path(path), false).is_ignore()
    }

    /// Whether entries of a directory can be left out, the whisper directory itself (`at_top`) or one below it. If
    /// not, their paths need not be put together.
    pub fn concerns(&self, at_top: bool) -> bool {
        !self.matcher.is_empty() && (at_top || !self.only_at_top)
    }

    /// Whether files can be left out, so that their paths must be put together.
    pub fn takes_files(&self) -> bool {
        self.takes_files
    }
}

/// Whether a pattern is one plain name, anchored to the whisper directory.
fn is_name_at_top(pattern: &str) -> bool {
    let name = pattern
        .strip_prefix('/')
        .map(|name| name.strip_suffix('/').unwrap_or(name));
    name.is_some_and(|name| !name.contains(['/', '*', '?', '[', ']', '\\']))
}

/// Escapes the braces of a pattern: they are literal in gitignore, but start alternatives in the globs of `ignore`.
fn escape_braces(pattern: &str) -> String {
    let mut escaped = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if matches!(character, '{' | '}') {
            escaped.push('\\');
        }
        escaped.push(character);
        match character {
            '\\' => escaped.extend(characters.next()),
            '[' => {
                let (members, rest) = characters.as_str().split_at(class_length(characters.as_str()));
                escaped.push_str(members);
                characters = rest.chars();
            }
            _ => {}
        }
    }
    escaped
}

/// Returns the length of the character class whose members start `text`, with its `]`; 0 if it is not closed. Braces are
/// literal in it, and so is a `]` that comes first.
fn class_length(text: &str) -> usize {
    let start = text.len() - text.trim_start_matches(['!', '^']).len();
    let first = text[start..].chars().next().map_or(0, char::len_utf8);
    let end = text[start + first..].find(']');
    end.map_or(0, |end| start + first + end + 1)
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclude(patterns: &[&str]) -> Exclude {
        Exclude::new(
            &patterns
                .iter()
                .map(|pattern| pattern.to_string())
                .collect::<Vec<_>>(),
        )
        .unwrap()
    }

    #[test]
    fn patterns_are_relative_to_the_whisper_directory() {
        let anchored = exclude(&["/lost+found/"]);
        assert!(anchored.takes_directory(b"lost+found"));
        assert!(!anchored.takes_directory(b"host/lost+found"));
        assert!(!anchored.takes_file(b"lost+found"));
        let anywhere = exclude(&["tmp*", "!tmp-kept"]);
        assert!(anywhere.takes_directory(b"host/tmp1"));
        assert!(!anywhere.takes_directory(b"host/tmp-kept"));
        assert!(exclude(&["carbon/agents"]).takes_directory(b"carbon/agents"));
        assert!(!exclude(&["carbon/agents"]).takes_directory(b"host/carbon/agents"));
    }

    #[test]
    fn only_plain_names_at_the_top_spare_looking_below() {
        assert!(!exclude(&[]).concerns(true));
        assert!(exclude(&["/lost+found/"]).concerns(true));
        assert!(!exclude(&["/lost+found/", "/a"]).concerns(false));
        for pattern in ["a", "a/", "/a/b", "/a/*", "/**", "/[!b]", "!/a", "/a\\/b"] {
            assert!(exclude(&["/lost+found/", pattern]).concerns(false), "{pattern}");
        }
    }

    #[test]
    fn files_and_names_that_are_not_utf8_match_too() {
        let files = exclude(&["*.old.wsp"]);
        assert!(files.takes_file(b"host/x.old.wsp"));
        assert!(files.takes_file(b"host/\xff.old.wsp"));
        assert!(!files.takes_file(b"host/x.wsp"));
    }

    #[test]
    fn braces_are_literal_as_in_git() {
        for (pattern, matching, other) in [
            ("{a,b}.wsp", "{a,b}.wsp", "a.wsp"),
            ("{a", "{a", "a"),
            ("a}", "a}", "a"),
            ("{{a},{b}}", "{{a},{b}}", "a"),
            ("\\{a}", "{a}", "a"),
            ("[{]a", "{a", "[{]a"),
            ("[]{}]a", "}a", "a"),
            ("[!{]a", "xa", "{a"),
            ("\\[{a}", "[{a}", "[a"),
            ("{a[}", "{a[}", "a["),
        ] {
            let exclude = exclude(&[pattern]);
            assert!(exclude.takes_file(matching.as_bytes()), "{pattern} {matching}");
            assert!(!exclude.takes_file(other.as_bytes()), "{pattern} {other}");
        }
    }

    #[test]
    fn invalid_pattern_is_rejected_by_name() {
        let rejected = Exclude::new(&["[b-a]".into()]).unwrap_err();
        assert!(format!("{rejected:#}").contains("\"[b-a]\""), "{rejected:#}");
    }
}
