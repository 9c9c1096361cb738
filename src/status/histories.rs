//! The past values of each gauge.

use std::collections::{BTreeMap, VecDeque};

use super::bars::history;
use super::entry::Status;

/// Values kept of each gauge: as many as fit on a line.
pub const MAX_PAST: usize = 16;

/// The past values of each gauge, one for each document.
#[derive(Debug, Default)]
pub struct Histories {
    /// By the name of the collector and of the gauge.
    values: BTreeMap<(&'static str, String), Past>,
}

#[derive(Debug)]
struct Past {
    newest_at: i64,
    values: VecDeque<f64>,
    /// The smallest and the largest value shown; `None` for those seen so far.
    scale: Option<(f64, f64)>,
}

impl Histories {
    /// Adds the values of each document that is new.
    pub fn add(&mut self, status: &Status) {
        for (collector, entry) in &status.entries {
            let Some(report) = entry.report(*collector) else {
                continue;
            };
            for gauge in report.gauges() {
                if let Some(value) = gauge.value {
                    let key = (collector.name(), gauge.name);
                    self.record(key, report.updated_at(), value, gauge.scale);
                }
            }
        }
    }

    fn record(&mut self, key: (&'static str, String), at: i64, value: f64, scale: Option<(f64, f64)>) {
        let past = self.values.entry(key).or_insert_with(|| Past {
            newest_at: i64::MIN,
            values: VecDeque::new(),
            scale,
        });
        if past.newest_at == at {
            return;
        }
        past.newest_at = at;
        if past.values.len() == MAX_PAST {
            past.values.pop_front();
        }
        past.values.push_back(value);
    }

    /// Returns the newest `width` values of the gauge `name` of `collector` as small bars.
    pub fn line(
        &self,
        (collector, name): (&'static str, &str),
        width: usize,
        unicode: bool,
    ) -> Option<String> {
        let past = self.values.get(&(collector, name.to_string()))?;
        let seen = past
            .values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| {
                (min.min(*value), max.max(*value))
            });
        let hidden = past.values.len().saturating_sub(width);
        let values = past.values.iter().copied().skip(hidden);
        Some(history(values, past.scale.unwrap_or(seen), unicode))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::collectors::ALL;

    #[test]
    fn every_gauge_has_its_own_history() {
        for collector in ALL {
            let report = collector.parse(collector.example().0.as_bytes()).unwrap();
            let gauges = report.gauges();
            let names: BTreeSet<_> = gauges.iter().map(|gauge| &gauge.name).collect();
            assert!(!names.is_empty() && names.len() == gauges.len(), "{gauges:?}");
            assert!(gauges.iter().all(|gauge| gauge.value.is_some()), "{gauges:?}");
        }
    }
}
