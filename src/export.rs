//! Exports: published values in the format of a template.
//!
//! A template is compiled each time that it is rendered, so nothing is kept between two renderings, and a daemon without
//! exports has no template engine in its memory.

pub mod collision;
pub mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use minijinja::Value;

use crate::report::{Report, Rounded};
use crate::version::VERSION;

/// Largest rendered text.
const MAX_OUTPUT_BYTES: usize = 1 << 20;

/// The documents that templates see, and the last success of each collector.
#[derive(Debug, Default)]
pub struct Documents {
    documents: BTreeMap<String, Value>,
    collectors: BTreeMap<String, Value>,
}

impl Documents {
    /// Adds a document, or replaces it. It was collected within `duration`, unless it states its own.
    pub fn add(&mut self, collector: &str, report: &dyn Report, duration: Duration) {
        let duration = Rounded::microseconds(report.duration().unwrap_or(duration));
        let success = Value::from_pairs([
            ("last_success", Value::from(report.updated_at())),
            ("duration_seconds", Value::from(duration.get())),
        ]);
        let document = serde_json::from_str(&report.line()).expect("a document is JSON");
        self.documents.insert(collector.into(), document);
        self.collectors.insert(collector.into(), success);
    }

    /// Removes a document that does not apply any more. The last success stays.
    pub fn remove(&mut self, collector: &str) {
        self.documents.remove(collector);
    }

    /// Renders a template, which sees the documents of these collectors and `gatherer`.
    ///
    /// Fails if the template is wrong, uses something undefined, does too much, or if the text is too large.
    pub fn render(&self, template: &str, from: &[String]) -> Result<String> {
        let gatherer = [
            ("version", Value::from(VERSION)),
            ("collectors", Value::from_pairs(self.collectors.clone())),
        ];
        let documents = from.iter().filter_map(|name| self.documents.get_key_value(name));
        let documents = documents.map(|(name, document)| (name.as_str(), document.clone()));
        let context = documents.chain([("gatherer", Value::from_pairs(gatherer))]);
        let text = template::render(template, Value::from_pairs(context))?;
        match text.len() {
            ..=MAX_OUTPUT_BYTES => Ok(text),
            bytes => bail!("the text has {bytes} bytes, the limit is {MAX_OUTPUT_BYTES}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graphite::GraphiteReport;
    use crate::report::Seconds;

    fn render(template: &str) -> Result<String, String> {
        let report = GraphiteReport {
            schema: 1,
            updated_at: 1_795_352_700,
            interval_seconds: Seconds(Duration::from_secs(900)),
            hosts: 4,
            metrics: 6,
            unreadable: 0,
            scan_seconds: Rounded::new(0.105),
        };
        let mut documents = Documents::default();
        documents.add("graphite", &report, Duration::ZERO);
        let from = ["graphite", "vmware"].map(String::from);
        let rendered = documents.render(template, &from);
        rendered.map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn template_sees_documents_and_gatherer_and_nothing_else() {
        for (template, expected) in [
            ("{{ graphite.hosts }} {{ graphite.metrics }}\n", "4 6\n"),
            ("{{ graphite.scan_seconds|round(1) }}", "0.1"),
            ("{% if vmware %}\nyes\n{% endif %}\nno<&\n", "no<&\n"),
            ("{{ graphite.unreadable|default(0) }}", "0"),
            (
                "{% for key in gatherer %}{{ key }} {% endfor %}",
                "collectors version ",
            ),
            (
                "{{ graphite.keys()|first }} {{ graphite.values()|list|length }} {{ graphite.get('x') }} {{ graphite.get('y', 2) }} {% for a, b in graphite.items() %}{% if loop.first %}{{ a }}{% endif %}{% endfor %}",
                "hosts 6 None 2 hosts",
            ),
            (
                "{{ gatherer.collectors|tojson }}",
                r#"{"graphite": {"duration_seconds": 0.105, "last_success": 1795352700}}"#,
            ),
        ] {
            assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn wrong_or_endless_template_is_an_error_with_its_place() {
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
        for (template, expected) in [
            ("a\né {{ vmware.vcpus }}", "line 2, column 6: undefined value"),
            ("{{ vmware }}", "line 1, column 4: undefined value"),
            ("{{ graphite.host }}", "line 1, column 4: undefined value"),
            ("{% include '/etc/passwd' %}", "line 1, column 4: syntax error"),
            ("{% import 'x' as y %}", "line 1, column 4: syntax error"),
            (
                "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
                "engine ran out of fuel",
            ),
            ("{{ 'x' * 1000000000 }}", "engine ran out of fuel"),
            ("{{ namespace() }}", "line 1, column 4: unknown function"),
            ("{{ graphite.items(1) }}", "too many arguments"),
            (
                "{{ 'x' * 1048577 }}",
                "the text has 1048577 bytes, the limit is 1048576",
            ),
            (&deep, "syntax error"),
        ] {
            let error = render(template).unwrap_err();
            assert!(error.contains(expected), "{template:.90}: {error}");
        }
        assert_eq!(render("{{ 'x' * 1048576 }}").map(|text| text.len()), Ok(1 << 20));
    }
}
