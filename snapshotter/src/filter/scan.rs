//! The tokens of the filter language.
//!
//! Fields and values follow different rules: after an operator, everything printable up to a comma or white space
//! is one value. Quoted texts are Go string literals; a regular expression may also be quoted by slashes or bars.

use std::sync::LazyLock;

use regex::Regex;

/// What was expected, and where (a byte offset).
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) expected: &'static str,
    pub(super) at: usize,
}

pub(super) type Result<T> = std::result::Result<T, SyntaxError>;

/// Reads one filter from the left.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// Go's `unicode.IsGraphic` without white space and the comma.
static VALUE: LazyLock<Regex> = LazyLock::new(|| {
    #[allow(clippy::unwrap_used)] // a constant
    Regex::new(r"\A[[\pL\pM\pN\pP\pS]&&[^,]]*").unwrap()
});

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error<T>(&self, expected: &'static str) -> Result<T> {
        Err(SyntaxError { expected, at: self.at })
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, length: usize) -> &'a str {
        let taken = &self.rest()[..length];
        self.at += length;
        taken
    }

    pub(super) fn at_end(&self) -> bool {
        self.rest().is_empty()
    }

    pub(super) fn at_comma(&self) -> bool {
        self.peek() == Some(',')
    }

    /// White space before a comma is not allowed.
    pub(super) fn comma(&mut self) -> Result<()> {
        if !self.at_comma() {
            return self.error("expected a comma or the end");
        }
        self.at += 1;
        Ok(())
    }

    /// Consumes the dot between two parts of a field path, if there is one.
    pub(super) fn dot(&mut self) -> bool {
        let found = self.peek() == Some('.');
        self.at += usize::from(found);
        found
    }

    /// One part of a field path: letters, digits and underscores, or a text in double quotes.
    pub(super) fn field(&mut self) -> Result<Vec<u8>> {
        self.skip_space();
        if self.peek() == Some('"') {
            return self.quoted();
        }
        let end = self.rest().find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        match end.unwrap_or(self.rest().len()) {
            0 => self.error("expected a field name (quote it if it holds other characters)"),
            length => Ok(self.take(length).into()),
        }
    }

    pub(super) fn operator(&mut self) -> Result<&'a str> {
        self.skip_space();
        let end = self.rest().find(|c| !matches!(c, '=' | '!' | '~'));
        let length = end.unwrap_or(self.rest().len());
        match &self.rest()[..length] {
            "==" | "!=" | "~=" => Ok(self.take(length)),
            _ => self.error("expected an operator (==, != or ~=)"),
        }
    }

    /// The value after an operator; with `regex`, slashes and bars are quotes, too.
    pub(super) fn value(&mut self, regex: bool) -> Result<Vec<u8>> {
        self.skip_space();
        match self.peek() {
            Some('"') => self.quoted(),
            Some('/' | '|') if regex => self.quoted(),
            Some('/' | '|') => self.error("expected a value (only ~= takes this quote)"),
            None | Some(',' | '.' | '=' | '!' | '~' | '\0') => self.error("expected a value"),
            Some(first) => {
                let tail = &self.rest()[first.len_utf8()..];
                let length = VALUE.find(tail).map_or(0, |found| found.end());
                Ok(self.take(first.len_utf8() + length).into())
            }
        }
    }

    /// A Go string literal. Its escapes may stand for bytes that are not UTF-8.
    fn quoted(&mut self) -> Result<Vec<u8>> {
        let Some(quote) = self.peek() else { return self.error("expected a quote") };
        let mut value = Vec::new();
        self.at += 1;
        loop {
            match self.peek() {
                None | Some('\n' | '\0') => return self.error("expected the closing quote"),
                Some(c) if c == quote => {
                    self.at += 1;
                    return Ok(value);
                }
                Some('\\') => self.escape(quote, &mut value)?,
                Some(c) => value.extend_from_slice(self.take(c.len_utf8()).as_bytes()),
            }
        }
    }

    fn escape(&mut self, quote: char, value: &mut Vec<u8>) -> Result<()> {
        const EXPECTED: &str = "expected an escape sequence of Go";
        let Some(kind) = self.rest()[1..].chars().next() else { return self.error(EXPECTED) };
        let simple = match kind {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 0x0b,
            '\\' => b'\\',
            _ if kind == quote => quote as u8, // all quotes are ASCII
            _ => return self.numeric_escape(kind, value),
        };
        value.push(simple);
        self.at += 2;
        Ok(())
    }

    fn numeric_escape(&mut self, kind: char, value: &mut Vec<u8>) -> Result<()> {
        let (skip, digits, radix) = match kind {
            '0'..='7' => (1, 3, 8),
            'x' => (2, 2, 16),
            'u' => (2, 4, 16),
            'U' => (2, 8, 16),
            _ => return self.error("expected an escape sequence of Go"),
        };
        let number = self
            .rest()
            .get(skip..skip + digits)
            .filter(|digits| digits.chars().all(|c| c.is_digit(radix)))
            .and_then(|digits| u32::from_str_radix(digits, radix).ok());
        match (kind, number) {
            ('u' | 'U', Some(number)) if number <= u32::from(char::MAX) => {
                // A surrogate becomes the replacement character, as in Go.
                let c = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
                value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            ('0'..='7' | 'x', Some(number)) if number <= u32::from(u8::MAX) => {
                value.push(number as u8);
            }
            _ => return self.error("expected a number in the escape sequence"),
        }
        self.at += skip + digits;
        Ok(())
    }
}
