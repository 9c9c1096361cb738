//! Hints for mistakes that are usual in a TOML file: missing quotes, `yes`, a missing unit, a misspelled or misplaced key.

use super::location::{Location, dotted};
use super::schema::Config;
use super::settings::Setting;
use crate::duration;

/// A longer value is not repeated in a hint.
const MAX_VALUE_BYTES: usize = 60;
/// From this similarity on, from 0 to 1, a key is taken for a misspelled one.
const SIMILAR: f64 = 0.85;

/// Quotes that word processors write in place of those of TOML.
const CURLY_QUOTES: &str = "“”„‟‘’‚«»″";

/// Returns a hint for the mistake at `location` in `text`, if the text or the type of a value is wrong.
pub fn hint(text: &str, location: &Location) -> Option<String> {
    let line = location
        .line
        .and_then(|line| text.split('\n').nth(line.checked_sub(1)?));
    let settings = Config::default().settings();
    let Some(name) = location.key.as_deref() else {
        let starts_with = |mark| line.is_some_and(|line| line.trim_start().starts_with(mark));
        let is_comment = starts_with(";") || starts_with("//");
        return is_comment.then(|| "comments begin with #".into());
    };
    let Some(setting) = settings.iter().find(|setting| setting.name() == name) else {
        return unknown(name, &settings);
    };
    let is_blank = |character: &char| character.is_whitespace() && !character.is_ascii();
    if let Some(blank) = line?
        .chars()
        .take_while(|character| *character != '#')
        .find(is_blank)
    {
        return Some(format!("replace {} with a space", blank.escape_unicode()));
    }
    let (is_assigned, value) = match (line?.split_once('='), line?.split_once([':', ' ', '\t'])) {
        (Some((_, value)), _) => (true, value),
        (None, Some((_, value))) => (false, value),
        (None, None) => return None,
    };
    value_hint(setting, &Written::parse(value)?, is_assigned)
}

/// Returns the default as an example of a value, if `location` is that of a key.
pub fn example(location: &Location) -> Option<String> {
    let name = location.key.as_deref()?;
    let settings = Config::default().settings();
    let setting = settings.iter().find(|setting| setting.name() == name)?;
    let value = setting.value.as_deref().unwrap_or("\"/absolute/path\"");
    Some(format!("example: {} = {value}", setting.key))
}

/// Returns a hint for a key or table that does not exist.
fn unknown(name: &str, settings: &[Setting]) -> Option<String> {
    let (table, key) = name.rsplit_once('.').unwrap_or(("", name));
    if settings.iter().any(|setting| setting.table == name) {
        return Some(format!("write [{name}] on its own line"));
    }
    if settings.iter().any(|setting| setting.table == key) {
        return Some(format!("the table is [{key}]"));
    }
    let mut tables: Vec<_> = settings
        .iter()
        .filter(|setting| setting.key == key)
        .map(|setting| setting.table.as_str())
        .collect();
    if tables == [""] {
        return Some(format!("{key} must be above the first [table]"));
    }
    if let Some(last) = tables.pop() {
        let others: String = tables.iter().map(|table| format!("[{table}] or ")).collect();
        return Some(format!("{key} belongs below {others}[{last}]"));
    }
    let siblings = settings.iter().filter(|setting| setting.table == table);
    let names = siblings.map(|setting| &setting.key);
    let tables = settings.iter().map(|setting| &setting.table);
    let similarity = |name: &str| strsim::jaro_winkler(name, &key.to_lowercase());
    names
        .chain(tables.filter(|_| table.is_empty()))
        .map(|name| (similarity(name), name))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, nearest)| format!("did you mean {}?", dotted(table, nearest)))
}

/// The value on a line, without its quotes.
struct Written<'t> {
    text: &'t str,
    is_quoted: bool,
    is_curly: bool,
}

impl<'t> Written<'t> {
    /// Returns `None` if the value is more than one short word.
    fn parse(value: &'t str) -> Option<Self> {
        let value = value.trim();
        let quote = value.chars().next().filter(|first| "\"'".contains(*first));
        let inner = value.strip_prefix(quote.unwrap_or('\0')).unwrap_or(value);
        let end = inner.find(quote.unwrap_or('#'));
        let (text, rest) = inner.split_at(end.unwrap_or(inner.len()));
        let rest = rest.trim_start_matches(quote.unwrap_or('#')).trim();
        if quote.is_some() && !rest.is_empty() && !rest.starts_with('#') {
            return None;
        }
        let is_quote = |character| "\"'".contains(character) || CURLY_QUOTES.contains(character);
        let is_curly = text.contains(|character| CURLY_QUOTES.contains(character));
        let text = text.trim().trim_matches(is_quote);
        let in_word = |character: char| character.is_ascii_alphanumeric() || " ._-/:%*+".contains(character);
        let is_word = !text.is_empty() && text.len() <= MAX_VALUE_BYTES && text.chars().all(in_word);
        is_word.then_some(Self {
            text,
            is_quoted: quote.is_some() && end.is_some(),
            is_curly,
        })
    }
}

/// Returns how to write the value of a key, if its type is clear and it was written in another way.
fn value_hint(setting: &Setting, written: &Written, is_assigned: bool) -> Option<String> {
    let text = written.text;
    // The two keys without a fixed default are paths.
    let default = setting.value.as_deref().unwrap_or("\"\"");
    let is_duration = |text: &str| duration::parse(text).is_ok();
    let quotes = match written.is_curly {
        true => "with straight quotes",
        false => "with quotes",
    };
    let (value, how) = match default.as_bytes() {
        [b't' | b'f', ..] => match text.to_lowercase().as_str() {
            "yes" | "on" | "true" | "1" => ("true".to_string(), "without quotes"),
            "no" | "off" | "false" | "0" => ("false".to_string(), "without quotes"),
            _ => return None,
        },
        [b'0'..=b'9', ..] => {
            let number = text.trim_end_matches('%').parse::<u32>().ok()?;
            (number.to_string(), "without quotes")
        }
        [b'[', ..] => (format!("[\"{text}\"]"), "in brackets"),
        _ if is_duration(default.trim_matches('"')) && !is_duration(text) => {
            (format!("\"{text}s\""), "with a unit (s, m, h) and quotes")
        }
        _ if is_valid(setting, &format!("\"{text}\"")) => (format!("\"{text}\""), quotes),
        _ => (
            format!("\"{}\"", text.to_lowercase()),
            "in lower case and with quotes",
        ),
    };
    let how = if is_assigned { how } else { "with =" };
    let is_other =
        !is_assigned || value.trim_matches('"') != text || written.is_quoted != value.starts_with('"');
    (is_other && is_valid(setting, &value)).then(|| format!("write {} = {value}, {how}", setting.key))
}

/// Returns whether the key accepts the value, which is written as in TOML.
fn is_valid(setting: &Setting, value: &str) -> bool {
    toml::from_str::<Config>(&format!("{} = {value}", setting.name())).is_ok()
}
