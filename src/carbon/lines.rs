//! Converts a document to lines of carbon's plaintext protocol: `path value timestamp`.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::config::HOSTNAME;
use crate::report::Report;
use crate::{escape, kernel};

/// The kernel limits the name to 64 bytes.
const MAX_HOST_NAME_BYTES: u64 = 256;

/// Returns the lines for a document of `collector`, below `prefix`. Unknown values are omitted.
pub fn lines(prefix: &str, collector: &str, report: &dyn Report) -> String {
    let mut lines = String::new();
    let at = report.updated_at();
    for (nodes, value) in report.values() {
        let path = nodes.into_iter().map(node).collect::<Vec<_>>().join(".");
        // Writing to a String can't fail.
        let _ = writeln!(lines, "{prefix}.{collector}.{path} {value} {at}");
    }
    lines
}

/// Returns `prefix` with the name of the machine, as one node, for each [`HOSTNAME`].
///
/// The kernel has the name, so nothing is looked up. Fails if `prefix` has a [`HOSTNAME`] and there is no name.
pub fn expand_hostname(prefix: &str, proc: &Path) -> Result<String> {
    if !prefix.contains(HOSTNAME) {
        return Ok(prefix.into());
    }
    let path = proc.join("sys/kernel/hostname");
    let reading = || format!("reading the host name from {}", escape::display_path(&path));
    let name = kernel::read(&path, MAX_HOST_NAME_BYTES).with_context(reading)?;
    let name = String::from_utf8_lossy(&name);
    ensure!(!name.trim().is_empty(), "{}: it is empty", reading());
    Ok(prefix.replace(HOSTNAME, &node(name.trim())))
}

/// Returns a name as one node of a Graphite path. Characters that separate nodes, lines or tags, or are special in file
/// names and patterns, become `_`.
fn node(name: &str) -> String {
    let is_safe = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    let safe: String = name.chars().map(|c| if is_safe(c) { c } else { '_' }).collect();
    if safe.is_empty() { "_".into() } else { safe }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::collector::Collector;
    use crate::collectors::ALL;
    use crate::vmware::collector::VmwareCollector;

    #[test]
    fn each_document_becomes_its_lines() {
        for collector in ALL {
            let (name, (json, values)) = (collector.name(), collector.example());
            let report = collector.parse(json.as_bytes()).unwrap();
            let expected = values.iter().map(|value| format!("a.b.{name}.{value} 7\n"));
            assert_eq!(lines("a.b", name, &*report), expected.collect::<String>());
        }
    }

    #[test]
    fn unknown_value_has_no_line() {
        let json = VmwareCollector.example().0.replace("1.25", "null");
        let report = VmwareCollector.parse(json.as_bytes()).unwrap();
        assert_eq!(
            lines("p", "vmware", &*report),
            "p.vmware.cpu_ready_percent 2.5 7\n"
        );
    }

    #[test]
    fn example_dashboard_shows_exactly_what_is_sent() {
        let path = |name: &str, value: &str| {
            let (path, _) = value.split_once(' ').unwrap();
            format!("$prefix.$server.{name}.{}", path.replace("cciss_c0d0", "*"))
        };
        let sent = ALL.map(|one| one.example().1.iter().map(|value| path(one.name(), value)));
        let sent: BTreeSet<_> = sent.into_iter().flatten().collect();
        let dashboard = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/docs/examples/grafana-dashboard.json"
        );
        let dashboard = std::fs::read_to_string(dashboard).unwrap();
        let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let targets = panels
            .iter()
            .flat_map(|panel| panel["targets"].as_array().unwrap());
        let shown: BTreeSet<_> = targets
            .map(|target| {
                let target = target["target"].as_str().unwrap();
                let path = &target[target.find('$').unwrap()..];
                path[..path.find([',', ')']).unwrap()].to_string()
            })
            .collect();
        assert_eq!(shown, sent);
    }

    #[test]
    fn hostname_is_one_node_of_the_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("sys/kernel");
        std::fs::create_dir_all(&folder).unwrap();
        let expand = |prefix| expand_hostname(prefix, dir.path()).map_err(|error| format!("{error:#}"));
        assert_eq!(expand("a.b"), Ok("a.b".into()));
        assert!(
            expand("a.{hostname}")
                .unwrap_err()
                .contains("/hostname\": No such file")
        );
        std::fs::write(folder.join("hostname"), "\n").unwrap();
        assert!(
            expand("a.{hostname}")
                .unwrap_err()
                .ends_with("/hostname\": it is empty")
        );
        std::fs::write(folder.join("hostname"), "web-1.example.com\n").unwrap();
        assert_eq!(
            expand("a.x-{hostname}.{hostname}"),
            Ok("a.x-web-1_example_com.web-1_example_com".into())
        );
    }

    #[test]
    fn names_are_safe_for_graphite() {
        assert_eq!(node("nvme0n1"), "nvme0n1");
        assert_eq!(node("a.b/c;d e\n{*é"), "a_b_c_d_e____");
        assert_eq!(node(".."), "__");
        assert_eq!(node(""), "_");
    }
}
