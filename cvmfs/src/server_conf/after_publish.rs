//! What a stock server must be told when another program has published.
//!
//! | file in the spool directory | content | if it stays old |
//! |---|---|---|
//! | `reflog.chksum` | hash of `.cvmfsreflog` | `publish`, `tag`, `rollback`, `gc` and `check` fail until `cvmfs_server check -r` |
//! | `client.local` | `CVMFS_ROOT_HASH=`, what the server mounts for itself | `transaction`, `tag`, `check`, `mount` notice and repair it |
//!
//! The mount itself cannot be changed from here: `cvmfs_server mount FQRN` does that, or the next `transaction`.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::ServerConf;
use super::locks::give_to_owner;
use crate::manifest::Manifest;
use crate::reflog;
use crate::storage::Storage;
use crate::{Error, Result};

/// The setting of the server's own client that names the root catalog.
const ROOT_HASH: &str = "CVMFS_ROOT_HASH=";

impl ServerConf {
    /// Writes into the spool directory which reference log and which root catalog are the newest. Call it before the
    /// [`Locks`](super::Locks) are released.
    ///
    /// The log's hash is that of the file in the storage: the one in a manifest is wrong after the server has
    /// collected garbage.
    ///
    /// # Errors
    /// [`Error::System`] if this user may not write into the spool directory. The repository is sound then, but its
    /// owner has to run `cvmfs_server check -r`. As [`Self::storage`], and if the storage cannot be read.
    pub fn after_publish(&self, manifest: &Manifest) -> Result<()> {
        if let Some((reflog, _)) = Storage::open(&self.storage()?)?.read_file(reflog::NAME)? {
            let hash = manifest.root.algorithm.hash(&reflog);
            replace(&self.spool.join("reflog.chksum"), hash.to_string().as_bytes())?;
        }
        // A server that has checked out an old revision stays there.
        if self.spool.join("checkout").exists() {
            return Ok(());
        }
        let path = self.spool.join("client.local");
        let settings = match fs::read_to_string(&path) {
            Ok(settings) => settings,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(cause) => return Err(Error::System { action: "read", path, cause }),
        };
        let mut lines: Vec<_> = settings
            .lines()
            .filter(|line| !line.starts_with(ROOT_HASH))
            .map(str::to_owned)
            .collect();
        lines.push(format!("{ROOT_HASH}{}", manifest.root));
        replace(&path, format!("{}\n", lines.join("\n")).as_bytes())
    }
}

/// Replaces a file of the spool directory at once, readable for everybody as the server's tools make it.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(content)?;
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        give_to_owner(file.as_file(), path)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|cause| Error::System {
        action: "tell the stock server of the new revision in",
        path: path.to_owned(),
        cause,
    })
}
