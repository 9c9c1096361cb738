//! gatherer.toml(5), made of the shipped configuration file: a section for each table, an entry for each key.

use roff::{Roff, bold, italic, roman};

/// The shipped configuration file: every key is commented out and has its default value.
const SHIPPED: &str = include_str!("../../etc/shinken-gatherer/gatherer.toml");

/// Returns the setting of a line `#key = value`. Comments have a space after the `#`.
fn setting(line: &str) -> Option<&str> {
    line.strip_prefix('#')
        .filter(|rest| rest.starts_with(|letter: char| letter.is_ascii_lowercase()))
}

/// Returns the header of a table. Tables that do not exist by default are commented out.
fn header(line: &str) -> Option<&str> {
    let header = line.strip_prefix('#').unwrap_or(line);
    header.starts_with('[').then_some(header)
}

/// Returns the page, in roff.
pub fn page() -> String {
    let mut page = Roff::new();
    page.control("TH", ["gatherer.toml", "5"]);
    page.control("SH", ["NAME"]);
    page.text([roman("gatherer.toml - the configuration of shinken-gatherer")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold("/etc/shinken-gatherer/gatherer.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    let mut comment = String::new();
    for line in SHIPPED.lines() {
        if let Some(setting) = setting(line) {
            let (key, default) = setting.split_once(" = ").unwrap_or((setting, ""));
            page.control("TP", []);
            page.text([bold(key), roman(" = "), italic(default)]);
            page.text([roman(std::mem::take(&mut comment))]);
        } else if let Some(text) = line.strip_prefix("# ") {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(text);
        } else if let Some(header) = header(line) {
            page.control("SH", [header]);
            page.text([roman(std::mem::take(&mut comment))]);
        } else if !comment.is_empty() {
            // The comment at the top of the file ends with an empty line instead of a key.
            page.text([roman(std::mem::take(&mut comment))]);
            page.control("SH", ["KEYS BEFORE ANY TABLE"]);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("shinken-gatherer"), roman("(8)")]);
    page.render()
}
