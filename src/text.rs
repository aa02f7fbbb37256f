//! Texts from outside as terminals and logs may show them.
//!
//! An image's author, a registry or a repository can put any character into a text: sequences that command a terminal,
//! line feeds that forge a line of a log, marks that turn the direction of writing. Both programs write what they say
//! through [`one_line`] or [`lines`], which replace such characters by escapes of JSON (RFC 8259, section 7). So the
//! output stays readable, and JSON stays the same document: outside its strings such characters do not occur, and in
//! a string the escape stands for the character.

use std::fmt::{self, Write};

/// A text that is escaped, and perhaps cut, when it is displayed.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    text: &'a str,
    is_one_line: bool,
    characters: usize,
}

/// The text on one line: line feeds and tabs are escaped, too.
pub fn one_line(text: &str) -> Shown<'_> {
    Shown { text, is_one_line: true, characters: usize::MAX }
}

/// A text of several lines: line feeds and tabs stay.
pub fn lines(text: &str) -> Shown<'_> {
    Shown { text, is_one_line: false, characters: usize::MAX }
}

impl Shown<'_> {
    /// Shows no more than the first `characters` of the text, and how many bytes it has.
    #[must_use]
    pub fn cut(self, characters: usize) -> Self {
        Self { characters, ..self }
    }

    fn is_escaped(&self, c: char) -> bool {
        match c {
            '\n' | '\t' => self.is_one_line,
            _ => c.is_control() || is_invisible(c),
        }
    }
}

/// Marks that change the direction of writing, end a line, or are not seen at all (Unicode, general categories Cf, Zl
/// and Zp, as far as they can make a text look like another one).
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.text.chars();
        for c in characters.by_ref().take(self.characters) {
            match c {
                c if !self.is_escaped(c) => f.write_char(c)?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(f, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        if characters.next().is_some() {
            write!(f, "… ({} bytes)", self.text.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_is_escaped_and_nothing_else() {
        for (text, shown) in [
            ("", ""),
            ("registry.example.org/a:1", "registry.example.org/a:1"),
            ("Größe \"1\" \\ 日本 🙂", "Größe \"1\" \\ 日本 🙂"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "\\u001b[2J\\u001b]0;title\\u0007"),
            ("\u{9b}2J\u{7f}\u{0}\u{e}", "\\u009b2J\\u007f\\u0000\\u000e"),
            ("done\r\nERROR: none", "done\\r\\nERROR: none"),
            ("a\tb", "a\\tb"),
            ("gpj.\u{202e}exe\u{2066}", "gpj.\\u202eexe\\u2066"),
            ("a\u{200b}b\u{feff}\u{2028}", "a\\u200bb\\ufeff\\u2028"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(one_line(text).to_string(), shown, "{text:?}");
        }
        assert_eq!(lines("a\tb\nc\rd\u{1b}[m").to_string(), "a\tb\nc\\rd\\u001b[m");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(one_line("äöü").cut(3).to_string(), "äöü");
        assert_eq!(one_line("äöü").cut(2).to_string(), "äö… (6 bytes)");
        assert_eq!(one_line("\n\n").cut(1).to_string(), "\\n… (2 bytes)");
    }

    #[test]
    fn json_stays_the_same_document() {
        let text: String =
            (0..0x3000_u32).chain(0xe_0000..0xe_0080).filter_map(char::from_u32).collect();
        let json = serde_json::to_string(&text).unwrap();
        let shown = one_line(&json).to_string();
        assert!(shown.len() > json.len());
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }
}
