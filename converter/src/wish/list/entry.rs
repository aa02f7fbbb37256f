//! One entry of `input`.

use layer_layout::RegistryReference;

use super::fields::{Fields, Reader, nearest, wrong};
use super::selection::Selection;
use super::settings::{self, Given, Settings};
use crate::wish::fault::{Faults, Problem, Severity};
use crate::wish::glob::Glob;
use crate::wish::template::Template;
use crate::wish::yaml::{Node, Position, Text, Value};

/// What one entry of `input` wishes for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub at: Position,
    /// The image as it was written.
    pub text: String,
    /// The image or images.
    pub images: Images,
    /// How it is wished for.
    pub settings: Settings,
}

/// The images of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Images {
    /// The one with this tag or digest.
    One(RegistryReference),
    /// Those with some of the tags of a repository.
    Many {
        /// The repository; the tag in this reference is a pattern.
        repository: RegistryReference,
        /// Which tags.
        selection: Selection,
    },
}

impl Images {
    /// A reference in the repository.
    pub fn reference(&self) -> &RegistryReference {
        match self {
            Self::One(reference) | Self::Many { repository: reference, .. } => reference,
        }
    }
}

/// What a list says for all of its entries.
pub(super) struct Common<'a> {
    pub(super) defaults: &'a Given,
    pub(super) output_format: Option<&'a Template>,
}

impl Entry {
    /// Reads an entry of a list of version 1: the name of an image.
    pub(super) fn version_1(node: &Node, common: &Common<'_>, faults: &mut Faults) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            let expected = match node.value {
                Value::Map(_) => "the name of an image (mappings need `version: 2`)",
                _ => "the name of an image",
            };
            faults.report(node.at, Severity::Entry, wrong("an entry of `input`", expected, node));
            return None;
        };
        let images = match text.text.parse::<RegistryReference>() {
            Ok(reference) if !reference.is_wildcard() => Images::One(reference),
            Ok(reference) => many(node, reference, Given::default(), common, faults)?,
            Err(error) => {
                report_image(node, text, &error, faults);
                return None;
            }
        };
        Some(Self::new(node, text, images, Given::default(), common))
    }

    /// Reads an entry of a list of version 2: the name of an image, or a mapping with it.
    pub(super) fn version_2(node: &Node, common: &Common<'_>, faults: &mut Faults) -> Option<Self> {
        let before = faults.count(Severity::Entry);
        let (node, given) = match &node.value {
            Value::Text(_) => (node, Given::default()),
            Value::Map(pairs) => {
                let known: Vec<_> = std::iter::once("image").chain(settings::KEYS).collect();
                let unknown = |key: &str| {
                    let known = nearest(key, &known);
                    (Severity::Entry, Problem::UnknownKey { key: key.to_owned(), known })
                };
                let fields = Fields::read(pairs, &known, Severity::Entry, unknown, faults);
                let mut reader = Reader { severity: Severity::Entry, faults };
                let given = Given::read(&fields, &mut reader);
                let Some(image) = fields.get("image") else {
                    let hint = "it names the image, for instance `image: quay.io/org/tool:1`";
                    reader.report(node, Problem::MissingKey { key: "image", hint });
                    return None;
                };
                if let Value::Text(text) = &image.value
                    && let Ok(reference) = text.text.parse::<RegistryReference>()
                    && !reference.is_wildcard()
                {
                    for key in ["tags", "exclude"] {
                        if let Some(node) = fields.key(key) {
                            let image = text.text.clone();
                            reader.report(node, Problem::NothingToChoose { key, image });
                        }
                    }
                }
                (image, given)
            }
            _ => {
                let expected = "the name of an image, or a mapping";
                let problem = wrong("an entry of `input`", expected, node);
                faults.report(node.at, Severity::Entry, problem);
                return None;
            }
        };
        let Value::Text(text) = &node.value else {
            faults.report(node.at, Severity::Entry, wrong("image", "the name of an image", node));
            return None;
        };
        let images = match reference_2(&text.text) {
            Ok(reference) if !reference.is_wildcard() => Images::One(reference),
            Ok(reference) => many(node, reference, given.clone(), common, faults)?,
            Err(error) => {
                report_image(node, text, &error, faults);
                return None;
            }
        };
        if let Images::Many { selection, .. } = &images
            && *selection
                == (Selection { exclude: selection.exclude.clone(), ..Selection::default() })
        {
            let reason = "expected `:tag`, `@sha256:…` or the key `tags`; there is no default tag";
            let problem = Problem::Image { text: text.text.clone(), reason: reason.to_owned() };
            let at = text.position(text.text.len()).unwrap_or(node.at);
            faults.report(at, Severity::Entry, problem);
        }
        (faults.count(Severity::Entry) == before)
            .then(|| Self::new(node, text, images, given, common))
    }

    fn new(node: &Node, text: &Text, images: Images, given: Given, common: &Common<'_>) -> Self {
        let settings = given.settings(common.defaults, common.output_format);
        Self { at: node.at, text: text.text.clone(), images, settings }
    }
}

/// In lists of version 2 the tag may be missing, and `tags` says which are meant.
fn reference_2(text: &str) -> Result<RegistryReference, layer_layout::Error> {
    text.parse().or_else(|error| format!("{text}:*").parse().map_err(|_| error))
}

/// An entry whose reference is a pattern, written or not.
fn many(
    node: &Node,
    repository: RegistryReference,
    given: Given,
    common: &Common<'_>,
    faults: &mut Faults,
) -> Option<Images> {
    let written = match &node.value {
        Value::Text(text) if text.text.contains('*') => repository.tag(),
        _ => None,
    };
    if repository.digest().is_some() {
        let problem = Problem::PatternWithDigest(repository.to_string());
        faults.report(node.at, Severity::Entry, problem);
        return None;
    }
    if written.is_some() && given.tags.globs.is_some() {
        let problem = Problem::TwoPatterns(repository.to_string());
        faults.report(node.at, Severity::Entry, problem);
        return None;
    }
    let exclude = given.exclude.or_else(|| common.defaults.exclude.clone()).unwrap_or_default();
    let mut tags = given.tags;
    if let Some(pattern) = written {
        tags.globs = Some(vec![Glob::of_tag(pattern)]);
    }
    let selection = tags.or(&common.defaults.tags).selection(exclude);
    Some(Images::Many { repository, selection })
}

/// Says what is wrong with the name of an image, and where in it.
fn report_image(node: &Node, text: &Text, error: &layer_layout::Error, faults: &mut Faults) {
    let (at, reason) = match error {
        layer_layout::Error::Syntax { position, reason, .. } => {
            (text.position(*position).unwrap_or(node.at), reason.clone())
        }
        other => (node.at, other.to_string()),
    };
    faults.report(at, Severity::Entry, Problem::Image { text: text.text.clone(), reason });
}
