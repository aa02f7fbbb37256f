//! How an image is wished for: the keys that `defaults` and the mappings in `input` share.

use layer_layout::Platform;

use super::fields::{Fields, Reader, plain, wrong};
use super::selection::{Tags, globs};
use crate::wish::fault::Problem;
use crate::wish::glob::Glob;
use crate::wish::image::Platforms;
use crate::wish::template::Template;
use crate::wish::yaml::{Node, Value};

/// How the images of an entry are wished for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For which platforms.
    pub platforms: Platforms,
    /// Whether to make a flat root and a public path.
    pub flat: bool,
    /// The names of the thin images, if any are to be pushed.
    pub thin: Option<Template>,
    /// The name of the credentials for the registry.
    pub credentials: Option<String>,
    /// Images with a higher one come first.
    pub priority: i32,
}

/// The keys of [`Given`].
pub(super) const KEYS: [&str; 7] =
    ["platforms", "exclude", "tags", "credentials", "thin", "flat", "priority"];

/// The settings that are given.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    platforms: Option<Platforms>,
    pub(super) exclude: Option<Vec<Glob>>,
    pub(super) tags: Tags,
    credentials: Option<String>,
    thin: Option<Option<Template>>,
    flat: Option<bool>,
    priority: Option<i32>,
}

impl Given {
    pub(super) fn read(fields: &Fields<'_>, reader: &mut Reader<'_>) -> Self {
        let mut given = Self::default();
        if let Some(node) = fields.get("platforms") {
            given.platforms = platforms(node, reader);
        }
        given.exclude = fields.get("exclude").map(|node| globs("exclude", node, reader));
        if let Some(node) = fields.get("tags") {
            given.tags = Tags::read(node, reader);
        }
        given.credentials = fields.get("credentials").and_then(|node| name(node, reader));
        given.thin = fields.get("thin").and_then(|node| thin(node, reader));
        given.flat = fields.get("flat").and_then(|node| reader.truth("flat", node));
        given.priority = fields
            .get("priority")
            .and_then(|node| reader.number("priority", "a whole number", node));
        given
    }

    /// The settings, with those of `defaults` and of the list (`output_format`) where nothing is given.
    pub(super) fn settings(self, defaults: &Self, output_format: Option<&Template>) -> Settings {
        let thin = self.thin.or_else(|| defaults.thin.clone());
        Settings {
            platforms: self
                .platforms
                .or_else(|| defaults.platforms.clone())
                .unwrap_or(Platforms::HostOnly),
            flat: self.flat.or(defaults.flat).unwrap_or(true),
            thin: thin.unwrap_or_else(|| output_format.cloned()),
            credentials: self.credentials.or_else(|| defaults.credentials.clone()),
            priority: self.priority.or(defaults.priority).unwrap_or(0),
        }
    }
}

/// `host`, `all`, a platform, or a list of platforms.
fn platforms(node: &Node, reader: &mut Reader<'_>) -> Option<Platforms> {
    match plain_or_quoted(node) {
        Some("host") => return Some(Platforms::HostOnly),
        Some("all") => return Some(Platforms::All),
        _ => {}
    }
    if matches!(&node.value, Value::List(nodes) if nodes.is_empty()) {
        reader.report(node, wrong("platforms", "host, all or at least one platform", node));
    }
    let mut platforms: Vec<Platform> = Vec::new();
    for (node, text) in reader.texts("platforms", node) {
        match text.text.parse() {
            // They would be architectures.
            _ if matches!(text.text.as_str(), "host" | "all") => {
                let expected = "a platform in a list; host and all stand alone, without brackets,";
                reader.report(node, wrong("platforms", expected, node));
            }
            Ok(platform) if platforms.contains(&platform) => {}
            Ok(platform) => platforms.push(platform),
            Err(error) => reader.report(node, Problem::Platform(error)),
        }
    }
    (!platforms.is_empty()).then_some(Platforms::List(platforms))
}

fn plain_or_quoted(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) => Some(&text.text),
        _ => None,
    }
}

/// The name of credentials, which becomes a part of names of environment variables.
fn name(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = &reader.text("credentials", node)?.text;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.is_empty() || !text.chars().all(fits) {
        reader.report(node, wrong("credentials", "a name of letters, digits, _, - and .", node));
        return None;
    }
    Some(text.clone())
}

/// A template, or `false` for no thin images.
fn thin(node: &Node, reader: &mut Reader<'_>) -> Option<Option<Template>> {
    match plain(node) {
        Some("false" | "False" | "FALSE") => return Some(None),
        Some("true" | "True" | "TRUE") => {
            reader.report(node, wrong("thin", "a template or false", node));
            return None;
        }
        _ => {}
    }
    match Template::parse(&reader.text("thin", node)?.text) {
        Ok(template) => Some(Some(template)),
        Err(error) => {
            reader.report(node, error);
            None
        }
    }
}
