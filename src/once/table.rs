//! What `once` found, as a table for people.

use std::fmt::Write;
use std::path::Path;

use super::Gathered;
use crate::config::Config;
use crate::escape;
use crate::report::{DiskReport, DisksReport};

/// The names and units of `iostat -x`, which administrators know.
const COLUMNS: [&str; 8] = [
    "%util", "r/s", "w/s", "rkB/s", "wkB/s", "r_await", "w_await", "aqu-sz",
];

/// The whole table, a block for each collector.
pub fn table(gathered: &Gathered, config: &Config, whisper_dir: &Path) -> String {
    let graphite = match &gathered.graphite {
        Some(report) => {
            let unreadable = match report.unreadable {
                0 => String::new(),
                unreadable => format!(", {unreadable} directories unreadable"),
            };
            format!(
                "{} hosts, {} metrics under {}{unreadable}",
                report.hosts,
                report.metrics,
                escape::escape(&whisper_dir.to_string_lossy())
            )
        }
        None => absent(config.graphite.enabled).into(),
    };
    let disks = match &gathered.disks {
        Some(report) => disks_table(report),
        None => absent(config.disks.enabled).into(),
    };
    let vmware = match &gathered.vmware {
        Some(report) => match (report.cpu_ready_percent, &report.error) {
            (Some(ready), _) => format!(
                "%ready {:.2} over {:.1} s",
                ready.get(),
                report.window_seconds.get()
            ),
            (None, Some(error)) => escape::escape(error),
            (None, None) => "%ready is not known yet".into(),
        },
        None if config.vmware.enabled => "not a VMware virtual machine".into(),
        None => absent(false).into(),
    };
    format!("graphite  {graphite}\ndisks     {disks}\nvmware    {vmware}\n")
}

fn absent(enabled: bool) -> &'static str {
    if enabled { "not known" } else { "disabled" }
}

fn disks_table(report: &DisksReport) -> String {
    let mut table = format!(
        "{} physical, over {:.1} s",
        report.disks.len(),
        report.window_seconds.get()
    );
    if !report.whisper_disks.is_empty() {
        let _ = write!(
            table,
            "; under the whisper tree: {}",
            escape::escape(&report.whisper_disks.join(", "))
        );
    }
    if report.disks.is_empty() {
        return table;
    }
    let disks: Vec<_> = report
        .disks
        .iter()
        .map(|(name, disk)| (escape::escape(name), disk))
        .collect();
    let width = disks.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let _ = write!(table, "\n          {:width$}", "");
    for column in COLUMNS {
        let _ = write!(table, " {column:>9}");
    }
    for (name, disk) in &disks {
        let _ = write!(table, "\n          {name:width$}");
        for value in values(disk) {
            let _ = write!(table, " {value:>9.2}");
        }
    }
    table
}

fn values(disk: &DiskReport) -> [f64; 8] {
    [
        disk.util_percent.get(),
        disk.reads_per_second.get(),
        disk.writes_per_second.get(),
        disk.read_bytes_per_second.get() / 1024.0,
        disk.write_bytes_per_second.get() / 1024.0,
        disk.read_await_ms.get(),
        disk.write_await_ms.get(),
        disk.queue_size.get(),
    ]
}
