//! Keys: who may publish, and how everybody else can tell.
//!
//! The **master key** signs the whitelist; its public half is what clients are given. The whitelist names the
//! **certificates** of those who may publish, and the key of such a certificate signs manifests. So the master key
//! can stay in a safe place, and is needed only when the whitelist is about to expire.
//!
//! Names, forms and modes of the key files are those of the stock server (`/etc/cvmfs/keys`), so that either can
//! take over the other's keys.

mod certificate;
mod files;
mod publisher;
mod rsa_key;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::path::Path;

pub use certificate::{Certificate, Fingerprint};
pub use files::DEFAULT_DIRECTORY;
pub use publisher::Publisher;
pub use rsa_key::{MasterKey, PublicKey, PublicKeys, SigningKey};

use crate::fqrn::Fqrn;
use crate::{Error, Result};
use files::{KeyFile, Slot};

/// The keys of one repository, as far as they are at hand; they belong together.
#[derive(Debug)]
pub struct Keys {
    public: Slot<PublicKeys>,
    publisher: Slot<Publisher>,
    master: Slot<MasterKey>,
}

impl Keys {
    /// Makes new keys: two pairs of RSA with 2048 bits, and a certificate that is signed with its own key.
    ///
    /// # Errors
    /// If the cryptographic library refuses.
    pub fn generate(fqrn: &Fqrn) -> Result<Self> {
        let master = MasterKey::generate()?;
        let publisher = Publisher::generate(fqrn)?;
        Ok(Self {
            public: Ok(master.public().clone().into()),
            publisher: Ok(publisher),
            master: Ok(master),
        })
    }

    /// The keys of a repository that is about to be created: those in a directory, or, if there are none, new
    /// ones that are written there.
    ///
    /// # Errors
    /// If there are some but not all, and as for [`Self::load`] and [`Self::save`].
    pub fn load_or_make(directory: &Path, fqrn: &Fqrn) -> Result<Self> {
        let keys = Self::load(directory, fqrn)?;
        if keys.public.is_err() && keys.publisher.is_err() {
            let keys = Self::generate(fqrn)?;
            keys.save(directory, fqrn)?;
            return Ok(keys);
        }
        keys.master()?;
        keys.publisher()?;
        Ok(keys)
    }

    /// Reads the repository's key files in a directory. Files that are not there or that this user may not read
    /// are left out; asking for such a key later tells why it is not at hand.
    ///
    /// # Errors
    /// [`Error::Key`] if a file holds no key, or keys do not belong together.
    pub fn load(directory: &Path, fqrn: &Fqrn) -> Result<Self> {
        let path = |file: KeyFile| file.path(directory, fqrn);
        let mismatch = |file: KeyFile, reason: &str| {
            Err(Error::Key { path: path(file), reason: reason.to_owned() })
        };
        let master = KeyFile::Master.read(directory, fqrn, MasterKey::from_pem)?;
        let public = KeyFile::Public.read(directory, fqrn, PublicKey::from_pem)?;
        if let (Ok(master), Ok(public)) = (&master, &public)
            && master.public() != public
        {
            return mismatch(KeyFile::Public, "it does not belong to the master key beside it");
        }
        let key = KeyFile::Signing.read(directory, fqrn, SigningKey::from_pem)?;
        let certificate = KeyFile::Certificate.read(directory, fqrn, Certificate::from_pem)?;
        if let (Ok(key), Ok(certificate)) = (&key, &certificate)
            && !certificate.belongs_to(key)
        {
            return mismatch(KeyFile::Certificate, "it does not belong to the key beside it");
        }
        Ok(Self {
            public: public
                .or_else(|absent| match &master {
                    Ok(master) => Ok(master.public().clone()),
                    Err(_) => Err(absent),
                })
                .map(Into::into),
            publisher: key.and_then(|key| Ok(Publisher { key, certificate: certificate? })),
            master,
        })
    }

    /// The repositories of which there are keys in a directory, sorted. None if it cannot be read.
    pub fn known_in(directory: &Path) -> Vec<Fqrn> {
        let names = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let known: BTreeSet<_> =
            names.filter_map(|entry| KeyFile::owner(entry.file_name().to_str()?)).collect();
        known.into_iter().collect()
    }

    /// Writes all keys at hand into a directory, which is made if it is not there (mode 0700). A key that is there
    /// already stays; another key of the same name is never overwritten.
    ///
    /// # Errors
    /// [`Error::KeyExists`] if there is another key of the same name (nothing is written then), [`Error::System`] if
    /// the directory cannot be written.
    pub fn save(&self, directory: &Path, fqrn: &Fqrn) -> Result<()> {
        let mut contents = Vec::new();
        if let Ok(public) = &self.public {
            contents.extend(public.iter().map(|key| (KeyFile::Public, key.pem().to_vec())));
        }
        if let Ok(publisher) = &self.publisher {
            contents.push((KeyFile::Certificate, publisher.certificate.pem().to_vec()));
            contents.push((KeyFile::Signing, publisher.key.pem().to_vec()));
        }
        if let Ok(master) = &self.master {
            contents.push((KeyFile::Master, master.pem().to_vec()));
        }
        files::write(directory, fqrn, &contents)
    }

    /// Copies the repository's key files from another directory, after checking that they belong together and that
    /// there is at least one.
    ///
    /// # Errors
    /// As [`Self::load`] and [`Self::save`]; [`Error::NoKeys`] if there is no key of this repository.
    pub fn import(from: &Path, fqrn: &Fqrn, to: &Path) -> Result<Self> {
        let keys = Self::load(from, fqrn)?;
        if keys.public.is_err() && keys.publisher.is_err() {
            let files = KeyFile::ALL.map(|file| file.name(fqrn)).join(", ");
            let (directory, fqrn) = (from.to_owned(), fqrn.clone());
            return Err(Error::NoKeys { directory, fqrn, files });
        }
        keys.save(to, fqrn)?;
        Ok(keys)
    }

    /// The master keys' public halves, for verifying.
    ///
    /// # Errors
    /// [`Error::NoKey`] that says why there are none.
    pub fn public(&self) -> Result<&PublicKeys> {
        self.public.as_ref().map_err(|absent| absent.error("verifying"))
    }

    /// What signs manifests.
    ///
    /// # Errors
    /// [`Error::NoKey`] that says why it is not at hand.
    pub fn publisher(&self) -> Result<&Publisher> {
        self.publisher.as_ref().map_err(|absent| absent.error("publishing"))
    }

    /// What signs whitelists.
    ///
    /// # Errors
    /// [`Error::NoKey`] that says why it is not at hand.
    pub fn master(&self) -> Result<&MasterKey> {
        self.master.as_ref().map_err(|absent| absent.error("signing the whitelist"))
    }
}
