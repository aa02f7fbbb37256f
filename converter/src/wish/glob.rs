//! Shell patterns, for tags and for names of images.
//!
//! The language is that of Go's `path.Match`, which DUCC uses for `ignoreErrors`: `*` stands for any run of characters
//! other than `/`, `?` for one such character, `[a-z]` and `[^a-z]` for one of a class, and `\` takes the next
//! character as it is. A pattern matches a whole name, never a part of it.

use std::fmt;

/// A pattern that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// `*`
    Run,
    /// `?`
    One,
    Literal(char),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} in the pattern {text:?}")]
pub struct GlobError {
    text: String,
    reason: &'static str,
}

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    /// If it is empty, or a class or an escape is not finished.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        let error = |reason| GlobError { text: text.to_owned(), reason };
        if text.is_empty() {
            return Err(error("expected something"));
        }
        let mut tokens = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let token = match c {
                '*' => Token::Run,
                '?' => Token::One,
                '\\' => Token::Literal(rest.next().ok_or_else(|| error("nothing after `\\`"))?),
                '[' => class(&mut rest).map_err(error)?,
                c => Token::Literal(c),
            };
            // Two runs are one run, and matching takes time for each.
            if token != Token::Run || tokens.last() != Some(&Token::Run) {
                tokens.push(token);
            }
        }
        Ok(Self { text: text.to_owned(), tokens })
    }

    /// A pattern in which `*` alone is special, as in a tag of a wish list's `input`.
    pub(super) fn of_tag(tag: &str) -> Self {
        let mut tokens = Vec::new();
        for c in tag.chars() {
            match (c, tokens.last()) {
                ('*', Some(Token::Run)) => {}
                ('*', _) => tokens.push(Token::Run),
                (c, _) => tokens.push(Token::Literal(c)),
            }
        }
        Self { text: tag.to_owned(), tokens }
    }

    /// Whether the pattern matches all of `name`.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut token) = (0, 0);
        // Where the last run begins, and what follows it: if the rest does not fit, the run takes one more character.
        // An earlier run never has to, because what it could reach the last one reaches, too.
        let mut last_run: Option<(usize, usize)> = None;
        loop {
            match self.tokens.get(token) {
                Some(Token::Run) => {
                    token += 1;
                    last_run = Some((at, token));
                    continue;
                }
                Some(other) if name.get(at).is_some_and(|&c| other.fits(c)) => {
                    (at, token) = (at + 1, token + 1);
                    continue;
                }
                None if at == name.len() => return true,
                _ => {}
            }
            match last_run {
                Some((begin, after)) if name.get(begin).is_some_and(|&c| c != '/') => {
                    last_run = Some((begin + 1, after));
                    (at, token) = (begin + 1, after);
                }
                _ => return false,
            }
        }
    }
}

impl Token {
    fn fits(&self, c: char) -> bool {
        match self {
            Self::Run => false,
            Self::One => c != '/',
            Self::Literal(own) => *own == c,
            Self::Class { negated, ranges } => {
                c != '/' && ranges.iter().any(|&(from, to)| (from..=to).contains(&c)) != *negated
            }
        }
    }
}

/// What follows `[`.
fn class(rest: &mut std::str::Chars<'_>) -> Result<Token, &'static str> {
    const UNFINISHED: &str = "`[` without its `]`";
    let negated = rest.as_str().starts_with('^');
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.as_str().starts_with(']') {
            rest.next();
            return Ok(Token::Class { negated, ranges });
        }
        let from = member(rest)?.ok_or(UNFINISHED)?;
        let to = match rest.as_str().strip_prefix('-') {
            None => from,
            Some(_) => {
                rest.next();
                member(rest)?.ok_or(UNFINISHED)?
            }
        };
        if from > to {
            return Err("a range that is the wrong way round");
        }
        ranges.push((from, to));
    }
}

/// One character of a class; `None` at the end of the text.
fn member(rest: &mut std::str::Chars<'_>) -> Result<Option<char>, &'static str> {
    match rest.next() {
        Some('\\') => rest.next().map(Some).ok_or("nothing after `\\`"),
        Some(']' | '-') => Err("`]` or `-` at a wrong place in `[…]`"),
        other => Ok(other),
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches_what() {
        for (pattern, name, matches) in [
            ("*", "", true),
            ("*", "1.2", true),
            ("v1.*", "v1.2", true),
            ("v1.*", "v1.", true),
            ("v1.*", "v1a2", false),
            ("*-slim", "12-slim", true),
            ("*-slim", "12-slim-x", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("**x", "abx", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?c", "a/c", false),
            ("[0-9]*", "12", true),
            ("[0-9]*", "latest", false),
            ("[^0-9]*", "latest", true),
            ("[ab-d]", "c", true),
            ("[ab-d]", "e", false),
            ("[^a]", "/", false),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"[\]]", "]", true),
            ("https://quay.io/org/*", "https://quay.io/org/tool:1", true),
            ("https://quay.io/*", "https://quay.io/org/tool:1", false),
            ("https://quay.io/*/*", "https://quay.io/org/tool:1", true),
            ("*tool*", "https://quay.io/org/tool:1", false),
            ("ab", "abc", false),
            ("abc", "ab", false),
            ("é*", "éa", true),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn matching_takes_time_in_proportion() {
        let pattern = Glob::parse(&"*a".repeat(200)).unwrap();
        assert!(!pattern.matches(&format!("{}b", "a".repeat(5000))));
    }

    #[test]
    fn in_tags_only_the_star_is_special() {
        assert!(Glob::of_tag("v1.*").matches("v1.2"));
        assert!(!Glob::of_tag("v1.*").matches("v1a"));
        assert!(Glob::of_tag("*").matches("anything"));
        assert!(Glob::of_tag("a**b").matches("ab"));
    }

    #[test]
    fn bad_patterns() {
        for (pattern, part) in [
            ("", "expected something"),
            ("[", "without its"),
            ("[a", "without its"),
            ("[]", "wrong place"),
            ("[]a]", "wrong place"),
            ("[a-]", "wrong place"),
            ("[z-a]", "wrong way round"),
            (r"a\", "nothing after"),
            (r"[\", "nothing after"),
        ] {
            let error = Glob::parse(pattern).unwrap_err().to_string();
            assert!(error.contains(part), "{pattern:?}: {error}");
        }
    }
}
