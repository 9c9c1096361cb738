//! From a document to lines of carbon's plaintext protocol: `path value timestamp`.

use std::fmt::{Display, Write};

use crate::report::{DisksReport, GraphiteReport, VmwareReport};

/// A document that was measured just now.
#[derive(Debug)]
pub enum Measured {
    /// A count of the whisper tree.
    Graphite(GraphiteReport),
    /// The activity of the disks.
    Disks(DisksReport),
    /// %ready.
    Vmware(VmwareReport),
}

/// The lines for a document, under `prefix`. Values that are not known are left out.
pub fn lines(prefix: &str, measured: &Measured) -> String {
    let mut lines = String::new();
    let mut line = |path: &str, value: &dyn Display, at: i64| {
        // Writing to a String can't fail.
        let _ = writeln!(lines, "{prefix}.{path} {value} {at}");
    };
    match measured {
        Measured::Graphite(report) => {
            line("graphite.hosts", &report.hosts, report.updated_at);
            line("graphite.metrics", &report.metrics, report.updated_at);
            line(
                "graphite.scan_seconds",
                &report.scan_seconds.get(),
                report.updated_at,
            );
        }
        Measured::Disks(report) => {
            for (name, disk) in &report.disks {
                let name = node(name);
                for (what, value) in [
                    ("util_percent", disk.util_percent),
                    ("read_await_ms", disk.read_await_ms),
                    ("write_await_ms", disk.write_await_ms),
                    ("queue_size", disk.queue_size),
                ] {
                    line(&format!("disks.{name}.{what}"), &value.get(), report.updated_at);
                }
            }
        }
        Measured::Vmware(report) => {
            for (what, value) in [
                ("cpu_ready_percent", report.cpu_ready_percent),
                ("cpu_ready_percent_per_vcpu", report.cpu_ready_percent_per_vcpu),
            ] {
                if let Some(value) = value {
                    line(&format!("vmware.{what}"), &value.get(), report.updated_at);
                }
            }
        }
    }
    lines
}

/// A name as one node of a Graphite path: whatever separates nodes, lines or tags, or is a file name's or a pattern's
/// special character, becomes `_`.
fn node(name: &str) -> String {
    let is_safe = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    let safe: String = name.chars().map(|c| if is_safe(c) { c } else { '_' }).collect();
    if safe.is_empty() { "_".into() } else { safe }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_document_becomes_its_lines() {
        let report = |text: &str| serde_json::from_str(text).unwrap();
        let count = report(
            r#"{"schema":1,"updated_at":7,"interval_seconds":9,"hosts":4,"metrics":1000000,"scan_seconds":0.105}"#,
        );
        assert_eq!(
            lines("a.b", &Measured::Graphite(count)),
            "a.b.graphite.hosts 4 7\na.b.graphite.metrics 1000000 7\na.b.graphite.scan_seconds 0.105 7\n"
        );
        let ready = r#"{"schema":1,"updated_at":7,"interval_seconds":9,"window_seconds":0,"is_vmware":true,
            "cpu_ready_percent":2.5,"cpu_ready_percent_per_vcpu":null,"vcpus":null,"error":null}"#;
        let ready = serde_json::from_str(ready).unwrap();
        assert_eq!(
            lines("p", &Measured::Vmware(ready)),
            "p.vmware.cpu_ready_percent 2.5 7\n"
        );
        let disks = r#"{"schema":1,"updated_at":7,"interval_seconds":9,"window_seconds":9,"whisper_disks":[],"disks":
            {"cciss/c0d0":{"util_percent":12.3,"reads_per_second":0,"writes_per_second":0,"read_bytes_per_second":0,
            "write_bytes_per_second":0,"read_await_ms":0.8,"write_await_ms":1.9,"queue_size":0}}}"#;
        let disks = serde_json::from_str(disks).unwrap();
        assert_eq!(
            lines("p", &Measured::Disks(disks)),
            "p.disks.cciss_c0d0.util_percent 12.3 7\np.disks.cciss_c0d0.read_await_ms 0.8 7\n\
             p.disks.cciss_c0d0.write_await_ms 1.9 7\np.disks.cciss_c0d0.queue_size 0 7\n"
        );
    }

    /// Whoever loads the dashboard sees every figure, and no panel asks for one that is never sent.
    #[test]
    fn the_example_dashboard_shows_what_is_sent() {
        let count =
            r#"{"schema":1,"updated_at":7,"interval_seconds":9,"hosts":4,"metrics":1,"scan_seconds":1}"#;
        let disks = r#"{"schema":1,"updated_at":7,"interval_seconds":9,"window_seconds":9,"whisper_disks":[],"disks":
            {"DISK":{"util_percent":0,"reads_per_second":0,"writes_per_second":0,"read_bytes_per_second":0,
            "write_bytes_per_second":0,"read_await_ms":0,"write_await_ms":0,"queue_size":0}}}"#;
        let ready = r#"{"schema":1,"updated_at":7,"interval_seconds":9,"window_seconds":9,"is_vmware":true,
            "cpu_ready_percent":1,"cpu_ready_percent_per_vcpu":1,"vcpus":1,"error":null}"#;
        let sent = [
            Measured::Graphite(serde_json::from_str(count).unwrap()),
            Measured::Disks(serde_json::from_str(disks).unwrap()),
            Measured::Vmware(serde_json::from_str(ready).unwrap()),
        ]
        .map(|measured| lines("$prefix", &measured))
        .concat()
        .replace("DISK", "*");
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
