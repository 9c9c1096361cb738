//! The parsed text of a configuration, in which keys can be located.

use serde_path_to_error::Segment;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::error::Mistake;
use super::hints::hint;
use super::location::{Location, dotted, line_at};
use super::schema::Config;

/// The tables besides those of the collectors.
const TABLES: [&str; 2] = ["carbon", "host"];

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
                // The parser describes what it expected at a character, which rarely is what the user meant.
                let reason = hint(text, &location).unwrap_or_else(|| on_one_line(error.message()));
                Err(Mistake { location, reason })
            }
        }
    }

    /// Returns the values. Each is checked alone; `rules` checks combinations.
    pub fn config(&self) -> Result<Config, Mistake> {
        self.check_types()?;
        let deserializer = Deserializer::from(self.root.clone());
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let location = self.locate(error.path().iter()).unwrap_or_default();
            let mut reason = on_one_line(error.inner().message());
            if let Some(hint) = hint(self.text, &location) {
                reason += &format!("; {hint}");
            }
            Mistake { location, reason }
        })
    }

    /// Returns the location of `table.key`, or of one element of its array; `None` if it is not set. The table `""` is
    /// the top.
    pub fn location_of(&self, table: &str, key: &str, index: Option<usize>) -> Option<Location> {
        let map = |key: &str| Segment::Map { key: key.into() };
        let path = Some(table)
            .filter(|table| !table.is_empty())
            .map(map)
            .into_iter()
            .chain([map(key)])
            .chain(index.map(|index| Segment::Seq { index }));
        self.locate(path.collect::<Vec<_>>().iter())
    }

    /// Rejects types that serde would accept or report as another type: arrays for tables, and dates, reported as maps.
    fn check_types(&self) -> Result<(), Mistake> {
        let reject = |path: &[&str], found: &DeValue, expected: &str| {
            let map = |key: &&str| Segment::Map { key: key.to_string() };
            let path = path.iter().map(map).collect::<Vec<_>>();
            Err(Mistake {
                location: self.locate(path.iter()).unwrap_or_default(),
                reason: format!("invalid type: {}, {expected}", found.type_str()),
            })
        };
        // serde would accept an array of the values of the keys for a table.
        let collectors = Config::default().collectors();
        let is_table = |name| TABLES.contains(&name) || collectors.iter().any(|table| table.name == name);
        for (name, value) in self.root.get_ref() {
            let (name, value): (&str, _) = (name.get_ref(), value.get_ref());
            if is_table(name) && !value.is_table() {
                return reject(&[name], value, "expected a table");
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

fn on_one_line(message: &str) -> String {
    message.trim_end().replace('\n', ", ")
}
