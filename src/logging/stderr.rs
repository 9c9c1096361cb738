//! Log lines on stderr.

use crate::nonblocking::NonBlocking;

/// Stderr. Lines that it does not accept immediately are dropped.
#[derive(Debug)]
pub struct Stderr {
    out: NonBlocking,
    /// Whether the last line was written only in part.
    is_partial: bool,
}

impl Stderr {
    /// Opens stderr without blocking.
    pub fn new() -> Self {
        Self {
            out: NonBlocking::new(rustix::stdio::stderr()),
            is_partial: false,
        }
    }

    /// Writes a line that ends with a newline, or as much of it as fits. A line after a partial one starts a new line.
    pub fn write_line(&mut self, line: &str) {
        let separator = if self.is_partial { "\n" } else { "" };
        let text = format!("{separator}{line}");
        let mut rest = text.as_bytes();
        // After an error nothing can be done: it is full or closed, and the last sink.
        while !rest.is_empty()
            && let Ok(written @ 1..) = self.out.write(rest)
        {
            self.is_partial = rest[written - 1] != b'\n';
            rest = &rest[written..];
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn line_after_a_partial_one_starts_a_new_line() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writer: &'static _ = Box::leak(Box::new(writer));
        let mut stderr = Stderr {
            out: NonBlocking::new(writer.as_fd()),
            is_partial: false,
        };
        let line = format!("{}\n", "x".repeat(10_000));
        for _ in 0..20 {
            stderr.write_line(&line);
        }
        let mut read = vec![0; 128 << 10];
        let length = reader.read(&mut read).unwrap();
        assert_eq!(read[length - 1], b'x');
        stderr.write_line("next\n");
        let length = reader.read(&mut read).unwrap();
        assert_eq!(&read[..length], b"\nnext\n");
    }
}
