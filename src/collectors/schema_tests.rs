//! The JSON Schemas in docs/schema are those of the documents, and compatible with those of the last release.

use std::fs;
use std::path::PathBuf;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Value, json};

use super::ALL;
use crate::collector::Collector;

/// Keys of a schema that do not decide which documents are valid.
const ANNOTATIONS: [&str; 4] = ["$id", "$schema", "description", "title"];

fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "docs/schema", name].iter().collect()
}

fn schema_of(collector: &dyn Collector) -> Value {
    let remove_format = |schema: &mut Schema| drop(schema.remove("format"));
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(RecursiveTransform(remove_format));
    let mut schema = collector.schema(settings.into_generator());
    schema.insert(
        "title".into(),
        json!(format!("{} of shinken-gatherer", collector.name())),
    );
    schema.into()
}

/// Returns the first difference that makes `new` reject, or no longer describe, a document of `old`.
fn incompatibility(path: &str, old: &Value, new: &Value) -> Option<String> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => old.iter().find_map(|(key, old)| {
            let path = format!("{path}/{key}");
            match new.get(key) {
                _ if ANNOTATIONS.contains(&key.as_str()) && !path.ends_with(&format!("properties/{key}")) => {
                    None
                }
                None => Some(format!("{path} was removed")),
                Some(new) if key == "required" => {
                    let (old, new) = (old.as_array()?, new.as_array()?);
                    let missing = old.iter().find(|name| !new.contains(name))?;
                    Some(format!("{path}: {missing} is optional now"))
                }
                Some(new) => incompatibility(&path, old, new),
            }
        }),
        _ => (old != new).then(|| format!("{path} was {old}, is {new}")),
    }
}

/// With GATHERER_WRITE_SCHEMAS, writes the files instead.
#[test]
fn schemas_in_docs_are_those_of_the_documents() {
    for collector in ALL {
        let file = folder(&format!("{}.json", collector.name()));
        let text = serde_json::to_string_pretty(&schema_of(collector)).unwrap() + "\n";
        if std::env::var_os("GATHERER_WRITE_SCHEMAS").is_some() {
            fs::write(&file, &text).unwrap();
        }
        let found = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            found == text,
            "{} is out of date: run this test with GATHERER_WRITE_SCHEMAS=1",
            file.display()
        );
    }
}

#[test]
fn released_fields_keep_name_type_and_presence() {
    for entry in fs::read_dir(folder("released")).unwrap() {
        let path = entry.unwrap().path();
        let released = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let is_its =
            |collector: &&dyn Collector| path.file_stem().is_some_and(|stem| stem == collector.name());
        let collector = ALL.into_iter().find(is_its).expect("no collector was removed");
        let found = incompatibility(collector.name(), &released, &schema_of(collector));
        assert_eq!(found, None);
    }
}

#[test]
fn incompatible_schema_is_detected_and_added_field_is_not() {
    let old = json!({"type": "object", "required": ["a"], "properties":
        {"a": {"type": "integer", "description": "x"}, "description": {"type": "string"}}});
    let change = |pointer: &str, value: Value| {
        let mut new = old.clone();
        *new.pointer_mut(pointer).unwrap() = value;
        incompatibility("", &old, &new)
    };
    assert_eq!(change("/properties/a/description", json!("y")), None);
    assert_eq!(change("/required", json!(["a", "b"])), None);
    let mut more = old["properties"].clone();
    more["b"] = json!({"type": "string"});
    assert_eq!(change("/properties", more), None);
    for (pointer, value, reason) in [
        (
            "/properties/a/type",
            json!(["integer", "null"]),
            "/properties/a/type was \"integer\"",
        ),
        ("/properties", json!({"b": {}}), "/properties/a was removed"),
        ("/required", json!(["b"]), "/required: \"a\" is optional now"),
        (
            "/properties/description",
            json!({"type": "null"}),
            "/properties/description/type was",
        ),
    ] {
        let found = change(pointer, value).expect(reason);
        assert!(found.starts_with(reason), "{found}");
    }
}
