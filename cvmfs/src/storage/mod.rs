//! Where a repository is stored: a directory or an S3 bucket.
//!
//! A storage holds objects under `data/`, which never change, and a few files with a leading dot, which do: manifest,
//! whitelist, reflog. Objects appear whole or not at all, so an object that is there can be relied on. The manifest is
//! replaced on a condition, so that of two publishers one learns that the other was faster.
//!
//! Everything here blocks the calling thread, and may be called from any thread, including those of an asynchronous
//! runtime.

mod beneath;
mod file;
mod hint;
mod limits;
mod local;
mod presence;
mod s3;
mod url;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::hash::ObjectId;
use crate::{Error, Result};

pub use file::{Expected, Listed, Version};
use local::Local;
use presence::Inspection;
use s3::S3;
pub(crate) use url::web;
pub use url::{Credentials, S3Url, StorageUrl};

/// A repository's storage. Clones are the same storage.
#[derive(Debug, Clone)]
pub struct Storage {
    backend: Backend,
    inspection: Inspection,
}

#[derive(Debug, Clone)]
enum Backend {
    Local(Arc<Local>),
    S3(Arc<S3>),
}

impl Storage {
    /// Opens a storage, without checking whether there is anything in it.
    ///
    /// # Errors
    /// If the URL's settings make no sense together, or there are no credentials.
    pub fn open(url: &StorageUrl) -> Result<Self> {
        Ok(Self::new(match url {
            StorageUrl::Local(directory) => Backend::Local(Arc::new(Local::new(directory))),
            StorageUrl::S3(url) => Backend::S3(Arc::new(S3::open(url)?)),
        }))
    }

    /// The storage in a directory.
    pub fn local(directory: &Path) -> Self {
        Self::new(Backend::Local(Arc::new(Local::new(directory))))
    }

    fn new(backend: Backend) -> Self {
        Self { backend, inspection: Inspection::default() }
    }

    /// From now on, every object that is there already is read before it is relied on, and not only a sample. Holds for all
    /// clones.
    pub fn inspect_all(&self) {
        self.inspection.read_all();
    }

    /// The directory of a local storage.
    pub fn local_directory(&self) -> Option<&Path> {
        match &self.backend {
            Backend::Local(local) => Some(local.directory()),
            Backend::S3(_) => None,
        }
    }

