//! Images whose failures shall not fail a run: `ignoreErrors` of a list, and of the file that
//! `DUCC_IGNORE_ERRORS_FILE` names.

use super::glob::Glob;

/// Patterns for whole names of images, `scheme://registry/repository:tag`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IgnoreErrors(pub(super) Vec<Glob>);

impl IgnoreErrors {
    /// Whether a failure of the image with this whole name is to be ignored.
    pub fn covers(&self, whole_name: &str) -> bool {
        self.0.iter().any(|glob| glob.matches(whole_name))
    }
}
