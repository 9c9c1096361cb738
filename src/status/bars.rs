//! Draws a share as a bar, and past values as a line of small bars.

const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII_HEIGHTS: [char; 8] = ['_', '.', ',', '-', '=', '+', '*', '#'];

/// Returns a bar of `width` characters for a share, which is clamped to 0 to 1.
pub fn bar(share: f64, width: usize, unicode: bool) -> String {
    let share = share.clamp(0.0, 1.0);
    if !unicode {
        let full = (share * width as f64).round() as usize;
        return format!("[{}{}]", "#".repeat(full), ".".repeat(width - full));
    }
    let eighths = (share * width as f64 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8 - 1]);
    }
    let used = eighths.div_ceil(8);
    bar + &"·".repeat(width - used)
}

/// Returns past values, the newest last, as bars of heights within `scale`; of half the height if the scale is empty.
pub fn history(values: impl Iterator<Item = f64>, scale: (f64, f64), unicode: bool) -> String {
    let heights = if unicode { HEIGHTS } else { ASCII_HEIGHTS };
    let (min, max) = scale;
    values
        .map(|value| {
            let share = if max > min {
                (value - min) / (max - min)
            } else {
                0.5
            };
            heights[((share.clamp(0.0, 1.0) * 8.0) as usize).min(7)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_the_given_width_and_share() {
        assert_eq!(bar(0.0, 4, true), "····");
        assert_eq!(bar(0.5, 4, true), "██··");
        assert_eq!(bar(0.53, 4, true), "██▏·");
        assert_eq!(bar(1.7, 4, true), "████");
        assert_eq!(bar(0.5, 4, false), "[##..]");
        for step in 0..=1000 {
            assert_eq!(bar(f64::from(step) / 1000.0, 7, true).chars().count(), 7);
        }
    }

    #[test]
    fn history_shows_the_newest_last() {
        let values = [0.0, 50.0, 100.0, 400.0];
        assert_eq!(history(values.into_iter(), (0.0, 100.0), true), "▁▅██");
        assert_eq!(history(values.into_iter(), (0.0, 100.0), false), "_=##");
        assert_eq!(history([7.0].into_iter(), (7.0, 7.0), true), "▅");
    }
}
