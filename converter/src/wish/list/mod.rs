//! A wish list as a file: YAML in, entries and faults out. Pure.
//!
//! Version 1 is DUCC's. What DUCC reads is read, with the same meaning, but what it accepts without a word and what
//! would then cost images is a fault: a misspelt `input` is not an empty list, and neither is `input` without a value.
//! Version 2 adds `defaults` and entries that are mappings. docs/wish-lists.md describes both,
//! docs/wish-list.schema.json is for editors.

mod entry;
mod fields;
mod selection;
mod settings;

use std::collections::HashMap;

pub use entry::{Entry, Images};
pub use selection::Selection;
pub use settings::Settings;

use self::entry::Common;
use self::fields::{Fields, Reader, nearest, plain, wrong};
use self::settings::Given;
use super::fault::{Fault, Faults, Problem, Severity};
use super::glob::Glob;
use super::ignore::IgnoreErrors;
use super::template::{self, Template};
use super::yaml::{self, Node, Position, Value};

/// A list without its faults: the entries that are understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// 1 or 2.
    pub version: u8,
    /// The account for pushing thin images.
    pub user: Option<String>,
    /// The repository, `cvmfs_repo`, as it was written.
    pub repository: Option<String>,
    /// Images whose failures shall not fail a run.
    pub ignore_errors: IgnoreErrors,
    /// What is wished for, in the order of the list.
    pub entries: Vec<Entry>,
    /// Whether all entries of `input` are understood. If not, nobody knows what is not wished for, and nothing may
    /// be removed because of this list.
    pub complete: bool,
}

/// What was found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The list; `None` if a fault is one of the list as a whole.
    pub list: Option<List>,
    /// What is wrong, in the order of the file.
    pub faults: Vec<Fault>,
}

const KEYS_1: [&str; 6] =
    ["version", "user", "cvmfs_repo", "output_format", "input", "ignoreErrors"];
const KEYS_2: [&str; 7] =
    ["version", "user", "cvmfs_repo", "output_format", "input", "ignoreErrors", "defaults"];

/// Reads a list. All faults are found, unless the text is not YAML.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut faults = Faults::default();
    let list = read(bytes, &mut faults);
    let sound = faults.count(Severity::List) == 0;
    Parsed { list: list.filter(|_| sound), faults: faults.in_order() }
}

fn read(bytes: &[u8], faults: &mut Faults) -> Option<List> {
    let root = root(bytes, "a wish list", faults)?;
    let Value::Map(pairs) = &root.value else { return None };
    let version = version(pairs, faults)?;
    let list = Severity::List;
    let known: &[_] = if version == 1 { &KEYS_1 } else { &KEYS_2 };
    let unknown = |key: &str| {
        let problem = |known| Problem::UnknownKey { key: key.to_owned(), known };
        match nearest(key, known) {
            _ if known.len() < KEYS_2.len() && key == "defaults" => {
                (list, Problem::KeyOfVersion2 { key: key.to_owned() })
            }
            // DUCC ignores unknown keys, and old lists may have some. One that looks like another was meant as that.
            None if version == 1 => (Severity::Remark, problem(None)),
            nearest => (list, problem(nearest)),
        }
    };
    let fields = Fields::read(pairs, known, list, unknown, faults);
    let fields = Top { fields, version };

    let user = fields.text("user", faults);
    let repository = fields.text("cvmfs_repo", faults);
    let output_format = fields.output_format(faults);
    let ignore_errors = fields.ignore_errors(faults);
    let defaults = fields.defaults(faults);
    let common = Common { defaults: &defaults, output_format: output_format.as_ref() };
    let before = faults.count(Severity::Entry);
    let entries = fields.input(&common, faults);
    report_duplicates(&entries, faults);
    report_nameless(&entries, faults);
    let complete = faults.count(Severity::Entry) == before;
    Some(List { version, user, repository, ignore_errors, entries, complete })
}

