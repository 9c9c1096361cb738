//! Hints for mistakes that are usual in a TOML file: missing quotes, `yes`, a missing unit, a misspelled or misplaced key.

use super::location::{Location, dotted};
use super::schema::Config;
use super::settings::Setting;

/// A longer value is not repeated in a hint.
const MAX_VALUE_BYTES: usize = 60;
/// From this similarity on, from 0 to 1, a key is taken for a misspelled one.
const SIMILAR: f64 = 0.85;

/// Returns a hint for the mistake at `location` in `text`.
pub fn hint(text: &str, location: &Location) -> Option<String> {
    let name = location.key.as_deref()?;
    let settings = Config::default().settings();
    match settings.iter().find(|setting| setting.name() == name) {
        None => unknown(name, &settings),
        Some(setting) => {
            let line = text.split('\n').nth(location.line?.checked_sub(1)?)?;
            let (_, value) = line.split_once('=').or_else(|| line.split_once(':'))?;
            value_hint(setting, Written::parse(value)?)
        }
    }
}

/// Returns a hint for a key or table that does not exist.
fn unknown(name: &str, settings: &[Setting]) -> Option<String> {
    let (table, key) = name.rsplit_once('.').unwrap_or(("", name));
    if settings.iter().any(|setting| setting.table == name) {
        return None;
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
}

impl<'t> Written<'t> {
    /// Returns `None` if the value is more than one short word.
    fn parse(value: &'t str) -> Option<Self> {
        let value = value.trim();
        let quote = value.chars().next().filter(|first| "\"'".contains(*first));
        let inner = value.strip_prefix(quote.unwrap_or('\0')).unwrap_or(value);
        let end = inner.find(quote.unwrap_or('#'));
        let text = inner[..end.unwrap_or(inner.len())].trim();
        let in_word = |character: char| character.is_ascii_alphanumeric() || " ._-/:%*".contains(character);
        let is_word = !text.is_empty() && text.len() <= MAX_VALUE_BYTES && text.chars().all(in_word);
        is_word.then_some(Self {
            text,
            is_quoted: quote.is_some() && end.is_some(),
        })
    }
}

/// Returns how to write the value of a key, if its type is clear and another one was written.
fn value_hint(setting: &Setting, written: Written) -> Option<String> {
    let text = written.text;
    // The two keys without a fixed default are paths.
    let default = setting.value.as_deref().unwrap_or("\"\"");
    let is_duration = |text: &str| humantime::parse_duration(text).is_ok();
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
            let seconds = format!("{text}s");
            let how = "with a unit (s, m, h) and quotes";
            (
                format!("{:?}", Some(seconds).filter(|text| is_duration(text))?),
                how,
            )
        }
        _ if !written.is_quoted => (format!("\"{text}\""), "with quotes"),
        _ => return None,
    };
    (value != text || written.is_quoted).then(|| format!("write {} = {value}, {how}", setting.key))
}
