//! Lines and keys in the text of a configuration.

use std::ops::Range;

/// The known location of a mistake.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Location {
    /// The line, from 1.
    pub line: Option<usize>,
    /// The key, with its table before a dot.
    pub key: Option<String>,
}

impl Location {
    /// Returns the location of a syntax error at `span`, with the key if the line begins with one.
    pub fn of_syntax_error(text: &str, span: Option<Range<usize>>) -> Self {
        match span {
            Some(span) => Self {
                line: Some(line_at(text.as_bytes(), span.start)),
                key: key_on_line(text, span.start),
            },
            // The one error for which toml gives no span is a key of too many parts.
            None => Self {
                line: most_dotted_line(text),
                key: None,
            },
        }
    }
}

/// Returns the line of the byte at `offset`, from 1.
pub fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

/// Returns the key as errors name it. The table `""` is the top.
pub fn dotted(table: &str, key: &str) -> String {
    match table {
        "" => key.to_string(),
        table => format!("{table}.{key}"),
    }
}

/// Returns the table or key of a line that is not TOML, if it is recognizable.
fn key_on_line(text: &str, offset: usize) -> Option<String> {
    let start = text.get(..offset)?.rfind('\n').map_or(0, |newline| newline + 1);
    let line = unindented(text[start..].lines().next()?);
    if let Some(table) = line.strip_prefix('[') {
        return Some(leading_key(table.trim_start_matches(['[', ' ', '\t'])))
            .filter(|table| !table.is_empty());
    }
    let key = match leading_key(line) {
        key if key.is_empty() => line.split_once('=')?.0.trim().trim_matches(['"', '\'']).into(),
        key => key,
    };
    if key.is_empty() {
        return None;
    }
    let mut above = text[..start].lines().rev();
    let table = above.find_map(|line| {
        let header = unindented(line)
            .strip_prefix('[')?
            .trim_start_matches(['[', ' ', '\t']);
        let table = leading_key(header);
        let rest = header[table.len()..].trim_start();
        rest.starts_with(']').then_some(table)
    });
    Some(dotted(&table.unwrap_or_default(), &key))
}

/// Returns the line without the blanks at its start, and without a byte order mark.
fn unindented(line: &str) -> &str {
    line.trim_start_matches(|character: char| character.is_whitespace() || character == '\u{feff}')
}

/// Returns the key at the start of a line, if it is written as usual: no quotes, no blanks, a letter first.
fn leading_key(line: &str) -> String {
    let in_key = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    let end = line.find(|character| !in_key(character)).unwrap_or(line.len());
    let key = &line[..end];
    match key.starts_with(|first: char| first.is_ascii_alphabetic()) {
        true => key.to_string(),
        false => String::new(),
    }
}

fn most_dotted_line(text: &str) -> Option<usize> {
    let dots = |line: &str| line.matches('.').count();
    // The first of several: `max_by_key` alone would return the last.
    let lines = text.lines().zip(1..).collect::<Vec<_>>();
    let (_, number) = lines.into_iter().rev().max_by_key(|(line, _)| dots(line))?;
    Some(number)
}