/// Reads a file with `ignoreErrors` only, as `DUCC_IGNORE_ERRORS_FILE` names one. Other keys are ignored.
pub fn parse_ignore_errors(bytes: &[u8]) -> (IgnoreErrors, Vec<Fault>) {
    let mut faults = Faults::default();
    let root = root(bytes, "the file", &mut faults);
    let ignore = match root.as_ref().map(|root| &root.value) {
        Some(Value::Map(pairs)) => {
            let unknown = |key: &str| {
                let known = nearest(key, &["ignoreErrors"]);
                (Severity::Remark, Problem::UnknownKey { key: key.to_owned(), known })
            };
            let known = ["ignoreErrors"];
            let fields = Fields::read(pairs, &known, Severity::List, unknown, &mut faults);
            Top { fields, version: 1 }.ignore_errors(&mut faults)
        }
        _ => IgnoreErrors::default(),
    };
    (ignore, faults.in_order())
}

/// The places of wish lists, and those of lists of images, in a file for `prune-images`.
///
/// # Errors
/// The first thing that is not understood.
pub(super) fn parse_prune_config(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), Box<Fault>> {
    const KEYS: [&str; 2] = ["wishlists", "expanded_images"];
    let mut faults = Faults::default();
    let root = root(bytes, "the file", &mut faults);
    let mut texts = [Vec::new(), Vec::new()];
    if let Some(Value::Map(pairs)) = root.as_ref().map(|root| &root.value) {
        let unknown = |key: &str| {
            let known = nearest(key, &KEYS);
            (Severity::List, Problem::UnknownKey { key: key.to_owned(), known })
        };
        let fields = Fields::read(pairs, &KEYS, Severity::List, unknown, &mut faults);
        for (key, texts) in KEYS.into_iter().zip(&mut texts) {
            let node = fields.get(key).filter(|node| node.value != Value::Null);
            let mut reader = Reader { severity: Severity::List, faults: &mut faults };
            let found = node.map(|node| reader.texts(key, node)).unwrap_or_default();
            texts.extend(found.into_iter().map(|(_, text)| text.text.clone()));
        }
    }
    match faults.in_order().into_iter().next() {
        Some(fault) => Err(fault.into()),
        None => Ok(texts.into()),
    }
}

/// The document, which has to be a mapping.
fn root(bytes: &[u8], what: &str, faults: &mut Faults) -> Option<Node> {
    let list = Severity::List;
    match yaml::parse(bytes) {
        Ok(Some(root)) if matches!(root.value, Value::Map(_)) => return Some(root),
        Ok(Some(root)) if root.value != Value::Null => {
            faults.report(root.at, list, wrong(what, "a mapping of keys to values", &root));
        }
        Ok(_) => faults.report(Position::START, list, Problem::Empty),
        Err((at, error)) => faults.report(at, list, error),
    }
    None
}

/// The version, without which the other keys mean nothing; 1 if there is none.
fn version(pairs: &[(Node, Node)], faults: &mut Faults) -> Option<u8> {
    let is_version = |key: &Node| matches!(&key.value, Value::Text(it) if it.text == "version");
    let Some((_, node)) = pairs.iter().find(|(key, _)| is_version(key)) else {
        return Some(1);
    };
    match plain(node) {
        Some("1") => Some(1),
        Some("2") => Some(2),
        Some(other) if other.parse::<i64>().is_ok() => {
            faults.report(node.at, Severity::List, Problem::Version(other.to_owned()));
            None
        }
        _ => {
            faults.report(node.at, Severity::List, wrong("version", "1 or 2", node));
            None
        }
    }
}

/// The keys of the document.
struct Top<'a> {
    fields: Fields<'a>,
    version: u8,
}

