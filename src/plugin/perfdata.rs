//! Perfdata of the Monitoring Plugins Development Guidelines: `'label'=value[UOM];warn;crit;min;max`.

use std::fmt;

use super::range::Range;
use crate::escape::is_printable;

/// The units in use, a subset of those of the guidelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// No unit.
    None,
    /// Seconds.
    Seconds,
    /// Per cent.
    Percent,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub struct PerfValue {
    label: String,
    value: Option<f64>,
    unit: Unit,
    thresholds: Thresholds,
    max: Option<f64>,
}

/// The ranges of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Thresholds {
    /// Outside it, the state is WARNING.
    pub warning: Option<Range>,
    /// Outside it, the state is CRITICAL.
    pub critical: Option<Range>,
}

impl PerfValue {
    /// Returns a value with the minimum 0 and no thresholds. `None` if it is unknown.
    pub fn new(label: impl Into<String>, value: Option<f64>, unit: Unit) -> Self {
        Self {
            label: label.into(),
            value: value.filter(|value| value.is_finite()),
            unit,
            thresholds: Thresholds::default(),
            max: None,
        }
    }

    /// Sets the thresholds.
    pub fn judged_by(self, thresholds: Thresholds) -> Self {
        Self { thresholds, ..self }
    }

    /// Sets the maximum.
    pub fn at_most(self, max: f64) -> Self {
        Self {
            max: Some(max),
            ..self
        }
    }
}

impl fmt::Display for PerfValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", quoted(&self.label))?;
        match (self.value, self.unit) {
            (None, _) => write!(f, "U")?,
            (Some(value), Unit::None) => write!(f, "{value}")?,
            (Some(value), Unit::Seconds) => write!(f, "{value}s")?,
            (Some(value), Unit::Percent) => write!(f, "{value}%")?,
        }
        for range in [self.thresholds.warning, self.thresholds.critical] {
            match range {
                Some(range) => write!(f, ";{range}")?,
                None => write!(f, ";")?,
            }
        }
        write!(f, ";0")?;
        self.max.map_or(Ok(()), |max| write!(f, ";{max}"))
    }
}

/// Returns a label that every parser accepts: quoted if necessary, quotes doubled. Characters that are invalid even in
/// quotes (`=`, `|`, control characters) become `_`.
fn quoted(label: &str) -> String {
    let is_unquoted = |character: char| character.is_ascii_alphanumeric() || "_-./".contains(character);
    if !label.is_empty() && label.chars().all(is_unquoted) {
        return label.to_string();
    }
    let allowed = label.replace(
        |character: char| !is_printable(character) || "=|".contains(character),
        "_",
    );
    format!("'{}'", allowed.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_in_the_guidelines() {
        let thresholds = Thresholds {
            warning: "80".parse().ok(),
            critical: "@90:".parse().ok(),
        };
        let util = PerfValue::new("sda_util", Some(12.3), Unit::Percent)
            .judged_by(thresholds)
            .at_most(100.0);
        assert_eq!(util.to_string(), "sda_util=12.3%;80;@90:;0;100");
        let age = PerfValue::new("age", Some(4.0), Unit::Seconds);
        assert_eq!(age.to_string(), "age=4s;;;0");
        let unknown = PerfValue::new("cpu ready", None, Unit::Percent).judged_by(thresholds);
        assert_eq!(unknown.to_string(), "'cpu ready'=U;80;@90:;0");
        let large = PerfValue::new("metrics", Some(1e18), Unit::None);
        assert_eq!(large.to_string(), "metrics=1000000000000000000;;;0");
        assert_eq!(
            PerfValue::new("x", Some(f64::NAN), Unit::None).to_string(),
            "x=U;;;0"
        );
    }

    #[test]
    fn labels_are_quoted_if_needed() {
        assert_eq!(quoted("cciss/c0d0_util"), "cciss/c0d0_util");
        assert_eq!(quoted("it's a=b|c\n"), "'it''s a_b_c_'");
        assert_eq!(quoted("é;1"), "'é;1'");
        assert_eq!(quoted(""), "''");
    }
}
