//! The status as a table: a block for each collector, a row for each figure.

use super::bars::bar;
use super::screen::{Line, Look, Screen};
use super::watch::Histories;
use super::{Entry, State, Status};
use crate::report::{DiskReport, DisksReport, GraphiteReport, VmwareReport};

/// Columns before the figures: collector, state, age.
const INDENT: usize = 11 + 12 + 9;
/// From here on a bar is doubtful, and bad: %util of a disk, %ready of a vCPU.
const UTIL_LIMITS: (f64, f64) = (70.0, 90.0);
const READY_LIMITS: (f64, f64) = (5.0, 10.0);

/// The table for this screen, with the past of each figure where it is known.
pub fn lines(status: &Status, screen: &Screen, past: Option<&Histories>) -> Vec<Line> {
    let table = Table { screen, past };
    let mut lines = Vec::new();
    let heads = [
        head("graphite", &status.graphite),
        head("disks", &status.disks),
        head("vmware", &status.vmware),
    ];
    let figures = [
        status
            .graphite
            .document
            .as_ref()
            .map(|report| table.graphite(report)),
        status.disks.document.as_ref().map(|report| table.disks(report)),
        status.vmware.document.as_ref().map(|report| table.vmware(report)),
    ];
    let reasons = [
        &status.graphite.reason,
        &status.disks.reason,
        &status.vmware.reason,
    ];
    for ((head, figures), reason) in heads.into_iter().zip(figures).zip(reasons) {
        let mut rows: Vec<_> = figures.into_iter().flatten().collect();
        if let Some(reason) = reason {
            let mut row = Line::default();
            row.push(Look::Plain, reason);
            rows.insert(0, row);
        }
        let mut start = Some(head);
        for row in rows {
            let mut line = start.take().unwrap_or_else(|| {
                let mut line = Line::default();
                line.push(Look::Plain, " ".repeat(INDENT));
                line
            });
            line.append(row);
            lines.push(line);
        }
        lines.extend(start);
    }
    lines
}

fn head<T>(collector: &str, entry: &Entry<T>) -> Line {
    let mut line = Line::default();
    line.push(Look::Bold, format!("{collector:<11}"));
    let look = match entry.state {
        State::Fresh => Look::Good,
        State::Outdated => Look::Doubtful,
        State::Absent | State::Unreadable => Look::Bad,
        State::Disabled | State::NotVmware => Look::Faint,
    };
    line.push(look, format!("{:<12}", entry.state.word()));
    line.push(
        Look::Plain,
        format!("{:<9}", entry.age_seconds.map_or("-".into(), short)),
    );
    line
}

/// An age in its two largest units: `3m20s`.
fn short(seconds: i64) -> String {
    let (s, sign) = (seconds.unsigned_abs(), if seconds < 0 { "-" } else { "" });
    let age = match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86400, s / 3600 % 24),
    };
    format!("{sign}{age}")
}

struct Table<'a> {
    screen: &'a Screen,
    past: Option<&'a Histories>,
}

impl Table<'_> {
    fn graphite(&self, report: &GraphiteReport) -> Vec<Line> {
        let row = |name: &str, value: u64, remark: String| {
            let mut row = Line::default();
            row.push(Look::Bold, format!("{value:>9}"));
            row.push(Look::Plain, format!(" {name}{remark}"));
            self.history(&mut row, name);
            row
        };
        let unreadable = match report.unreadable {
            0 => String::new(),
            unreadable => format!(", {unreadable} directories unreadable"),
        };
        let remark = format!(", counted in {} s{unreadable}", report.scan_seconds.get());
        vec![
            row("metrics", report.metrics, remark),
            row("hosts", report.hosts, String::new()),
        ]
    }

    fn disks(&self, report: &DisksReport) -> Vec<Line> {
        let width = report
            .disks
            .keys()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0);
        let mut rows: Vec<_> = report
            .disks
            .iter()
            .map(|(name, disk)| self.disk(name, width, disk, report))
            .collect();
        if rows.is_empty() {
            let mut row = Line::default();
            row.push(Look::Plain, "no physical disks");
            rows.push(row);
        }
        rows
    }

    fn disk(&self, name: &str, width: usize, disk: &DiskReport, report: &DisksReport) -> Line {
        let util = disk.util_percent.get();
        let mut row = Line::default();
        row.push(Look::Plain, format!("{name:<width$} "));
        row.push(Look::Bold, format!("{util:>5.1}%"));
        row.push(Look::Plain, " util ");
        self.bar(&mut row, util, UTIL_LIMITS);
        self.history(&mut row, name);
        if disk.hangs(report.window_seconds) {
            row.push(Look::Bad, " HUNG: requests queued, none completed");
        }
        let (read, write) = (disk.read_await_ms.get(), disk.write_await_ms.get());
        let queue = disk.queue_size.get();
        row.push(
            Look::Plain,
            format!(" r/w await {read:.1}/{write:.1} ms, queue {queue:.2}"),
        );
        if report.whisper_disks.iter().any(|under| under == name) {
            row.push(Look::Plain, ", whisper tree");
        }
        row
    }

    fn vmware(&self, report: &VmwareReport) -> Vec<Line> {
        let mut row = Line::default();
        if let Some(per_vcpu) = report.cpu_ready_percent_per_vcpu {
            row.push(Look::Bold, format!("{:>5.2}%", per_vcpu.get()));
            row.push(Look::Plain, " ready per vCPU ");
            self.bar(&mut row, per_vcpu.get(), READY_LIMITS);
            self.history(&mut row, "ready");
        }
        let vcpus = report.vcpus.map_or("?".into(), |vcpus| vcpus.to_string());
        match report.cpu_ready_percent {
            Some(total) => row.push(
                Look::Plain,
                format!(" {:.2}% in all on {vcpus} vCPUs", total.get()),
            ),
            None => row.push(Look::Plain, "%ready is not known"),
        }
        if let Some(error) = &report.error {
            row.push(Look::Doubtful, format!(": {error}"));
        }
        vec![row]
    }

    fn bar(&self, row: &mut Line, percent: f64, (doubtful, bad): (f64, f64)) {
        let Some(width) = self.screen.bar_width() else {
            return;
        };
        let look = match percent {
            percent if percent >= bad => Look::Bad,
            percent if percent >= doubtful => Look::Doubtful,
            _ => Look::Good,
        };
        row.push(look, bar(percent / 100.0, width, self.screen.unicode));
        row.push(Look::Plain, " ");
    }

    fn history(&self, row: &mut Line, figure: &str) {
        if let Some(history) = self.past.and_then(|past| past.line(figure, self.screen.unicode)) {
            row.push(Look::Plain, " ");
            row.push(Look::Faint, history);
        }
    }
}
