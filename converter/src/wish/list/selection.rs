//! Which tags of a repository are wished for (`tags` and `exclude` in lists of version 2).

use std::num::NonZeroUsize;

use semver::VersionReq;

use super::fields::{Fields, Reader, nearest, wrong};
use crate::wish::age::{Age, AgeError};
use crate::wish::fault::Problem;
use crate::wish::glob::Glob;
use crate::wish::yaml::{Node, Value};

/// What a tag has to be. All that is given has to be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// One of these matches it; if there are none, every tag is meant.
    pub globs: Vec<Glob>,
    /// None of these matches it.
    pub exclude: Vec<Glob>,
    /// It is a version in this range.
    pub range: Option<VersionReq>,
    /// It is among this many: those with the highest versions if there is a range, and the youngest otherwise.
    pub newest: Option<NonZeroUsize>,
    /// It is not older.
    pub max_age: Option<Age>,
}

/// The members of `tags`, as far as they are given.
#[derive(Debug, Clone, Default)]
pub(super) struct Tags {
    pub(super) globs: Option<Vec<Glob>>,
    range: Option<VersionReq>,
    newest: Option<NonZeroUsize>,
    max_age: Option<Age>,
}

const KEYS: [&str; 4] = ["glob", "semver", "newest", "max_age"];

impl Tags {
    /// Reads `tags`: a pattern, a list of patterns, or a mapping.
    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        let mut tags = Self::default();
        match &node.value {
            Value::Text(_) | Value::List(_) => tags.globs = Some(globs("tags", node, reader)),
            Value::Map(pairs) => {
                let severity = reader.severity;
                let unknown = |key: &str| {
                    let known = nearest(key, &KEYS);
                    (severity, Problem::UnknownKey { key: key.to_owned(), known })
                };
                let fields = Fields::read(pairs, &KEYS, severity, unknown, reader.faults);
                tags.globs = fields.get("glob").map(|node| globs("glob", node, reader));
                tags.range = fields.get("semver").and_then(|node| range(node, reader));
                tags.newest = fields
                    .get("newest")
                    .and_then(|node| reader.number("newest", "a number above 0", node));
                tags.max_age = fields.get("max_age").and_then(|node| age(node, reader));
                if pairs.is_empty() {
                    reader.report(node, wrong("tags", "a pattern, a list or a mapping", node));
                }
            }
            Value::Null => {
                reader.report(node, wrong("tags", "a pattern, a list or a mapping", node));
            }
        }
        tags
    }

    /// What is not given here is taken from `defaults`.
    pub(super) fn or(self, defaults: &Self) -> Self {
        Self {
            globs: self.globs.or_else(|| defaults.globs.clone()),
            range: self.range.or_else(|| defaults.range.clone()),
            newest: self.newest.or(defaults.newest),
            max_age: self.max_age.or(defaults.max_age),
        }
    }

    pub(super) fn selection(self, exclude: Vec<Glob>) -> Selection {
        let Self { globs, range, newest, max_age } = self;
        Selection { globs: globs.unwrap_or_default(), exclude, range, newest, max_age }
    }
}

/// One or more patterns.
pub(super) fn globs(what: &str, node: &Node, reader: &mut Reader<'_>) -> Vec<Glob> {
    let texts = reader.texts(what, node);
    if matches!(&node.value, Value::List(nodes) if nodes.is_empty()) && what != "exclude" {
        reader.report(node, wrong(what, "at least one pattern", node));
    }
    let mut globs = Vec::new();
    for (node, text) in texts {
        match Glob::parse(&text.text) {
            Ok(glob) => globs.push(glob),
            Err(error) => reader.report(node, error),
        }
    }
    globs
}

fn range(node: &Node, reader: &mut Reader<'_>) -> Option<VersionReq> {
    let text = &reader.text("semver", node)?.text;
    match parse_range(text) {
        Ok(range) => Some(range),
        Err(error) => {
            let (text, reason) = (text.clone(), error.to_string());
            reader.report(node, Problem::Range { text, reason });
            None
        }
    }
}

/// A range as Cargo writes it; a `v` before a number is ignored, as before that of a tag.
fn parse_range(text: &str) -> Result<VersionReq, semver::Error> {
    let without_v: String = text
        .char_indices()
        .filter(|&(at, c)| {
            let before = |c: char| c.is_whitespace() || "<>=~^,".contains(c);
            let begins = at == 0 || text[..at].ends_with(before);
            let number = text[at + c.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
            !(matches!(c, 'v' | 'V') && begins && number)
        })
        .map(|(_, c)| c)
        .collect();
    VersionReq::parse(&without_v)
}

fn age(node: &Node, reader: &mut Reader<'_>) -> Option<Age> {
    let age: Result<Age, AgeError> = reader.text("max_age", node)?.text.parse();
    age.map_err(|error| reader.report(node, error)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v_before_a_number_is_ignored() {
        for (text, range) in [
            (">=v1.2, <v3", ">=1.2, <3"),
            ("v1", "^1"),
            ("~V1.2", "~1.2"),
            (">=1.2.3-v1", ">=1.2.3-v1"),
        ] {
            let expected = VersionReq::parse(range).unwrap();
            assert_eq!(parse_range(text).unwrap(), expected, "{text}");
        }
        for text in ["", "new", ">=1 <2", "1.2.3.4"] {
            assert!(parse_range(text).is_err(), "{text:?}");
        }
    }
}
