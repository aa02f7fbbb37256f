//! How the names of thin images are made (`output_format`, and `thin` in lists of version 2).
//!
//! The variables are DUCC's: `$(scheme)`, `$(registry)`, `$(repository)`, `$(digest)`, `$(tag)`, `$(reference)`
//! (`:tag`, `@digest` or both) and `$(image)` (repository and reference). As in DUCC, each is replaced at most
//! five times, and what has no tag or digest puts nothing in its place.

use layer_layout::RegistryReference;

/// DUCC's template for lists that have none.
pub(super) const DEFAULT: &str = "$(scheme)://$(registry)/$(repository)_thin:$(tag)";

/// How often a variable is replaced.
const REPLACEMENTS: usize = 5;

const VARIABLES: [&str; 7] =
    ["scheme", "registry", "repository", "digest", "tag", "reference", "image"];

/// A template that makes a name for at least some images.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Template(String);

/// Why a template is of no use, or not for one image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It names something that images do not have.
    #[error("$({name}) is no variable; there are {}", variables())]
    Variable {
        /// What stands between the parentheses.
        name: String,
    },
    /// What it makes is not the name of an image.
    #[error("the template {template:?} makes {made:?}, which no image can be called: {cause}")]
    Name {
        /// The template.
        template: String,
        /// What it makes.
        made: String,
        /// What is wrong with that.
        cause: layer_layout::Error,
    },
    /// What it makes stands for many images.
    #[error("the template {template:?} makes {made:?}, and a pattern cannot be pushed to")]
    Wildcard {
        /// The template.
        template: String,
        /// What it makes.
        made: String,
    },
    /// What it makes has a digest only, and nothing can be pushed to a digest.
    #[error(
        "the template {template:?} makes {made:?}, which has no tag; the image has none, either"
    )]
    NoTag {
        /// The template.
        template: String,
        /// What it makes.
        made: String,
    },
}

fn variables() -> String {
    VARIABLES.map(|name| format!("$({name})")).join(", ")
}

impl Template {
    /// Checks a template.
    ///
    /// # Errors
    /// If it names an unknown variable, or makes no name even for an image that has everything.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        for (at, _) in text.match_indices("$(") {
            let rest = &text[at + 2..];
            let name = rest.split_once(')').map_or(rest, |(name, _)| name);
            if !VARIABLES.contains(&name) {
                return Err(TemplateError::Variable { name: name.to_owned() });
            }
        }
        let template = Self(text.to_owned());
        template.apply(&whole_image())?;
        Ok(template)
    }

    /// The template as it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The name of the thin image of `image`. It never has a digest, because that of a thin image is not known before
    /// it is made.
    ///
    /// # Errors
    /// If `image` lacks what the template needs.
    pub fn apply(&self, image: &RegistryReference) -> Result<RegistryReference, TemplateError> {
        let tag = image.tag().unwrap_or_default();
        let digest = image.digest().map(ToString::to_string).unwrap_or_default();
        let mut reference = String::new();
        if !tag.is_empty() {
            reference += &format!(":{tag}");
        }
        if !digest.is_empty() {
            reference += &format!("@{digest}");
        }
        let whole = format!("{}{reference}", image.repository());
        let values: [&str; 7] = [
            &image.scheme().to_string(),
            image.registry(),
            image.repository(),
            &digest,
            tag,
            &reference,
            &whole,
        ];
        let mut made = self.0.clone();
        for (variable, value) in VARIABLES.into_iter().zip(values) {
            made = made.replacen(&format!("$({variable})"), value, REPLACEMENTS);
        }
        self.reference(made)
    }

    fn reference(&self, made: String) -> Result<RegistryReference, TemplateError> {
        let template = self.0.clone();
        let parse = |text: &str| text.parse::<RegistryReference>();
        match parse(&made) {
            Err(cause) => Err(TemplateError::Name { template, made, cause }),
            Ok(name) if name.is_wildcard() => Err(TemplateError::Wildcard { template, made }),
            Ok(name) if name.digest().is_none() => Ok(name),
            // As DUCC pushes under what it calls the simple name, without the digest.
            Ok(name) => match name.tag() {
                None => Err(TemplateError::NoTag { template, made }),
                Some(tag) => {
                    let (scheme, registry) = (name.scheme(), name.registry());
                    let text = format!("{scheme}://{registry}/{}:{tag}", name.repository());
                    parse(&text).map_err(|cause| TemplateError::Name { template, made, cause })
                }
            },
        }
    }
}

/// An image to try templates on.
fn whole_image() -> RegistryReference {
    let digest = layer_layout::Digest::of(b"");
    format!("https://registry.example.org/org/tool:1@{digest}")
        .parse()
        .expect("the reference is well-formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names() {
        for (template, image, expected) in [
            (DEFAULT, "http://r.io/a/b:1".to_owned(), "http://r.io/a/b_thin:1"),
            (
                "$(scheme)://registry.example.org/thin/$(image)",
                "r.io/a/b:1".to_owned(),
                "https://registry.example.org/thin/a/b:1",
            ),
            (
                "registry.example.org/thin/$(repository)$(reference)",
                "r.io/a:1".to_owned(),
                "https://registry.example.org/thin/a:1",
            ),
            // The digest is dropped, the tag stays.
            (
                "registry.example.org/thin/$(image)",
                format!("r.io/a:1@{D}"),
                "https://registry.example.org/thin/a:1",
            ),
            (
                "registry.example.org/thin/$(registry)/$(repository):$(tag)",
                "r.io/a:1".to_owned(),
                "https://registry.example.org/thin/r.io/a:1",
            ),
            (
                "registry.example.org/thin:$(tag)$(tag)$(tag)$(tag)$(tag)",
                "r.io/a:1".to_owned(),
                "https://registry.example.org/thin:11111",
            ),
        ] {
            let template = Template::parse(template).unwrap();
            let name = template.apply(&image.parse().unwrap()).unwrap();
            assert_eq!(name.to_string(), expected);
        }
    }

    #[test]
    fn a_variable_is_replaced_five_times() {
        let six = format!("r.io/x:{}", "$(tag)".repeat(6));
        let error = Template::parse(&six).unwrap_err().to_string();
        assert!(error.contains("r.io/x:11111$(tag)"), "{error}");
    }

    #[test]
    fn templates_that_are_of_no_use() {
        for (template, part) in [
            ("", "no image can be called"),
            ("$(registry)/$(name):$(tag)", "$(name) is no variable; there are $(scheme)"),
            ("r.io/x:$(tag", "no image can be called"),
            ("r.io/$(repository)", "no default tag"),
            ("r.io/$(repository):$(digest)", "has no tag"),
            ("r.io/$(repository)@$(digest)", "has no tag"),
            ("r.io/x:*", "cannot be pushed to"),
        ] {
            let error = Template::parse(template).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(part), "{template:?}: {error}");
        }
    }

    #[test]
    fn an_image_without_a_tag_has_no_thin_name_with_one() {
        let image = format!("r.io/a@{D}").parse().unwrap();
        for template in [DEFAULT, "r.io/thin/$(image)"] {
            assert!(Template::parse(template).unwrap().apply(&image).is_err(), "{template}");
        }
        let fixed = Template::parse("r.io/thin:one").unwrap();
        assert_eq!(fixed.apply(&image).unwrap().to_string(), "https://r.io/thin:one");
    }
}
