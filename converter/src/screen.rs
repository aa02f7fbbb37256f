//! Standard output, and last words on standard error: the only place that writes to either, besides the log.
//!
//! What is told holds texts of registries, lists and images, so everything is escaped on its way out (see
//! `layer_layout::text`); JSON stays the same document.

#![allow(clippy::print_stdout, clippy::print_stderr)] // here and nowhere else

use std::fmt::Display;
use std::io::{self, Write};

use layer_layout::text::lines;

/// Writes a line, or several, to standard output.
pub(crate) fn say(text: impl Display) {
    println!("{}", lines(&text.to_string()));
}

/// Writes a text that has its line feeds to standard output.
pub(crate) fn say_lines(text: impl Display) {
    print!("{}", lines(&text.to_string()));
}

/// Writes a line, or several, to standard error.
pub(crate) fn warn(text: impl Display) {
    eprintln!("{}", lines(&text.to_string()));
}

/// Standard output for a command that writes many lines.
pub(crate) fn stdout() -> Escaped<io::StdoutLock<'static>> {
    Escaped { inner: io::stdout().lock(), line: Vec::new() }
}

/// Passes on whole lines, escaped. What comes after the last line feed is passed on by `flush`.
#[derive(Debug)]
pub(crate) struct Escaped<W> {
    inner: W,
    line: Vec<u8>,
}

impl<W: Write> Escaped<W> {
    fn pass_on(&mut self, length: usize) -> io::Result<()> {
        let text: Vec<u8> = self.line.drain(..length).collect();
        write!(self.inner, "{}", lines(&String::from_utf8_lossy(&text)))
    }
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(last) = self.line.iter().rposition(|byte| *byte == b'\n') {
            self.pass_on(last + 1)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on(self.line.len())?;
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_escaped_however_they_are_written() {
        let text = "ä\u{1b}[2J\tb\n\u{9b}c\r\n日\u{202e}";
        for size in 1..=text.len() {
            let mut out = Escaped { inner: Vec::new(), line: Vec::new() };
            for piece in text.as_bytes().chunks(size) {
                out.write_all(piece).unwrap();
            }
            out.flush().unwrap();
            let shown = String::from_utf8(out.inner).unwrap();
            assert_eq!(shown, "ä\\u001b[2J\tb\n\\u009bc\\r\n日\\u202e", "{size}");
        }
    }
}
