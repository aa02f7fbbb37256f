//! Files by name, in a directory or in a tar.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use bytes::Bytes;
use layer_layout::Digest;

use super::archive::Archive;
use super::section::Section;
use crate::source::error::{Error, Missing, Part, Result};

/// Where the files of an image are.
#[derive(Debug)]
pub(super) enum Store {
    /// A directory. Symbolic links in it are followed: build tools link blobs of layouts into place, and all
    /// content is checked against its digest.
    Directory(PathBuf),
    /// A tar, whose links lead only to its own entries.
    Archive(Archive),
}

impl Store {
    /// Opens a file by its name, a relative path with `/`.
    pub(super) fn open(&self, image: &str, name: &str) -> Result<Section> {
        self.find(name)?.ok_or_else(|| Error::Missing {
            image: image.to_owned(),
            what: Missing::File(name.to_owned()),
            candidates: Vec::new(),
        })
    }

    /// Whether there is a file of this name.
    pub(super) fn has(&self, name: &str) -> Result<bool> {
        Ok(self.find(name)?.is_some())
    }

    fn find(&self, name: &str) -> Result<Option<Section>> {
        let directory = match self {
            Self::Archive(archive) => return archive.find(name),
            Self::Directory(directory) => directory,
        };
        let path = directory.join(name);
        let failed = |cause| Error::File { path: path.clone(), cause };
        // Non-blocking, because opening a named pipe would otherwise wait for a writer.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && directory.is_dir() => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(std::io::Error::other("not a regular file")));
        }
        Ok(Some(Section { size: metadata.len(), reader: Box::new(file) }))
    }

    /// Reads a document as a whole.
    pub(super) fn document(
        &self,
        image: &str,
        part: Part,
        name: &str,
        limit: u64,
    ) -> Result<Bytes> {
        let Section { reader, size } = self.open(image, name)?;
        if size > limit {
            return Err(Error::TooLarge { image: image.to_owned(), part, limit });
        }
        let mut bytes = Vec::new();
        let path = match self {
            Self::Directory(directory) => directory.join(name),
            Self::Archive(archive) => archive.path().to_owned(),
        };
        reader.take(limit).read_to_end(&mut bytes).map_err(|cause| Error::File { path, cause })?;
        Ok(bytes.into())
    }
}

/// Where an OCI image layout keeps a blob (OCI image-spec, `image-layout.md`, "Blobs").
pub(super) fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
