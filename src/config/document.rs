//! The parsed text of a configuration, in which keys can be located.

use serde_path_to_error::Segment;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::error::Mistake;
use super::hints::{example, hint};
use super::location::{Location, dotted, line_at};
use super::schema::Config;

/// The tables besides those of the collectors.
const TABLES: [&str; 2] = ["carbon", "host"];
/// The array of tables.
const EXPORT: &str = "export";

/// A text and the table that it was parsed to.
pub struct Document<'t> {
    text: &'t str,
    root: Spanned<DeTable<'t>>,
}

impl<'t> Document<'t> {
    /// Parses the text. Returns an error if it is not TOML.
    pub fn parse(text: &'t str) -> Result<Self, Mistake> {
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { text, root }),
            Err(error) => {
                let location = Location::of_syntax_error(text, error.span());
                Err(Mistake {
                    reason: syntax_reason(error.message(), text, &location),
                    location,
                })
            }
        }
    }

    /// Returns the values. Each is checked alone; `rules` checks combinations.
    pub fn config(&self) -> Result<Config, Mistake> {
        self.check_types()?;
        let deserializer = Deserializer::from(self.root.clone());
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let location = self.locate(error.path().iter()).unwrap_or_default();
            let message = on_one_line(error.inner().message());
            let reason = match message.strip_prefix("unknown field ") {
                Some(rest) => format!("unknown key {rest}"),
                None => message,
            };
            self.with_hint(location, reason)
        })
    }

    /// Returns the location of `table.key`, or of one element of its array; `None` if it is not set. The table `""` is
    /// the top. The index of `export` is that of the table.
    pub fn location_of(&self, table: &str, key: &str, index: Option<usize>) -> Option<Location> {
        let map = |key: &str| Segment::Map { key: key.into() };
        let index = index.map(|index| Segment::Seq { index });
        let (index_of_table, index_of_value) = match table {
            EXPORT => (index, None),
            _ => (None, index),
        };
        let path = Some(table)
            .filter(|table| !table.is_empty())
            .map(map)
            .into_iter()
            .chain(index_of_table)
            .chain([map(key)])
            .chain(index_of_value);
        self.locate(path.collect::<Vec<_>>().iter())
    }

    /// Rejects types that serde would accept or report as another type: arrays for tables, and dates, reported as maps.
    fn check_types(&self) -> Result<(), Mistake> {
        let reject = |path: &[&str], found: &DeValue, expected: &str| {
            let map = |key: &&str| Segment::Map { key: key.to_string() };
            let path = path.iter().map(map).collect::<Vec<_>>();
            let location = self.locate(path.iter()).unwrap_or_default();
            let reason = format!("invalid type: {}, {expected}", found.type_str());
            Err(self.with_hint(location, reason))
        };
        // serde would accept an array of the values of the keys for a table.
        let collectors = Config::default().collectors();
        let is_table = |name| TABLES.contains(&name) || collectors.iter().any(|table| table.name == name);
        for (name, value) in self.root.get_ref() {
            let (name, value): (&str, _) = (name.get_ref(), value.get_ref());
            if is_table(name) && !value.is_table() {
                return reject(&[name], value, "expected a table");
            }
            let are_tables = |array: &DeArray| array.iter().all(|element| element.get_ref().is_table());
            if name == EXPORT && !value.as_array().is_some_and(are_tables) {
                return reject(&[name], value, "expected tables [[export]]");
            }
            for (key, value) in value.as_table().into_iter().flatten() {
                if value.get_ref().is_datetime() {
                    return reject(&[name, key.get_ref()], value.get_ref(), "no key accepts one");
                }
            }
            if value.is_datetime() {
                return reject(&[name], value, "no key accepts one");
            }
        }
        Ok(())
    }

    /// Appends a hint, or an example if the type is wrong and no hint is known.
    fn with_hint(&self, location: Location, mut reason: String) -> Mistake {
        let example = || example(&location).filter(|_| reason.starts_with("invalid type"));
        if let Some(hint) = hint(self.text, &location).or_else(example) {
            reason += &format!("; {hint}");
        }
        Mistake { location, reason }
    }

    /// Returns the key and the line of the value at `path`, or of its last existing parent.
    fn locate<'p>(&self, path: impl Iterator<Item = &'p Segment>) -> Option<Location> {
        let mut table = Some(self.root.get_ref());
        let mut value: Option<&DeValue> = None;
        let mut location = None::<Location>;
        for segment in path {
            let (offset, found) = match segment {
                Segment::Map { key } => {
                    let (name, found) = table?.get_key_value(key.as_str())?;
                    let parent = location.as_ref().and_then(|location| location.key.as_deref());
                    let key = Some(dotted(parent.unwrap_or_default(), key));
                    location = Some(Location { line: None, key });
                    (name.span().start, found.get_ref())
                }
                Segment::Seq { index } => {
                    let element = value?.as_array()?.get(*index)?;
                    (element.span().start, element.get_ref())
                }
                _ => break,
            };
            table = found.as_table();
            value = Some(found);
            location.get_or_insert_default().line = Some(line_at(self.text.as_bytes(), offset));
        }
        location
    }
}

/// Returns the reason for a syntax error. The message of the parser is what it expected at a character, which rarely is
/// what the user meant.
fn syntax_reason(message: &str, text: &str, location: &Location) -> String {
    let message = on_one_line(message);
    if message.starts_with("duplicate") {
        return message;
    }
    let guesses = [
        "string values must be quoted",
        "invalid ",
        "missing opening quote",
    ];
    let is_guess = guesses.iter().any(|guess| message.starts_with(guess));
    hint(text, location).unwrap_or_else(|| match example(location) {
        Some(example) if is_guess => format!("invalid value; {example}"),
        Some(example) => format!("{message}; {example}"),
        None => message,
    })
}

fn on_one_line(message: &str) -> String {
    message.trim_end().replace('\n', ", ")
}
