//! The entries that the count skips: gitignore patterns, relative to the whisper directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Compiled patterns. As with git, a `!` pattern cannot include anything below an excluded directory.
#[derive(Debug)]
pub struct Exclude {
    matcher: Gitignore,
    /// Whether a pattern can match a file: `directory/` cannot.
    may_match_files: bool,
    /// Whether all patterns are of the kind `/name`, which only direct entries of the whisper directory match.
    only_at_top: bool,
}

impl Exclude {
    /// Compiles `patterns`. Fails at the first one that is not a valid gitignore pattern.
    pub fn new(patterns: &[String]) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            builder
                .add_line(None, &escape_braces(pattern))
                .with_context(|| format!("invalid gitignore pattern {pattern:?}"))?;
        }
        let matcher = builder.build().context("compiling the exclude patterns")?;
        let may_match_files = patterns.iter().any(|pattern| !pattern.trim_end().ends_with('/'));
        let only_at_top = patterns.iter().all(|pattern| is_name_at_top(pattern));
        Ok(Self {
            matcher,
            may_match_files,
            only_at_top,
        })
    }

    /// Returns whether the directory at `path`, relative to the whisper directory, is excluded with all below it.
    pub fn excludes_directory(&self, path: &[u8]) -> bool {
        self.matcher.matched(as_path(path), true).is_ignore()
    }

    /// Returns whether the file at `path`, relative to the whisper directory, is excluded.
    pub fn excludes_file(&self, path: &[u8]) -> bool {
        self.may_match_files && self.matcher.matched(as_path(path), false).is_ignore()
    }

    /// Returns whether entries of the whisper directory (`at_top`) or of those below it can be excluded. If not, their
    /// paths are not needed.
    pub fn may_match(&self, at_top: bool) -> bool {
        !self.matcher.is_empty() && (at_top || !self.only_at_top)
    }

    /// Returns whether files can be excluded, so that their paths are needed.
    pub fn may_match_files(&self) -> bool {
        self.may_match_files
    }
}

/// Returns whether a pattern is one name without wildcards, anchored to the whisper directory.
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

/// Returns the length of the members of a character class, which start `text`; 0 if it is not closed. Braces are literal
/// in it, and so is a `]` that comes first.
fn class_length(text: &str) -> usize {
    let start = text.len() - text.trim_start_matches(['!', '^']).len();
    let first = text[start..].chars().next().map_or(0, char::len_utf8);
    let end = text[start + first..].find(']');
    end.map_or(0, |end| start + first + end)
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
        assert!(anchored.excludes_directory(b"lost+found"));
        assert!(!anchored.excludes_directory(b"host/lost+found"));
        assert!(!anchored.excludes_file(b"lost+found"));
        let anywhere = exclude(&["tmp*", "!tmp-kept"]);
        assert!(anywhere.excludes_directory(b"host/tmp1"));
        assert!(!anywhere.excludes_directory(b"host/tmp-kept"));
        assert!(exclude(&["carbon/agents"]).excludes_directory(b"carbon/agents"));
        assert!(!exclude(&["carbon/agents"]).excludes_directory(b"host/carbon/agents"));
    }

    #[test]
    fn anchored_names_match_only_at_the_top() {
        assert!(!exclude(&[]).may_match(true));
        assert!(exclude(&["/lost+found/"]).may_match(true));
        assert!(!exclude(&["/lost+found/", "/a"]).may_match(false));
        for pattern in ["a", "a/", "/a/b", "/a/*", "/**", "/[!b]", "!/a", "/a\\/b"] {
            assert!(exclude(&["/lost+found/", pattern]).may_match(false), "{pattern}");
        }
    }

    #[test]
    fn files_and_names_that_are_not_utf8_match() {
        let files = exclude(&["*.old.wsp"]);
        assert!(files.excludes_file(b"host/x.old.wsp"));
        assert!(files.excludes_file(b"host/\xff.old.wsp"));
        assert!(!files.excludes_file(b"host/x.wsp"));
        let directories_too = exclude(&["*.old.wsp", "old/"]);
        assert!(directories_too.excludes_directory(b"old") && !directories_too.excludes_file(b"old"));
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
            ("[{]a", "{a", "\\a"),
            ("[{}]a", "}a", "\\a"),
            ("[é{]a", "{a", "\\a"),
            ("[]{}]a", "}a", "a"),
            ("[]{}]a", "}a", "\\a"),
            ("[!{]a", "xa", "{a"),
            ("\\[{a}", "[{a}", "[a"),
            ("{a[}", "{a[}", "a["),
        ] {
            let exclude = exclude(&[pattern]);
            assert!(exclude.excludes_file(matching.as_bytes()), "{pattern} {matching}");
            assert!(!exclude.excludes_file(other.as_bytes()), "{pattern} {other}");
        }
    }

    #[test]
    fn invalid_pattern_is_named_in_the_error() {
        let rejected = Exclude::new(&["[b-a]".into()]).unwrap_err();
        assert!(format!("{rejected:#}").contains("\"[b-a]\""), "{rejected:#}");
    }
}
