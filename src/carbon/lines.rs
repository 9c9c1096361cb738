//! Converts a document to lines of carbon's plaintext protocol: `path value timestamp`.

use std::fmt::Write;

use crate::report::Report;

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

    const EXAMPLES: [(&str, &str); 3] = [
        (
            "graphite",
            r#"{"schema":1,"updated_at":7,"interval_seconds":9,"hosts":4,"metrics":1000000,"scan_seconds":0.105}"#,
        ),
        (
            "disks",
            r#"{"schema":1,"updated_at":7,"interval_seconds":9,"window_seconds":9,"whisper_disks":[],"disks":
            {"cciss/c0d0":{"util_percent":12.3,"reads_per_second":0,"writes_per_second":0,"read_bytes_per_second":0,
            "write_bytes_per_second":0,"read_await_ms":0.8,"write_await_ms":1.9,"queue_size":0}}}"#,
        ),
        (
            "vmware",
            r#"{"schema":1,"updated_at":7,"interval_seconds":9,"window_seconds":0,"is_vmware":true,
            "cpu_ready_percent":2.5,"cpu_ready_percent_per_vcpu":1.25,"vcpus":2,"error":null}"#,
        ),
    ];

    /// Returns the lines of an example of each collector.
    fn examples(prefix: &str) -> String {
        let of = |collector: &dyn Collector| {
            let example = EXAMPLES.iter().find(|(name, _)| *name == collector.name());
            let (name, json) = example.expect("each collector has an example");
            lines(prefix, name, &*collector.parse(json.as_bytes()).unwrap())
        };
        ALL.map(of).concat()
    }

    #[test]
    fn each_document_becomes_its_lines() {
        assert_eq!(
            examples("a.b"),
            "a.b.graphite.hosts 4 7\na.b.graphite.metrics 1000000 7\na.b.graphite.scan_seconds 0.105 7\n\
             a.b.disks.cciss_c0d0.util_percent 12.3 7\na.b.disks.cciss_c0d0.read_await_ms 0.8 7\n\
             a.b.disks.cciss_c0d0.write_await_ms 1.9 7\na.b.disks.cciss_c0d0.queue_size 0 7\n\
             a.b.vmware.cpu_ready_percent 2.5 7\na.b.vmware.cpu_ready_percent_per_vcpu 1.25 7\n"
        );
        let (_, unknown) = EXAMPLES[2];
        let unknown = VmwareCollector
            .parse(unknown.replace("1.25", "null").as_bytes())
            .unwrap();
        assert_eq!(
            lines("p", "vmware", &*unknown),
            "p.vmware.cpu_ready_percent 2.5 7\n"
        );
    }

    #[test]
    fn example_dashboard_shows_exactly_what_is_sent() {
        let sent = examples("$prefix").replace("cciss_c0d0", "*");
        let sent: BTreeSet<_> = sent.lines().map(|line| line.split(' ').next().unwrap()).collect();
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
                &path[..path.find([',', ')']).unwrap()]
            })
            .collect();
        assert_eq!(shown, sent);
    }

    #[test]
    fn names_are_safe_for_graphite() {
        assert_eq!(node("nvme0n1"), "nvme0n1");
        assert_eq!(node("a.b/c;d e\n{*é"), "a_b_c_d_e____");
        assert_eq!(node(".."), "__");
        assert_eq!(node(""), "_");
    }
}
