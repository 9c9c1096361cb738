//! What the systemd unit says, for whoever has to do the same without systemd.

/// The unit as it is installed: the one place for these facts.
const UNIT: &str = include_str!("../../../systemd/shinken-gatherer.service");

/// The words of every assignment to `key`, in the order of the unit. Empty where there is none.
pub fn words(key: &str) -> Vec<&'static str> {
    UNIT.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| *name == key)
        .flat_map(|(_, value)| value.split_ascii_whitespace())
        .collect()
}

/// The only or last word of `key`, without the prefixes by which systemd is told to ignore failures (`-`) or to use
/// full privileges (`+`).
pub fn last_word(key: &str) -> &'static str {
    words(key)
        .last()
        .copied()
        .unwrap_or("")
        .trim_start_matches(['-', '+'])
}

/// A time span of whole seconds, as the unit writes them: `5s`.
pub fn seconds(key: &str) -> &'static str {
    last_word(key).trim_end_matches('s')
}
