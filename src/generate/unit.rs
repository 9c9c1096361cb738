//! Reads settings from the systemd unit, for the init script and the sandbox drop-in.

/// The installed unit, which is the only source of these settings.
const UNIT: &str = include_str!("../../systemd/shinken-gatherer.service");

/// Returns the words of every assignment to `key`, in the order of the unit.
pub fn words(key: &str) -> Vec<&'static str> {
    UNIT.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| *name == key)
        .flat_map(|(_, value)| value.split_ascii_whitespace())
        .collect()
}

/// Returns the last word of `key` without the prefixes `-` (ignore failures) and `+` (full privileges), or "".
pub fn last_word(key: &str) -> &'static str {
    words(key)
        .last()
        .copied()
        .unwrap_or("")
        .trim_start_matches(['-', '+'])
}

/// Returns the number of a time span in seconds, which the unit writes as `5s`.
pub fn seconds(key: &str) -> &'static str {
    last_word(key).trim_end_matches('s')
}
