//! Every key with its value, as the schema lists them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::location::dotted;
use super::schema::Config;

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The table; `""` is the top.
    pub table: String,
    /// The key in its table.
    pub key: String,
    /// The value in the syntax of TOML; `None` if it is chosen at run time.
    pub value: Option<String>,
}

impl Setting {
    /// Returns the key with its table before a dot.
    pub fn name(&self) -> String {
        dotted(&self.table, &self.key)
    }
}

impl Config {
    /// Returns every key in the order of the schema: those without a table first.
    pub fn settings(&self) -> Vec<Setting> {
        let json = serde_json::to_string(self).expect("the paths of a configuration are UTF-8");
        let mut settings = Vec::new();
        for (name, value) in Fields::parse(&json) {
            if value.get().starts_with('{') {
                let keys = Fields::parse(value.get()).into_iter();
                settings.extend(keys.map(|(key, value)| setting(&name, key, &value)));
            } else {
                settings.push(setting("", name, &value));
            }
        }
        settings
    }
}

/// Strings, numbers, booleans and arrays are the same in JSON and TOML.
fn setting(table: &str, key: String, value: &RawValue) -> Setting {
    let value = Some(value.get()).filter(|value| *value != "null");
    Setting {
        table: table.into(),
        key,
        value: value.map(String::from),
    }
}

/// The fields of a JSON object in their order.
struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    fn parse(json: &str) -> Vec<(String, Box<RawValue>)> {
        serde_json::from_str::<Self>(json).map_or_else(|_| Vec::new(), |fields| fields.0)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
