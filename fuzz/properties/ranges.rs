//! Whatever is written as a threshold: it means what the Monitoring Plugins guidelines say, or it is refused.

use clap::Args;
use shinken_gatherer::check::args::CheckArgs;
use shinken_gatherer::plugin::range::Range;

/// Values to judge, beside those at the ends of the range itself.
const VALUES: [f64; 9] = [-1e300, -10.0, -0.5, 0.0, 0.5, 10.0, 1e9, 1e300, f64::MIN_POSITIVE];

/// Panics where one of the properties does not hold for this text of a range.
pub fn hold(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let parsed = text.parse::<Range>();
    let expected = by_the_guidelines(text);
    assert_eq!(parsed.is_ok(), expected.is_some(), "{text:?}: {parsed:?}");
    as_an_option_of_check(text, parsed.is_ok());
    let (Ok(range), Some((inside, start, end))) = (parsed, expected) else {
        return;
    };
    let written = range.to_string();
    assert_eq!(
        written.parse(),
        Ok(range),
        "{text:?} is written back as {written:?}"
    );
    for value in VALUES.into_iter().chain([start, end, start - 1.0, end + 1.0]) {
        let is_within = start <= value && value <= end;
        let alert = range.alerts(value);
        assert_eq!(alert.is_some(), is_within == inside, "{text:?} and {value}");
        assert!(alert.is_none_or(|why| !why.is_empty() && !why.contains(char::is_control)));
    }
}

/// Read another way than the program does: `@` first, then the limits as plain decimal numbers.
fn by_the_guidelines(text: &str) -> Option<(bool, f64, f64)> {
    let (inside, limits) = match text.as_bytes() {
        [b'@', ..] => (true, &text[1..]),
        _ => (false, text),
    };
    let (start, end) = match limits.matches(':').count() {
        0 => (Some(0.0), decimal(limits)),
        1 => {
            let colon = limits.find(':')?;
            let (start, end) = (&limits[..colon], &limits[colon + 1..]);
            if start.is_empty() && end.is_empty() {
                return None;
            }
            let start = match start {
                "" => Some(0.0),
                "~" => Some(f64::NEG_INFINITY),
                number => decimal(number),
            };
            (
                start,
                if end.is_empty() {
                    Some(f64::INFINITY)
                } else {
                    decimal(end)
                },
            )
        }
        _ => return None,
    };
    let (start, end) = (start?, end?);
    (start <= end).then_some((inside, start, end))
}

/// An optional minus, digits, and a point among them or not.
fn decimal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_decimal = is_number(whole) && is_number(fraction) && !(whole.is_empty() && fraction.is_empty());
    let number: f64 = text.parse().ok().filter(|_| is_decimal)?;
    number.is_finite().then_some(number)
}

/// The command line takes what is a range and nothing else, and no time that is none.
fn as_an_option_of_check(text: &str, is_range: bool) {
    let parse = |option: &str| {
        let command = CheckArgs::augment_args(clap::Command::new("check"));
        command.try_get_matches_from(["check", "disks", option, text])
    };
    let refused = parse("--warning").err();
    assert_eq!(refused.is_none(), is_range, "{text:?}: {refused:?}");
    let _ = parse("--max-age");
}
