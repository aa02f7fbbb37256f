//! Values of a mapping by their keys, with all that is wrong about keys and kinds of values.

use crate::wish::fault::{Faults, Problem, Severity};
use crate::wish::yaml::{Node, Text, Value};

/// The known keys of a mapping and their values.
pub(super) struct Fields<'a>(Vec<(&'static str, &'a Node, &'a Node)>);

impl<'a> Fields<'a> {
    /// Finds the known keys. What `unknown` says about each other key is reported, and so is a key that is there twice,
    /// with `severity`; the first one counts.
    pub(super) fn read(
        pairs: &'a [(Node, Node)],
        known: &[&'static str],
        severity: Severity,
        unknown: impl Fn(&str) -> (Severity, Problem),
        faults: &mut Faults,
    ) -> Self {
        let mut fields = Self(Vec::new());
        for (key, value) in pairs {
            let Value::Text(Text { text, .. }) = &key.value else {
                faults.report(key.at, severity, wrong("a key", "a text", key));
                continue;
            };
            let Some(&known) = known.iter().find(|&&known| known == text) else {
                let (severity, problem) = unknown(text);
                faults.report(key.at, severity, problem);
                continue;
            };
            match fields.0.iter().find(|(other, ..)| *other == known) {
                None => fields.0.push((known, key, value)),
                Some((_, first, _)) => {
                    let (key_text, first) = (text.clone(), first.at.line);
                    let problem = Problem::DuplicateKey { key: key_text, first };
                    faults.report(key.at, severity, problem);
                }
            }
        }
        fields
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.0.iter().find(|(known, ..)| *known == key).map(|(.., value)| *value)
    }

    /// The key itself, to say where it is.
    pub(super) fn key(&self, key: &str) -> Option<&'a Node> {
        self.0.iter().find(|(known, ..)| *known == key).map(|(_, key, _)| *key)
    }
}

/// The known key that was probably meant: with other capitals or dashes, or with a slip or two.
pub(super) fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let distance = |known: &&'static str| {
        let distance = strsim::osa_distance(&plain(key), &plain(known));
        (distance <= (known.len() / 3).max(1)).then_some((distance, *known))
    };
    known.iter().filter_map(distance).min().map(|(_, known)| known)
}

/// The problem that a value is not of the kind that it should be.
pub(super) fn wrong(what: &str, expected: &'static str, found: &Node) -> Problem {
    let found = match &found.value {
        Value::Text(Text { text, plain, .. }) if text.chars().count() <= 40 => match plain {
            true => format!("`{text}`"),
            false => format!("the text {text:?}"),
        },
        _ => found.kind().to_owned(),
    };
    Problem::WrongType { what: what.to_owned(), expected, found }
}

/// Reads values, and reports those of the wrong kind with one severity.
pub(super) struct Reader<'f> {
    pub(super) severity: Severity,
    pub(super) faults: &'f mut Faults,
}

impl Reader<'_> {
    pub(super) fn report(&mut self, node: &Node, problem: impl Into<Problem>) {
        self.faults.report(node.at, self.severity, problem);
    }

    /// A text. Numbers and truth values count as what they look like.
    pub(super) fn text<'a>(&mut self, what: &str, node: &'a Node) -> Option<&'a Text> {
        match &node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.report(node, wrong(what, "a text", node));
                None
            }
        }
    }

    /// Texts, or a single one.
    pub(super) fn texts<'a>(&mut self, what: &str, node: &'a Node) -> Vec<(&'a Node, &'a Text)> {
        match &node.value {
            Value::Text(text) => vec![(node, text)],
            Value::List(nodes) => {
                let texts = nodes.iter().map(|node| Some((node, self.text(what, node)?)));
                texts.collect::<Vec<_>>().into_iter().flatten().collect()
            }
            _ => {
                self.report(node, wrong(what, "a text or a list of texts", node));
                Vec::new()
            }
        }
    }

    /// `true` or `false`, without quotes.
    pub(super) fn truth(&mut self, what: &str, node: &Node) -> Option<bool> {
        let truth = match plain(node) {
            Some("true" | "True" | "TRUE") => Some(true),
            Some("false" | "False" | "FALSE") => Some(false),
            _ => None,
        };
        if truth.is_none() {
            self.report(node, wrong(what, "true or false", node));
        }
        truth
    }

    /// A whole number, without quotes.
    pub(super) fn number<N: std::str::FromStr>(
        &mut self,
        what: &str,
        expected: &'static str,
        node: &Node,
    ) -> Option<N> {
        let number = plain(node).and_then(|text| text.parse().ok());
        if number.is_none() {
            self.report(node, wrong(what, expected, node));
        }
        number
    }
}

/// A text without quotes.
pub(super) fn plain(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) if text.plain => Some(&text.text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_probably_meant() {
        let known = ["version", "cvmfs_repo", "output_format", "input", "ignoreErrors", "tags"];
        for (key, meant) in [
            ("inptu", Some("input")),
            ("inputs", Some("input")),
            ("Input", Some("input")),
            ("cvmfs-repo", Some("cvmfs_repo")),
            ("cvmfsrepo", Some("cvmfs_repo")),
            ("outputformat", Some("output_format")),
            ("ignore_errors", Some("ignoreErrors")),
            ("tag", Some("tags")),
            ("comment", None),
            ("x", None),
        ] {
            assert_eq!(nearest(key, &known), meant, "{key}");
        }
    }
}
