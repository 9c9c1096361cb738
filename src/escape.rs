//! Escapes text from other sources (names in the whisper tree, error messages of libraries) for one line of a log or
//! terminal.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Limits of [`display_path`] for the start and the end of a path.
const START_BYTES: usize = 160;
const END_BYTES: usize = 320;

/// Returns the text on one line. Control characters, zero-width characters and marks that change the direction of
/// writing are escaped: they could move the cursor or hide text.
pub fn escape(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if is_printable(character) {
            line.push(character);
        } else {
            line.extend(character.escape_default());
        }
    }
    line
}

/// Returns at most `max_bytes` of the text. A text that is longer ends with `…`.
pub fn truncate(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(max_bytes)])
}

/// Returns the path in quotes. The middle of a long path is omitted: a path can have thousands of names.
pub fn display_path(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() <= START_BYTES + END_BYTES {
        return format!("{path:?}");
    }
    let part = |bytes| OsStr::from_bytes(bytes);
    let (start, end) = (&bytes[..START_BYTES], &bytes[bytes.len() - END_BYTES..]);
    let omitted_bytes = bytes.len() - START_BYTES - END_BYTES;
    format!("{:?} ({omitted_bytes} bytes) {:?}", part(start), part(end))
}

/// Returns whether the character prints and does not change how its neighbours are printed. Line separators,
/// zero-width characters and marks of writing direction do not.
pub fn is_printable(character: char) -> bool {
    let acts_on_others = matches!(character,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !character.is_control() && !acts_on_others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_escaped() {
        assert_eq!(escape("a\nb\x1b[2J\u{9b}m"), "a\\nb\\u{1b}[2J\\u{9b}m");
        assert_eq!(
            escape("x\u{202e}y\u{2066}z\u{2028}"),
            "x\\u{202e}y\\u{2066}z\\u{2028}"
        );
        assert_eq!(escape("zażółć 目 \"…\""), "zażółć 目 \"…\"");
    }

    #[test]
    fn text_is_truncated_between_characters() {
        assert_eq!(truncate("目目目", 9), "目目目");
        assert_eq!(truncate("目目目", 8), "目目…");
        assert_eq!(truncate("目", 0), "…");
    }

    #[test]
    fn middle_of_long_path_is_omitted() {
        let long = format!("/start/{}/end", "x".repeat(10_000));
        let shown = display_path(Path::new(&long));
        assert!(
            shown.starts_with("\"/start/x") && shown.ends_with("x/end\""),
            "{shown}"
        );
        assert!(shown.len() < 600 && shown.contains("(9531 bytes)"), "{shown}");
        assert_eq!(display_path(Path::new("/a b")), "\"/a b\"");
    }
}
