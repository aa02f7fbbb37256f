//! What the owner of a repository does apart from publishing: signing, and naming revisions.

use std::time::{Duration, SystemTime};

use crate::history::Tag;
use crate::manifest::Manifest;
use crate::objects::Objects;
use crate::repository::Repository;
use crate::storage::Expected;
use crate::whitelist::{self, Whitelist};
use crate::{Error, Result};

impl Repository {
    /// Signs the whitelist for `validity` from now, with this publisher's certificate on it, and then the
    /// manifest, with that certificate. Other certificates stay on the whitelist.
    ///
    /// # Errors
    /// If the master key or the publisher's key is not at hand, or the storage refuses.
    pub fn resign(&self, objects: &Objects, validity: Duration) -> Result<(Manifest, SystemTime)> {
        let algorithm = objects.settings().algorithm;
        let now = SystemTime::now();
        let expires = now + validity;
        loop {
            let (mut list, expected) = match self.whitelist() {
                Ok((signed, version)) => {
                    // An expired whitelist may be signed again, a forged one may not.
                    let list = signed.verify_signature(self.fqrn(), self.keys().public()?)?.clone();
                    (list, Expected::Version(version))
                }
                Err(Error::Missing { .. }) => {
                    (Whitelist::new(self.fqrn().clone(), expires)?, Expected::Absent)
                }
                Err(error) => return Err(error),
            };
            list.set_expiry(expires)?;
            list.add(&self.keys().publisher()?.certificate, algorithm);
            let file = list.sign(now, algorithm, self.keys().master()?)?;
            if self.storage().replace_file(whitelist::NAME, file.into(), expected)?.is_some() {
                break;
            }
        }
        // The manifest may still be signed with a key that was replaced.
        let manifest = self.revise(objects, &mut |_| Ok(true))?;
        Ok((manifest, expires))
    }

    /// The tags of the newest revision, by name.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub fn tags(&self) -> Result<Vec<Tag>> {
        let newest = self.snapshot()?;
        Ok(self.history(newest.manifest())?.tags().cloned().collect())
    }

    /// Gives the newest revision a tag. The revision keeps its number, so clients do not reload it.
    ///
    /// # Errors
    /// If the name is taken, reserved or not allowed, or the storage refuses.
    pub fn add_tag(&self, objects: &Objects, name: &str, description: &str) -> Result<Manifest> {
        self.revise(objects, &mut |draft| {
            let manifest = draft.base.manifest();
            draft.history.insert(Tag {
                name: name.parse()?,
                root: manifest.root,
                root_size: draft.base.root_catalog().size(),
                revision: manifest.revision,
                timestamp: u64::try_from(draft.base.root_catalog().last_modified())
                    .unwrap_or_default(),
                branch: String::new(),
                description: description.to_owned(),
            })?;
            Ok(true)
        })
    }

    /// Removes a tag. What only this tag kept is removed by the next garbage collection.
    ///
    /// # Errors
    /// If there is no such tag, it is reserved, or the storage refuses.
    pub fn remove_tag(&self, objects: &Objects, name: &str) -> Result<Manifest> {
        self.revise(objects, &mut |draft| {
            draft.history.remove(&name.parse()?)?;
            Ok(true)
        })
    }
}
