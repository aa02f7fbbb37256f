//! Images that were found published, so that they need not be looked at again until something changes.

use std::collections::HashMap;

use layer_layout::Digest;

use super::{Error, Result, State};

/// What was seen of an image when all of it was in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenImage {
    /// What was asked for: platforms, flat root. Another wish has to be looked at.
    pub wanted: String,
    /// Digest of the manifest or index that its registry had under its name.
    pub source: Digest,
    /// What the repository had under its name, see [`Repository::fingerprint`](crate::repository::Repository).
    pub published: String,
}

impl State {
    /// All images, by their public names.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn images(&self) -> Result<HashMap<String, SeenImage>> {
        let rows = self.run(|database| {
            let mut statement =
                database.prepare("SELECT name, wanted, source, published FROM image")?;
            let rows = statement.query_map([], |row| {
                let source: String = row.get(2)?;
                Ok((row.get(0)?, row.get(1)?, source, row.get(3)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(String, String, String, String)>>>()
        })?;
        rows.into_iter()
            .map(|(name, wanted, source, published)| {
                let source = source
                    .parse()
                    .map_err(|_| Error::Content { path: self.path.clone(), what: "digests" })?;
                Ok((name, SeenImage { wanted, source, published }))
            })
            .collect()
    }

    /// Remembers that all of an image is in the repository.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn put_image(&self, name: &str, seen: &SeenImage) -> Result<()> {
        let values = (name, &seen.wanted, seen.source.to_string(), &seen.published);
        let statement = "INSERT OR REPLACE INTO image VALUES (?1, ?2, ?3, ?4)";
        self.run(|database| database.execute(statement, values).map(drop))
    }

    /// Forgets an image.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn forget_image(&self, name: &str) -> Result<()> {
        let statement = "DELETE FROM image WHERE name = ?1";
        self.run(|database| database.execute(statement, [name]).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_look_at_an_image_counts() {
        let place = tempfile::tempdir().unwrap();
        let state = State::open_at(&State::path(place.path(), "r")).unwrap();
        let seen = |text: &str| SeenImage {
            wanted: "flat".to_owned(),
            source: Digest::of(text.as_bytes()),
            published: text.to_owned(),
        };
        for (name, text) in [("r.io/a:1", "old"), ("r.io/b:1", "b"), ("r.io/a:1", "new")] {
            state.put_image(name, &seen(text)).unwrap();
        }
        let images = state.images().unwrap();
        assert_eq!(images.len(), 2);
        assert_eq!(images["r.io/a:1"], seen("new"));
        state.forget_image("r.io/a:1").unwrap();
        assert_eq!(state.images().unwrap().into_keys().collect::<Vec<_>>(), ["r.io/b:1"]);
    }
}
