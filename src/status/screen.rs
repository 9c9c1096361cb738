//! The abilities of stdout, and lines made for it: truncated to its width, coloured if it has colour.

use std::env;
use std::io::IsTerminal;

use rustix::termios::tcgetwinsize;

use crate::escape::is_printable;

/// The look of a piece of a line on a terminal with colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Plain,
    Faint,
    Bold,
    Good,
    Doubtful,
    Bad,
}

impl Look {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Faint => "\x1b[2m",
            Self::Bold => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Doubtful => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// One line, in pieces.
#[derive(Debug, Default)]
pub struct Line {
    pieces: Vec<(Look, String)>,
}

impl Line {
    /// Returns a line of one piece.
    pub fn new(look: Look, text: impl AsRef<str>) -> Self {
        let mut line = Self::default();
        line.push(look, text);
        line
    }

    /// Adds a piece. Replaces control characters, which names and reasons may contain.
    pub fn push(&mut self, look: Look, text: impl AsRef<str>) {
        let text = text.as_ref().replace(|character| !is_printable(character), "?");
        self.pieces.push((look, text));
    }

    /// Returns its columns.
    pub fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| text.chars().count()).sum()
    }
}

/// Returns the text on as many lines as it needs, broken at blanks. A longer word has its own line.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > columns {
            lines.push(word.into());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// The abilities of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Whether it is a terminal that can be drawn on.
    pub terminal: bool,
    /// Columns and rows of the terminal, if known.
    pub size: Option<(usize, usize)>,
    /// Whether colour is shown.
    pub colour: bool,
    /// Whether block characters are shown.
    pub unicode: bool,
}

impl Screen {
    /// Determines them from the environment and the terminal.
    pub fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        let terminal = stdout.is_terminal() && !dumb;
        let size = tcgetwinsize(&stdout).ok().filter(|_| terminal);
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let locale = locale.unwrap_or_default().to_string_lossy().to_uppercase();
        Self {
            terminal,
            // A terminal of unknown size reports 0.
            size: size
                .filter(|size| size.ws_col > 0 && size.ws_row > 0)
                .map(|size| (size.ws_col.into(), size.ws_row.into())),
            colour: terminal && set("NO_COLOR").is_none(),
            unicode: locale.contains("UTF-8") || locale.contains("UTF8"),
        }
    }

    /// Returns the lines as they are written, each terminated by a newline.
    pub fn render(&self, lines: &[Line]) -> String {
        lines.iter().map(|line| self.render_line(line) + "\n").collect()
    }

    fn render_line(&self, line: &Line) -> String {
        let mut room = self.size.map_or(usize::MAX, |(columns, _)| columns);
        let mut text = String::new();
        for (look, piece) in &line.pieces {
            let piece: String = piece.chars().take(room).collect();
            room -= piece.chars().count();
            if self.colour && *look != Look::Plain && !piece.is_empty() {
                text += &format!("{}{piece}\x1b[0m", look.code());
            } else {
                text += &piece;
            }
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_truncated_without_counting_colours() {
        let mut line = Line::default();
        line.push(Look::Bold, "disks");
        line.push(Look::Plain, " \x1b[2Jé ");
        let mut screen = Screen {
            terminal: true,
            size: Some((8, 24)),
            colour: true,
            unicode: true,
        };
        assert_eq!(screen.render_line(&line), "\x1b[1mdisks\x1b[0m ?[");
        screen.size = None;
        screen.colour = false;
        assert_eq!(screen.render_line(&line), "disks ?[2Jé");
    }
}
