//! What can be wrong with a text that is to become one of this crate's types.

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A text or document that is not what it has to be.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum Error {
    /// A text does not follow its grammar. The message quotes the text and marks the place.
    #[error("invalid {what} {input:?}: {reason} (at byte {position})")]
    Syntax {
        /// What the text should have been, for instance "digest".
        what: &'static str,
        /// The text as it was given.
        input: String,
        /// Offset in bytes of the first character that does not fit.
        position: usize,
        /// What is wrong there, and what would be right.
        reason: String,
    },
    /// A JSON document (manifest, `thin.json`) lacks something or contradicts itself.
    #[error("invalid {what}: {reason}")]
    Document {
        /// Which document.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn syntax(
        what: &'static str,
        input: &str,
        position: usize,
        reason: impl Into<String>,
    ) -> Self {
        Self::Syntax { what, input: input.to_owned(), position, reason: reason.into() }
    }

    pub(crate) fn document(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Document { what, reason: reason.into() }
    }
}
