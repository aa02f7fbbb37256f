//! What Docker and Podman keep for a registry in `certs.d/<host[:port]>/` (`containers-certs.d(5)`): CA
//! certificates `*.crt`, and pairs of `<name>.cert` and `<name>.key` with which we show who we are. All in PEM.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, Identity};

use crate::source::error::{Error, Result, SetupError};

/// The certificates for one registry.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// CA certificates, on top of the system's.
    pub(super) authorities: Vec<Certificate>,
    /// A client certificate with its key.
    pub(super) client: Option<Identity>,
}

impl Certificates {
    /// Reads `<directory>/<registry>` for each of `directories`. Where there is nothing, there is nothing to
    /// read. Of several client certificates, the first by directory and name is used.
    pub(super) fn read(registry: &str, directories: &[PathBuf]) -> Result<Self> {
        let mut found = Self::default();
        for directory in directories {
            found
                .read_directory(&directory.join(registry))
                .map_err(|reason| Error::Setup { registry: registry.to_owned(), reason })?;
        }
        Ok(found)
    }

    /// Whether the registry has none.
    pub(super) fn are_none(&self) -> bool {
        self.authorities.is_empty() && self.client.is_none()
    }

    fn read_directory(&mut self, directory: &Path) -> Result<(), SetupError> {
        let unread = |cause| SetupError::Read { path: directory.to_owned(), cause };
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(());
            }
            Err(error) => return Err(unread(error)),
        };
        // By name without extension: the certificate and the key.
        let mut pairs = BTreeMap::<PathBuf, (Option<PathBuf>, Option<PathBuf>)>::new();
        for entry in entries {
            let path = entry.map_err(unread)?.path();
            let name = path.with_extension("");
            match path.extension().and_then(OsStr::to_str) {
                Some("crt") => self.authorities.extend(authorities(&path)?),
                Some("cert") => pairs.entry(name).or_default().0 = Some(path),
                Some("key") => pairs.entry(name).or_default().1 = Some(path),
                _ => {}
            }
        }
        for (name, pair) in pairs {
            let (Some(certificate), Some(key)) = pair else {
                return Err(SetupError::HalfAPair(name));
            };
            let identity = identity(&certificate, &key)?;
            if self.client.is_some() {
                tracing::warn!(
                    certificate = %certificate.display(),
                    "only the first client certificate for a registry is used"
                );
            }
            self.client.get_or_insert(identity);
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SetupError> {
    std::fs::read(path).map_err(|cause| SetupError::Read { path: path.to_owned(), cause })
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, SetupError> {
    let bundle = Certificate::from_pem_bundle(&read(path)?)
        .map_err(|cause| SetupError::Certificate { path: path.to_owned(), cause })?;
    if bundle.is_empty() {
        return Err(SetupError::NoCertificate(path.to_owned()));
    }
    Ok(bundle)
}

/// A client certificate, which may be followed by those that lead to its CA, and its key.
fn identity(certificate: &Path, key: &Path) -> Result<Identity, SetupError> {
    let mut pem = read(certificate)?;
    pem.push(b'\n');
    pem.extend(read(key)?);
    Identity::from_pem(&pem)
        .map_err(|cause| SetupError::Certificate { path: certificate.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_of_a_registry() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("registry.example:5000");
        std::fs::create_dir(&own).unwrap();
        let key = rcgen::generate_simple_self_signed(["registry.example".to_owned()]).unwrap();
        std::fs::write(own.join("ca.crt"), key.cert.pem()).unwrap();
        let directories = [directory.path().to_owned(), directory.path().join("none")];
        let found = |registry: &str| {
            let found = Certificates::read(registry, &directories)?;
            Ok((found.authorities.len(), found.client.is_some()))
        };
        let wrong = |part: &str| {
            let result: Result<_> = found("registry.example:5000");
            let message = result.unwrap_err().to_string();
            assert!(
                message.contains(part) && message.contains("registry.example:5000"),
                "{message}"
            );
        };
        assert_eq!(found("registry.example:5000").unwrap(), (1, false));
        assert_eq!(found("registry.example").unwrap(), (0, false));

        std::fs::write(own.join("client.key"), key.signing_key.serialize_pem()).unwrap();
        wrong("client.cert");
        std::fs::write(own.join("client.cert"), key.cert.pem()).unwrap();
        assert_eq!(found("registry.example:5000").unwrap(), (1, true));
        std::fs::write(own.join("client.key"), "no key").unwrap();
        wrong("client.cert");
        std::fs::remove_file(own.join("client.cert")).unwrap();
        std::fs::remove_file(own.join("client.key")).unwrap();
        std::fs::write(own.join("broken.crt"), "no PEM").unwrap();
        wrong("broken.crt");
    }
}