impl<'a> Top<'a> {
    /// The value of a key. In version 1, nothing is the same as no key, as in DUCC.
    fn get(&self, key: &str) -> Option<&'a Node> {
        let node = self.fields.get(key)?;
        (self.version != 1 || node.value != Value::Null).then_some(node)
    }

    fn text(&self, key: &str, faults: &mut Faults) -> Option<String> {
        let node = self.get(key)?;
        let text = Reader { severity: Severity::List, faults }.text(key, node)?;
        Some(text.text.clone()).filter(|text| !text.is_empty())
    }

    /// The template for the names of thin images. DUCC has one in any case, and notices a bad one image by image.
    fn output_format(&self, faults: &mut Faults) -> Option<Template> {
        let text = self.text("output_format", faults);
        let text = match (&text, self.version) {
            (Some(text), _) => text,
            (None, 1) => template::DEFAULT,
            (None, _) => return None,
        };
        match Template::parse(text) {
            Ok(template) => Some(template),
            Err(error) => {
                let severity = if self.version == 1 { Severity::Remark } else { Severity::List };
                let at = self.fields.get("output_format").map_or(Position::START, |node| node.at);
                faults.report(at, severity, error);
                None
            }
        }
    }

    /// DUCC ignores patterns that are not finished.
    fn ignore_errors(&self, faults: &mut Faults) -> IgnoreErrors {
        let Some(node) = self.get("ignoreErrors") else { return IgnoreErrors::default() };
        let texts = Reader { severity: Severity::List, faults }.texts("ignoreErrors", node);
        let mut globs = Vec::new();
        for (node, text) in texts {
            match Glob::parse(&text.text) {
                Ok(glob) => globs.push(glob),
                Err(error) => {
                    let severity =
                        if self.version == 1 { Severity::Remark } else { Severity::List };
                    faults.report(node.at, severity, error);
                }
            }
        }
        IgnoreErrors(globs)
    }

    fn defaults(&self, faults: &mut Faults) -> Given {
        let Some(node) = self.get("defaults") else { return Given::default() };
        let mut reader = Reader { severity: Severity::List, faults };
        let Value::Map(pairs) = &node.value else {
            reader.report(node, wrong("defaults", "a mapping", node));
            return Given::default();
        };
        let unknown = |key: &str| {
            let known = nearest(key, &settings::KEYS);
            (Severity::List, Problem::UnknownKey { key: key.to_owned(), known })
        };
        let fields = Fields::read(pairs, &settings::KEYS, Severity::List, unknown, reader.faults);
        Given::read(&fields, &mut reader)
    }

    fn input(&self, common: &Common<'_>, faults: &mut Faults) -> Vec<Entry> {
        const HINT: &str = "write `input: []` if nothing is wished for";
        let Some(node) = self.fields.get("input") else {
            let problem = Problem::MissingKey { key: "input", hint: HINT };
            faults.report(Position::START, Severity::List, problem);
            return Vec::new();
        };
        let Value::List(nodes) = &node.value else {
            // An `input` without a value may be one whose entries were lost; an empty list is meant as such.
            let expected = "a list (`input: []` if nothing is wished for)";
            faults.report(node.at, Severity::List, wrong("input", expected, node));
            return Vec::new();
        };
        let read = if self.version == 1 { Entry::version_1 } else { Entry::version_2 };
        nodes.iter().filter_map(|node| read(node, common, faults)).collect()
    }
}

/// The same image twice is no error, but somebody may have meant another one.
fn report_duplicates(entries: &[Entry], faults: &mut Faults) {
    let mut first = HashMap::new();
    for entry in entries {
        let Images::One(reference) = &entry.images else { continue };
        let at = *first.entry(reference).or_insert(entry.at);
        if at != entry.at {
            let image = reference.to_string();
            let problem = Problem::DuplicateEntry { image, first: at.line };
            faults.report(entry.at, Severity::Remark, problem);
        }
    }
}

/// Images for which the template makes no name are published all the same, without a thin image.
fn report_nameless(entries: &[Entry], faults: &mut Faults) {
    for entry in entries {
        let Images::One(reference) = &entry.images else { continue };
        if let Some(Err(error)) =
            entry.settings.thin.as_ref().map(|template| template.apply(reference))
        {
            faults.report(entry.at, Severity::Remark, error);
        }
    }
}

#[cfg(test)]
mod tests;