    /// Its name for people.
    pub fn name(&self) -> &str {
        match &self.backend {
            Backend::Local(local) => local.name(),
            Backend::S3(s3) => s3.name(),
        }
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// If the storage does not answer.
    pub fn exists(&self, id: ObjectId) -> Result<bool> {
        Ok(self.stored_size(id)?.is_some())
    }

    /// The number of bytes that an object takes; `None` if it is not there. An empty file counts as absent unless
    /// its hash is that of no bytes: a machine that loses power leaves such files behind.
    ///
    /// # Errors
    /// If the storage does not answer.
    pub fn stored_size(&self, id: ObjectId) -> Result<Option<u64>> {
        match &self.backend {
            Backend::Local(local) => Ok(local.size(&id.path())?.filter(|&size| is_whole(id, size))),
            Backend::S3(s3) => s3.size(id.path()),
        }
    }

    /// The stored bytes of an object.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not there, [`Error::Corrupt`] if the bytes do not have its hash, [`Error::Storage`] if it
    /// has more bytes than anything of its kind.
    pub fn get(&self, id: ObjectId) -> Result<Bytes> {
        let what = || format!("object {id} in {}", self.name());
        let limit = limits::of_object(id.kind);
        let stored = match &self.backend {
            Backend::Local(local) => {
                let path = id.path();
                if local.size(&path)?.is_some_and(|size| size > limits::HASHED_FIRST)
                    && let Some(found) = local.hash(&path, id.hash.algorithm)?
                    && found != id.hash
                {
                    let reason = format!("it has the hash {found}");
                    return Err(Error::Corrupt { what: what(), reason });
                }
                local.read(&path, limit)?
            }
            Backend::S3(s3) => s3.read(id.path(), limit)?.map(|(stored, _)| stored),
        };
        let Some(stored) = stored else {
            return Err(Error::Missing {
                object: format!("object {id}"),
                storage: self.name().to_owned(),
            });
        };
        let found = id.hash.algorithm.hash(&stored);
        if found != id.hash {
            return Err(Error::Corrupt {
                what: what(),
                reason: format!("its {} bytes have the hash {found}", stored.len()),
            });
        }
        Ok(stored)
    }

    /// Puts an object there unless it is there already. Returns whether it was put. An object of another size was cut
    /// off by a power cut, and is put again; so is one that is [found damaged](Self::inspect_all).
    pub(crate) fn put_if_absent(&self, id: ObjectId, stored: Bytes) -> Result<bool> {
        let all = self.inspection.wants(id);
        let put = match &self.backend {
            Backend::Local(local) => local.put_if_absent(&id.path(), &stored, all),
            Backend::S3(s3) => s3.put_if_absent(id.path(), stored, all),
        };
        Ok(self.inspection.note(id, self.name(), put?))
    }

    /// Does what [`Self::put_if_absent`] does and calls `done` with its result; if the storage is slow, from another
    /// thread.
    pub(crate) fn put_if_absent_then(
        &self,
        id: ObjectId,
        stored: Bytes,
        done: impl FnOnce(Result<bool>) + Send + 'static,
    ) {
        match &self.backend {
            Backend::Local(_) => done(self.put_if_absent(id, stored)),
            Backend::S3(s3) => {
                let (all, inspection) = (self.inspection.wants(id), self.inspection.clone());
                let name = self.name().to_owned();
                s3.put_if_absent_then(id.path(), stored, all, move |put| {
                    done(put.map(|put| inspection.note(id, &name, put)));
                });
            }
        }
    }

    /// Calls `done` with the size of an object that can be relied on: what [`Self::stored_size`] gives, or `None` if the
    /// object is [found damaged](Self::inspect_all). If the storage is slow, from another thread.
    pub(crate) fn stored_size_then(
        &self,
        id: ObjectId,
        done: impl FnOnce(Result<Option<u64>>) + Send + 'static,
    ) {
        let all = self.inspection.wants(id);
        match &self.backend {
            Backend::Local(local) => {
                let found = self.stored_size(id).and_then(|size| {
                    let is_sound = size.is_none()
                        || !all
                        || local.hash(&id.path(), id.hash.algorithm)? == Some(id.hash);
                    Ok(self.inspection.sound(id, self.name(), size, is_sound))
                });
                done(found);
            }
            Backend::S3(s3) if all => {
                let (inspection, name) = (self.inspection.clone(), self.name().to_owned());
                s3.read_then(id.path(), limits::of_object(id.kind), move |read| {
                    done(read.map(|stored| {
                        let size = stored.as_ref().map(|stored| stored.len() as u64);
                        let hash = stored.map(|stored| id.hash.algorithm.hash(&stored));
                        let is_sound = hash.is_none_or(|hash| hash == id.hash);
                        inspection.sound(id, &name, size, is_sound)
                    }));
                });
            }
            Backend::S3(s3) => s3.stored_size_then(id.path(), done),
        }
    }

    /// Removes objects, or other files that [`Self::list`] named; one that is not there is not an error. A slow storage
    /// is asked for several at the same time.
    ///
    /// # Errors
    /// If the storage refuses; some may be removed then.
    pub fn delete(&self, paths: Vec<String>) -> Result<()> {
        match &self.backend {
            Backend::Local(local) => paths.iter().try_for_each(|path| local.remove(path)),
            Backend::S3(s3) => s3.remove(paths),
        }
    }

    /// Calls `each` for every file in the directory of objects whose hashes begin with the byte `shard`, whether it is
    /// an object or not; in no particular order.
    ///
    /// # Errors
    /// If the storage refuses, or `each` does.
    pub fn list(&self, shard: u8, each: &mut dyn FnMut(Listed) -> Result<()>) -> Result<()> {
        let directory = format!("data/{shard:02x}");
        match &self.backend {
            Backend::Local(local) => local.list(&directory, each),
            Backend::S3(s3) => s3.list(&directory, each),
        }
    }

    /// A file of the repository's root such as the manifest; `None` if there is none.
    ///
    /// # Errors
    /// If the storage refuses.
    pub fn read_file(&self, name: &str) -> Result<Option<(Bytes, Version)>> {
        match &self.backend {
            Backend::Local(local) => Ok(local.read(name, limits::of_file(name))?.map(|content| {
                let version = Version::of(&content);
                (content, version)
            })),
            Backend::S3(s3) => s3.read(name.to_owned(), limits::of_file(name)),
        }
    }

    /// Replaces a file of the repository's root, at once and on a condition. Returns the new version; `None` if
    /// what is there is not what was expected. A new version survives a power cut.
    ///
    /// # Errors
    /// If the storage refuses. The file may then be the old or the new one.
    pub fn replace_file(
        &self,
        name: &str,
        content: Bytes,
        expected: Expected,
    ) -> Result<Option<Version>> {
        match &self.backend {
            Backend::Local(local) => local.replace(name, &content, &expected),
            Backend::S3(s3) => s3.replace(name.to_owned(), content, expected),
        }
    }

    /// Removes a file of the repository's root; it need not be there.
    ///
    /// # Errors
    /// If the storage refuses.
    pub fn remove_file(&self, name: &str) -> Result<()> {
        match &self.backend {
            Backend::Local(local) => local.remove(name),
            Backend::S3(s3) => s3.remove(vec![name.to_owned()]),
        }
    }

    /// Opens a file of a directory's root that serves as a lock, and makes it if it is not there; `None` if the storage is no
    /// directory. It is a regular file without another name, and only its owner can open it.
    pub(crate) fn lock_file(&self, name: &str) -> io::Result<Option<File>> {
        match &self.backend {
            Backend::Local(local) => local.lock_file(name).map(Some),
            Backend::S3(_) => Ok(None),
        }
    }

    /// Whether a file of a directory's root still has its name.
    pub(crate) fn is_named(&self, name: &str, file: &File) -> io::Result<bool> {
        match &self.backend {
            Backend::Local(local) => local.is_named(name, file),
            Backend::S3(_) => Ok(false),
        }
    }

    /// Waits until everything that was put so far survives a power cut.
    ///
    /// # Errors
    /// If the system could not write it.
    pub fn sync(&self) -> Result<()> {
        match &self.backend {
            Backend::Local(local) => local.sync(),
            // What an S3 server has acknowledged is stored.
            Backend::S3(_) => Ok(()),
        }
    }

    /// Makes the directories that stock tools expect. S3 has none.
    ///
    /// # Errors
    /// If the storage refuses.
    pub fn make_skeleton(&self) -> Result<()> {
        match &self.backend {
            Backend::Local(local) => local.make_skeleton(),
            Backend::S3(_) => Ok(()),
        }
    }

    /// Removes half-written files of publishers that were killed before `before`; returns how many there were. Only
    /// files of this crate are touched.
    ///
    /// # Errors
    /// If the storage refuses.
    pub fn remove_unfinished(&self, before: SystemTime) -> Result<u64> {
        match &self.backend {
            Backend::Local(local) => local.remove_unfinished(before),
            Backend::S3(_) => Ok(0),
        }
    }
}

/// Whether a file of this many bytes can be an object that was written to its end.
fn is_whole(id: ObjectId, size: u64) -> bool {
    size > 0 || id.hash == id.hash.algorithm.hash(b"")
}

#[cfg(test)]
mod tests;
