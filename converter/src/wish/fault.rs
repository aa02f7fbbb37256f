//! What can be wrong with a wish list, and where.

use std::fmt;

use super::age::AgeError;
use super::glob::GlobError;
use super::template::TemplateError;
use super::yaml::{Position, YamlError};

/// Something that is wrong with a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it is.
    pub at: Position,
    /// What it costs.
    pub severity: Severity,
    /// What it is, and what would be right.
    pub problem: Problem,
}

/// What a fault costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing: it should be mended, but what the list means is clear.
    Remark,
    /// One entry of `input` is not understood. The others are.
    Entry,
    /// The list as a whole cannot be used.
    List,
}

impl fmt::Display for Fault {
    /// `LINE:COLUMN: problem`, or `LINE:COLUMN: remark: problem`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remark = if self.severity == Severity::Remark { "remark: " } else { "" };
        write!(f, "{}: {remark}{}", self.at, self.problem)
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is no YAML document that could be a list.
    #[error("{0}")]
    Yaml(#[from] YamlError),
    /// There is nothing in the file.
    #[error("the list is empty; it needs at least `input`, for instance `input: []`")]
    Empty,
    /// A key that means nothing.
    #[error("unknown key {key:?}{}", suggestion(.known))]
    UnknownKey {
        /// The key.
        key: String,
        /// The key that was probably meant.
        known: Option<&'static str>,
    },
    /// A key that only lists of version 2 have.
    #[error("the key {key:?} needs `version: 2`")]
    KeyOfVersion2 {
        /// The key.
        key: String,
    },
    /// A key that is there twice.
    #[error("the key {key:?} is here for the second time; the first is in line {first}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// The line of the first.
        first: usize,
    },
    /// A key that is needed is not there.
    #[error("the key {key:?} is missing; {hint}")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A value of the wrong kind.
    #[error("{what} has to be {expected}, not {found}")]
    WrongType {
        /// The key, or what else the value is.
        what: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A version that this program does not know.
    #[error("version {0} is unknown; this program reads 1 and 2")]
    Version(String),
    /// An image's name is wrong.
    #[error("{text:?} is not an image: {reason}")]
    Image {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `output_format` or `thin` is of no use.
    #[error("{0}")]
    Template(#[from] TemplateError),
    /// A pattern is not finished.
    #[error("{0}")]
    Glob(#[from] GlobError),
    /// An age is none.
    #[error("{0}")]
    Age(#[from] AgeError),
    /// A platform is none.
    #[error("{0}")]
    Platform(layer_layout::Error),
    /// A range of versions is none.
    #[error("{text:?} is not a range of versions: {reason}; write for instance \">=1.2, <3\"")]
    Range {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that only makes sense for several images stands with one.
    #[error(
        "{key:?} chooses among tags, but {image} has one already; leave the tag away, or the key"
    )]
    NothingToChoose {
        /// The key.
        key: &'static str,
        /// The image.
        image: String,
    },
    /// A pattern and a digest.
    #[error("{0} has a pattern and a digest, but a digest is one image")]
    PatternWithDigest(String),
    /// Globs twice.
    #[error("{0} has a pattern already; write all of them as `glob`, and leave the tag away")]
    TwoPatterns(String),
    /// The same image, twice in one list.
    #[error("{image} is in line {first} already")]
    DuplicateEntry {
        /// The image or pattern.
        image: String,
        /// The line of the first.
        first: usize,
    },
    /// There are so many faults that not all are told.
    #[error("here and below are {0} more faults")]
    More(usize),
}

fn suggestion(known: &Option<&'static str>) -> String {
    match known {
        Some(known) => format!("; did you mean {known:?}?"),
        None => String::new(),
    }
}

/// The most faults that are told.
const MOST: usize = 1000;

/// What is found while a list is read. Of very many faults only the first are kept.
#[derive(Debug, Default)]
pub(super) struct Faults {
    kept: Vec<Fault>,
    /// How many there are of each severity.
    counts: [usize; 3],
    /// The first that is not kept.
    more: Option<Position>,
}

impl Faults {
    pub(super) fn report(&mut self, at: Position, severity: Severity, problem: impl Into<Problem>) {
        self.counts[severity as usize] += 1;
        if self.kept.len() < MOST {
            self.kept.push(Fault { at, severity, problem: problem.into() });
        } else {
            self.more.get_or_insert(at);
        }
    }

    /// How many there are of at least this severity.
    pub(super) fn count(&self, severity: Severity) -> usize {
        self.counts[severity as usize..].iter().sum()
    }

    /// All that are kept, in the order of the text, and perhaps one that stands for the others.
    pub(super) fn in_order(mut self) -> Vec<Fault> {
        self.kept.sort_by_key(|fault| fault.at);
        if let Some(at) = self.more {
            let severity = [Severity::List, Severity::Entry, Severity::Remark]
                .into_iter()
                .find(|&severity| self.count(severity) > 0)
                .unwrap_or(Severity::Remark);
            let problem = Problem::More(self.count(Severity::Remark) - self.kept.len());
            self.kept.push(Fault { at, severity, problem });
        }
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_faults_the_first_are_told() {
        let mut faults = Faults::default();
        for line in 1..=MOST + 7 {
            let severity = if line == MOST + 3 { Severity::List } else { Severity::Remark };
            faults.report(Position { line, column: 1 }, severity, Problem::Empty);
        }
        assert_eq!((faults.count(Severity::Remark), faults.count(Severity::Entry)), (MOST + 7, 1));
        let faults = faults.in_order();
        assert_eq!(faults.len(), MOST + 1);
        let last = faults.last().unwrap();
        assert_eq!((last.at.line, last.severity), (MOST + 1, Severity::List));
        assert_eq!(last.to_string(), format!("{}:1: here and below are 7 more faults", MOST + 1));
    }
}
