//! The status as a table: a block for each collector, a row for each gauge.

use super::bars::bar;
use super::entry::{Entry, State, Status};
use super::histories::Histories;
use super::screen::{Line, Look, Screen};
use crate::report::Gauge;

/// Columns before the values: collector, state, age.
const INDENT: usize = 11 + 12 + 9;

/// Returns the table for this screen, with the history of each value if it is known.
pub fn lines(status: &Status, screen: &Screen, histories: Option<&Histories>) -> Vec<Line> {
    let table = Table { screen, histories };
    let mut lines = Vec::new();
    for (collector, entry) in &status.entries {
        let name = collector.name();
        let mut rows = Vec::new();
        if let Some(reason) = &entry.reason {
            let mut row = Line::default();
            row.push(Look::Plain, reason);
            rows.push(row);
        }
        let gauges = entry.report(*collector).map(|report| report.gauges());
        rows.extend(gauges.iter().flatten().map(|gauge| table.row(name, gauge)));
        let mut start = Some(head(name, entry));
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

fn head(collector: &str, entry: &Entry) -> Line {
    let mut line = Line::default();
    line.push(Look::Bold, format!("{collector:<11}"));
    let look = match entry.state {
        State::Fresh => Look::Good,
        State::Outdated => Look::Doubtful,
        State::Absent | State::Unreadable => Look::Bad,
        State::Disabled | State::NotHere => Look::Faint,
    };
    line.push(look, format!("{:<12}", entry.state.word()));
    line.push(
        Look::Plain,
        format!("{:<9}", entry.age_seconds.map_or("-".into(), short)),
    );
    line
}

/// Formats an age in its two largest units: `3m20s`.
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
    histories: Option<&'a Histories>,
}

impl Table<'_> {
    fn row(&self, collector: &'static str, gauge: &Gauge) -> Line {
        let mut row = Line::default();
        row.push(Look::Plain, &gauge.before);
        row.push(Look::Bold, &gauge.number);
        row.push(Look::Plain, &gauge.after);
        self.bar(&mut row, gauge);
        let histories = self.histories.filter(|_| gauge.value.is_some());
        let history = histories.and_then(|past| past.line((collector, &gauge.name), self.screen.unicode));
        if let Some(history) = history {
            row.push(Look::Plain, " ");
            row.push(Look::Faint, history);
        }
        if let Some(alarm) = gauge.alarm {
            row.push(Look::Bad, format!(" {alarm}"));
        }
        row.push(Look::Plain, &gauge.remark);
        if let Some(problem) = &gauge.problem {
            row.push(Look::Doubtful, format!(": {problem}"));
        }
        row
    }

    fn bar(&self, row: &mut Line, gauge: &Gauge) {
        let (Some(percent), Some((doubtful, bad)), Some(width)) =
            (gauge.value, gauge.bar_limits, self.screen.bar_width())
        else {
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
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn age_has_its_two_largest_units() {
        for (seconds, text) in [
            (59, "59s"),
            (60, "1m00s"),
            (3599, "59m59s"),
            (3600, "1h00m"),
            (86399, "23h59m"),
            (86400, "1d00h"),
            (-61, "-1m01s"),
        ] {
            assert_eq!(short(seconds), text);
        }
    }
}
