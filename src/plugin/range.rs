//! Threshold ranges of the Monitoring Plugins Development Guidelines.

use std::fmt;
use std::str::FromStr;

/// When to alert: outside `start` to `end`, or inside if written with `@`. The ends belong to the range.
///
/// | written | alerts when the value is |
/// | --- | --- |
/// | `10` | below 0 or above 10 |
/// | `10:` | below 10 |
/// | `~:10` | above 10 |
/// | `10:20` | below 10 or above 20 |
/// | `@10:20` | from 10 to 20 |
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Minus infinity for `~`.
    start: f64,
    /// Plus infinity if none is written.
    end: f64,
    inside: bool,
}

impl Range {
    /// Returns the reason to alert about this value, if there is one.
    pub fn alerts(&self, value: f64) -> Option<String> {
        let (start, end) = (self.start, self.end);
        let reason = match (self.inside, value < start, value > end) {
            (false, true, _) => format!("below {start}"),
            (false, _, true) => format!("above {end}"),
            (true, false, false) => format!("within {self}").replace('@', ""),
            _ => return None,
        };
        Some(reason)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || {
            format!("{text:?} is not a range such as 10, 10:, ~:10, 10:20 or @10:20 (numbers without a unit)")
        };
        let (inside, limits) = match text.strip_prefix('@') {
            Some(limits) => (true, limits),
            None => (false, text),
        };
        let (start, end) = match limits.split_once(':') {
            // A colon alone would never alert: it is probably a mistake.
            Some(("", "")) => return Err(invalid()),
            Some((start, end)) => (start, end),
            None if limits.is_empty() => return Err(invalid()),
            None => ("", limits),
        };
        let start = match start {
            "" => 0.0,
            "~" => f64::NEG_INFINITY,
            number => parse(number).ok_or_else(invalid)?,
        };
        let end = match end {
            "" => f64::INFINITY,
            number => parse(number).ok_or_else(invalid)?,
        };
        if start > end {
            return Err(format!("{text:?}: start is greater than end"));
        }
        Ok(Self { start, end, inside })
    }
}

/// Parses a number of the guidelines: no exponent, no sign except minus, no words such as "inf".
fn parse(text: &str) -> Option<f64> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
    let number: f64 = text.parse().ok().filter(|_| plain)?;
    // Minus zero would be written back as "-0".
    number.is_finite().then_some(number + 0.0)
}

/// Writes the shortest form, for perfdata.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inside {
            write!(f, "@")?;
        }
        match self.start {
            f64::NEG_INFINITY => write!(f, "~:")?,
            0.0 if self.end.is_finite() => {}
            start => write!(f, "{start}:")?,
        }
        if self.end.is_finite() {
            write!(f, "{}", self.end)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Range;

    fn alerts(range: &str, value: f64) -> bool {
        range.parse::<Range>().unwrap().alerts(value).is_some()
    }

    #[test]
    fn five_forms_alert_as_in_the_guidelines() {
        let cases: &[(&str, &[f64], &[f64])] = &[
            ("10", &[0.0, 5.0, 10.0], &[-0.1, 10.1]),
            ("10:", &[10.0, 1e9], &[9.9, -1.0]),
            ("~:10", &[10.0, -1e9], &[10.1]),
            ("10:20", &[10.0, 20.0], &[9.9, 20.1]),
            ("@10:20", &[9.9, 20.1], &[10.0, 15.0, 20.0]),
            ("-5:-1.5", &[-5.0, -1.5], &[-5.1, -1.4]),
            ("@10", &[-1.0, 11.0], &[0.0, 10.0]),
            ("@~:0", &[0.1], &[-1.0, 0.0]),
            (":10", &[0.0, 10.0], &[-1.0, 11.0]),
            ("~:", &[-1e9, 1e9], &[]),
            ("0", &[0.0], &[0.1, -0.1]),
        ];
        for (range, quiet, alerting) in cases {
            for value in *quiet {
                assert!(!alerts(range, *value), "{range} {value}");
            }
            for value in *alerting {
                assert!(alerts(range, *value), "{range} {value}");
            }
        }
    }

    #[test]
    fn alert_states_the_limit() {
        let reason = |range: &str, value| range.parse::<Range>().unwrap().alerts(value).unwrap();
        assert_eq!(reason("80", 91.5), "above 80");
        assert_eq!(reason("80", -1.0), "below 0");
        assert_eq!(reason("1.50:", 1.0), "below 1.5");
        assert_eq!(reason("@10:20", 15.0), "within 10:20");
    }

    #[test]
    fn range_is_written_in_its_shortest_form() {
        for (written, shortest) in [
            ("10", "10"),
            ("0:10", "10"),
            (":.5", "0.5"),
            ("010:", "10:"),
            ("0:", "0:"),
            ("~:-10.50", "~:-10.5"),
            ("@10:20", "@10:20"),
            ("-0:5", "5"),
            ("-0:", "0:"),
            ("@~:-0", "@~:0"),
            ("~:", "~:"),
        ] {
            assert_eq!(written.parse::<Range>().unwrap().to_string(), shortest);
        }
    }

    #[test]
    fn invalid_ranges_are_rejected() {
        for text in [
            "", ":", "@", "@:", "~", "10:~", "20:10", "80%", "1e3", "inf", "nan", "+5", "1,5", "1:2:3",
            "@@1", " 1", "-", ".", "1-2", "--1", "~~:1",
        ] {
            assert!(text.parse::<Range>().is_err(), "{text:?}");
        }
        let huge = "9".repeat(400);
        assert!(huge.parse::<Range>().is_err());
    }
}
