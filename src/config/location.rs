//! Where in the text of a configuration a mistake is: its line and its key.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::text::dotted;

/// The place of a mistake, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The line, from 1.
    pub line: Option<usize>,
    /// The key, with its table before a dot.
    pub key: Option<String>,
}

impl Place {
    /// Of a mistake in a text that is not TOML.
    pub fn of_syntax(text: &str, span: Option<Range<usize>>) -> Self {
        match span {
            Some(span) => Self {
                line: Some(line_at(text.as_bytes(), span.start)),
                key: key_on_line(text, span.start),
            },
            // The one mistake for which toml gives no place is a key of too many parts.
            None => Self {
                line: most_dotted_line(text),
                key: None,
            },
        }
    }

    /// Of the key or the value at `span`, in a text that is TOML.
    pub fn of_value(text: &str, span: Range<usize>) -> Self {
        Self {
            line: Some(line_at(text.as_bytes(), span.start)),
            key: find(text, span.start).map(|(key, _)| key),
        }
    }

    /// Of `table.key`, or of one element of its array; `None` where it is not set. The table `""` is the top.
    pub fn of_key(text: &str, table: &str, key: &str, index: Option<usize>) -> Option<Self> {
        let document = DeTable::parse(text).ok()?;
        let mut keys = document.get_ref();
        if !table.is_empty() {
            keys = keys.get(table)?.get_ref().as_table()?;
        }
        let value = keys.get(key)?;
        let elements = value.get_ref().as_array();
        let element = index.and_then(|index| elements?.get(index));
        Some(Self {
            line: Some(line_at(text.as_bytes(), element.unwrap_or(value).span().start)),
            key: Some(dotted(table, key)),
        })
    }
}

/// The line of the byte at `offset`, from 1.
pub fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

/// The type, in TOML's words, of the value at `offset`.
pub fn type_at(text: &str, offset: usize) -> Option<&'static str> {
    find(text, offset).map(|(_, found)| found)
}

/// The dotted key whose name or value is at `offset`, and the type of the value, or of its element that is there.
fn find(text: &str, offset: usize) -> Option<(String, &'static str)> {
    let document = DeTable::parse(text).ok()?;
    let covers = |span: Range<usize>| span.start == offset || span.contains(&offset);
    let type_of = |value: &Spanned<DeValue>| {
        let mut elements = value
            .get_ref()
            .as_array()
            .into_iter()
            .flat_map(|array| array.iter());
        let element = elements.find(|element| covers(element.span()));
        element.unwrap_or(value).get_ref().type_str()
    };
    for (name, value) in document.get_ref() {
        let top = || Some((name.get_ref().to_string(), type_of(value)));
        if covers(name.span()) {
            return top();
        }
        // Keys of a table may stand anywhere below its header, outside the span of the table itself.
        if let Some(table) = value.get_ref().as_table()
            && let Some((key, value)) = table
                .iter()
                .find(|(key, value)| covers(key.span()) || covers(value.span()))
        {
            return Some((dotted(name.get_ref(), key.get_ref()), type_of(value)));
        }
        if covers(value.span()) {
            return top();
        }
    }
    None
}

/// The table or key of a line that is not TOML, where it can be told.
fn key_on_line(text: &str, offset: usize) -> Option<String> {
    let start = text.get(..offset)?.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[start..].lines().next()?.trim_start();
    if let Some(table) = line.strip_prefix('[') {
        return Some(leading_key(table.trim_start_matches('['))).filter(|table| !table.is_empty());
    }
    let key = match (leading_key(line), line.split_once('=')) {
        (key, _) if !key.is_empty() => key,
        (_, Some((key, _))) => key.trim().to_string(),
        _ => return None,
    };
    let mut above = text[..start].lines().rev();
    let table = above.find_map(|line| {
        let header = line.trim().strip_prefix('[')?;
        let table = leading_key(header);
        header[table.len()..].starts_with(']').then_some(table)
    });
    Some(dotted(&table.unwrap_or_default(), &key)).filter(|key| !key.is_empty())
}

/// What a line begins with, if it is a key as people write them: no quotes, no blanks, a letter first.
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
    // The first of several: `max_by_key` alone would take the last.
    let lines = text.lines().zip(1..).collect::<Vec<_>>();
    let (_, number) = lines.into_iter().rev().max_by_key(|(line, _)| dots(line))?;
    Some(number)
}
