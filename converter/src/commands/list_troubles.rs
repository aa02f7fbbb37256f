//! What is remembered of wish lists and repositories that could not be taken into account, for `ducc status`.

use std::path::{Path, PathBuf};

use ducc::state::{Result, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const DOCUMENT: &str = "errors";

/// What kept lists or repositories from being taken into account in the last round over some lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// The lists of that round.
    pub(crate) lists: Vec<String>,
    /// When the round began.
    pub(crate) begun: Timestamp,
    pub(crate) errors: Vec<String>,
}

/// The database of a state directory in which lists are remembered.
pub(crate) fn database(directory: &Path) -> PathBuf {
    directory.join("wish-lists")
}

/// Remembers what came of a round, in place of what came of the last one over the same lists.
///
/// # Errors
/// If the database cannot be read or written.
pub(crate) fn put(state: &State, trouble: Trouble) -> Result<()> {
    let known = all(state)?;
    let mut troubles = known.clone();
    troubles.retain(|other| other.lists != trouble.lists);
    if !trouble.errors.is_empty() {
        troubles.push(trouble);
    }
    if troubles == known {
        return Ok(());
    }
    let json = serde_json::to_string(&troubles).expect("texts can be written as JSON");
    state.put_document(DOCUMENT, &json)
}

/// What is remembered. A document that is not understood is from another version, and as good as none.
///
/// # Errors
/// If the database cannot be read.
pub(crate) fn all(state: &State) -> Result<Vec<Trouble>> {
    let document = state.document(DOCUMENT)?;
    Ok(document.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_last_until_the_same_lists_are_sound() {
        let place = tempfile::tempdir().unwrap();
        let state = State::open_at(&database(place.path())).unwrap();
        let trouble = |list: &str, second: i64, errors: &[&str]| Trouble {
            lists: vec![list.to_owned()],
            begun: Timestamp::from_second(second).unwrap(),
            errors: errors.iter().map(ToString::to_string).collect(),
        };
        put(&state, trouble("a", 1, &["gone"])).unwrap();
        put(&state, trouble("b", 2, &["broken"])).unwrap();
        put(&state, trouble("a", 3, &["still gone"])).unwrap();
        let expected = [trouble("b", 2, &["broken"]), trouble("a", 3, &["still gone"])];
        assert_eq!(all(&state).unwrap(), expected);
        put(&state, trouble("b", 4, &[])).unwrap();
        assert_eq!(all(&state).unwrap(), expected[1..]);
    }
}
