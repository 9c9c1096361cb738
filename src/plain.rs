//! Text that others chose the words of (names in the whisper tree, reasons of libraries), made fit for a line of a log
//! or of a terminal.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How much of a long path is shown: its start, and more of its end.
const START_BYTES: usize = 160;
const END_BYTES: usize = 320;

/// One line, without anything that moves a cursor, changes a colour, hides or turns round what stands beside it.
pub fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmless(character) {
            line.push(character);
        } else {
            line.extend(character.escape_default());
        }
    }
    line
}

/// The start of a text of more than so many bytes, and a sign that there is more.
pub fn short(text: &str, most_bytes: usize) -> String {
    if text.len() <= most_bytes {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(most_bytes)])
}

/// A path in quotes, with its middle left out where it is long: a name can have 255 bytes, a path thousands of names.
pub fn path(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() <= START_BYTES + END_BYTES {
        return format!("{path:?}");
    }
    let part = |bytes| OsStr::from_bytes(bytes);
    let (start, end) = (&bytes[..START_BYTES], &bytes[bytes.len() - END_BYTES..]);
    let left_out = bytes.len() - START_BYTES - END_BYTES;
    format!("{:?} ({left_out} bytes) {:?}", part(start), part(end))
}

/// Neither a control character, nor a separator of lines, nor one that only acts on others: zero widths, and the marks
/// that change the direction of writing.
pub fn is_harmless(character: char) -> bool {
    let acts_on_others = matches!(character,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !character.is_control() && !acts_on_others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_spelled_out() {
        assert_eq!(line("a\nb\x1b[2J\u{9b}m"), "a\\nb\\u{1b}[2J\\u{9b}m");
        assert_eq!(
            line("x\u{202e}y\u{2066}z\u{2028}"),
            "x\\u{202e}y\\u{2066}z\\u{2028}"
        );
        assert_eq!(line("zażółć 目 \"…\""), "zażółć 目 \"…\"");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(short("目目目", 9), "目目目");
        assert_eq!(short("目目目", 8), "目目…");
        assert_eq!(short("目", 0), "…");
    }

    #[test]
    fn long_paths_are_named_by_their_ends() {
        let long = format!("/start/{}/end", "x".repeat(10_000));
        let shown = path(Path::new(&long));
        assert!(
            shown.starts_with("\"/start/x") && shown.ends_with("x/end\""),
            "{shown}"
        );
        assert!(shown.len() < 600 && shown.contains("(9531 bytes)"), "{shown}");
        assert_eq!(path(Path::new("/a b")), "\"/a b\"");
    }
}
