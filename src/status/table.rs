//! The status as a table: for each collector a line with its state, and a row for each gauge.

use super::bars::bar;
use super::entry::{Entry, State, Status};
use super::histories::{Histories, MAX_PAST};
use super::screen::{Line, Look, Screen, wrap};
use crate::collector::Collector;
use crate::report::Gauge;

/// Longest bar.
const MAX_BAR: usize = 24;
/// Shortest bar or history that is drawn.
const MIN_BAR: usize = 8;

/// Returns the table for this screen, with the history of each value if it is known. If it has more than `limit` lines,
/// the last rows of the longest block are replaced by their number.
pub fn lines(status: &Status, screen: &Screen, histories: Option<&Histories>, limit: usize) -> Vec<Line> {
    let rows = |(collector, entry): &(&'static dyn Collector, Entry)| {
        let gauges = entry.report(*collector).map(|report| report.gauges());
        let rows = gauges.into_iter().flatten();
        rows.map(|gauge| (text(&gauge), gauge)).collect::<Vec<_>>()
    };
    let rows: Vec<_> = status.entries.iter().map(rows).collect();
    let bars = Bars::new(rows.iter().flatten(), screen, histories);
    let blocks = status.entries.iter().zip(rows).map(|((collector, entry), rows)| {
        let name = collector.name();
        let rows = rows
            .into_iter()
            .map(|(text, gauge)| bars.append(text, name, &gauge));
        head(name, entry, screen).into_iter().chain(rows).collect()
    });
    let ellipsis = if screen.unicode { "…" } else { "..." };
    fit(blocks.collect(), limit, ellipsis)
}

/// Returns the lines of all blocks, at most `limit`.
fn fit(mut blocks: Vec<Vec<Line>>, limit: usize, ellipsis: &str) -> Vec<Line> {
    let total: usize = blocks.iter().map(Vec::len).sum();
    if let Some(longest) = blocks.iter_mut().max_by_key(|block| block.len())
        && total > limit
    {
        let kept = longest.len().saturating_sub(total - limit).max(2);
        let length = longest.len();
        cut(longest, kept, length, ellipsis);
    }
    let mut lines = blocks.into_iter().flatten().collect();
    cut(&mut lines, limit.max(1), total, ellipsis);
    lines
}

/// Replaces the last lines, if there are more than `limit`, by the number of those that are missing of `total`.
fn cut(lines: &mut Vec<Line>, limit: usize, total: usize, ellipsis: &str) {
    if lines.len() > limit {
        let more = format!("  {ellipsis} {} more", total - (limit - 1));
        lines.truncate(limit - 1);
        lines.push(Line::new(Look::Faint, more));
    }
}

/// Returns the state of a file. A reason that does not fit beside it is below it.
fn head(collector: &str, entry: &Entry, screen: &Screen) -> Vec<Line> {
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
    let reason = entry.reason.as_deref().unwrap_or_default();
    match screen.size {
        Some((columns, _)) if !reason.is_empty() && line.width() + reason.chars().count() > columns => {
            let below = wrap(reason, columns.saturating_sub(2)).into_iter();
            let below = below.map(|text| Line::new(Look::Plain, format!("  {text}")));
            [line].into_iter().chain(below).collect()
        }
        _ => {
            line.push(Look::Plain, reason);
            vec![line]
        }
    }
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

/// Returns the numbers and words of a row.
fn text(gauge: &Gauge) -> Line {
    let mut row = Line::default();
    row.push(Look::Plain, format!("  {}", gauge.before));
    row.push(Look::Bold, &gauge.number);
    row.push(Look::Plain, &gauge.after);
    if let Some(alarm) = gauge.alarm {
        row.push(Look::Bad, format!(" {alarm}"));
    }
    row.push(Look::Plain, &gauge.remark);
    if let Some(problem) = &gauge.problem {
        row.push(Look::Doubtful, format!(": {problem}"));
    }
    row
}

/// The bars and histories, in the columns that the texts leave.
struct Bars<'a> {
    screen: &'a Screen,
    histories: Option<&'a Histories>,
    /// Column of the bars.
    start: usize,
    bar_width: usize,
    history_width: usize,
}

impl<'a> Bars<'a> {
    fn new<'r>(
        rows: impl Iterator<Item = &'r (Line, Gauge)>,
        screen: &'a Screen,
        histories: Option<&'a Histories>,
    ) -> Self {
        // An alarm is long, and may hide its own bar, but not the others.
        let texts = rows.filter(|(_, gauge)| gauge.value.is_some() && gauge.alarm.is_none());
        let start = texts.map(|(text, _)| text.width() + 1).max().unwrap_or(0);
        let room = screen
            .size
            .map_or(0, |(columns, _)| columns.saturating_sub(start));
        let history_width = match (histories, screen.size) {
            (None, _) => 0,
            (Some(_), None) => MAX_PAST,
            (Some(_), Some(_)) => room.min(MAX_PAST),
        };
        let bar_width = match history_width {
            0 => room,
            _ => room.saturating_sub(history_width + 1),
        };
        let wide_enough = |width| if width < MIN_BAR { 0 } else { width };
        Self {
            screen,
            histories,
            start: if screen.size.is_some() { start } else { 0 },
            bar_width: wide_enough(bar_width.min(MAX_BAR)),
            history_width: wide_enough(history_width),
        }
    }

    /// Adds the bar and the history of a gauge to its text.
    fn append(&self, mut row: Line, collector: &'static str, gauge: &Gauge) -> Line {
        let Some(value) = gauge.value else {
            return row;
        };
        let padding = self.start.saturating_sub(row.width()).max(1);
        row.push(Look::Plain, " ".repeat(padding));
        if let Some((doubtful, bad)) = gauge.bar_limits
            && self.bar_width > 0
        {
            let look = match value {
                value if value >= bad => Look::Bad,
                value if value >= doubtful => Look::Doubtful,
                _ => Look::Good,
            };
            row.push(look, bar(value / 100.0, self.bar_width, self.screen.unicode));
            row.push(Look::Plain, " ");
        }
        let key = (collector, gauge.name.as_str());
        let line = |histories: &Histories| histories.line(key, self.history_width, self.screen.unicode);
        if let Some(history) = self.histories.and_then(line) {
            row.push(Look::Faint, history);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(size: Option<(usize, usize)>) -> Screen {
        Screen {
            terminal: true,
            size,
            colour: false,
            unicode: true,
        }
    }

    #[test]
    fn lines_above_the_limit_are_counted_in_the_longest_block() {
        let block = |name: &str, rows: usize| {
            let line = |row| Line::new(Look::Plain, format!("{name}{row}"));
            (0..rows).map(line).collect::<Vec<_>>()
        };
        let screen = screen(None);
        let table = |limit| {
            let blocks = vec![block("a", 2), block("b", 9), block("c", 1)];
            screen.render(&fit(blocks, limit, "…")).replace('\n', ",")
        };
        assert_eq!(table(12), "a0,a1,b0,b1,b2,b3,b4,b5,b6,b7,b8,c0,");
        assert_eq!(table(11), "a0,a1,b0,b1,b2,b3,b4,b5,b6,  … 2 more,c0,");
        assert_eq!(table(5), "a0,a1,b0,  … 8 more,c0,");
        assert_eq!(table(3), "a0,a1,  … 10 more,");
        assert_eq!(table(0), "  … 12 more,");
    }

    #[test]
    fn reason_that_does_not_fit_is_below_the_state() {
        let entry = |reason| Entry::without_document(State::Absent, "/x".into(), reason);
        let shown = |size, reason| screen(size).render(&head("disks", &entry(reason), &screen(size)));
        let size = Some((34, 24));
        assert_eq!(shown(size, "/x"), "disks      absent      -        /x\n");
        let long = "/tmp/disks.json does not exist at all";
        let below = "  /tmp/disks.json does not exist\n  at all\n";
        assert_eq!(shown(size, long), format!("disks      absent      -\n{below}"));
        assert_eq!(
            shown(None, long),
            format!("disks      absent      -        {long}\n")
        );
    }

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
