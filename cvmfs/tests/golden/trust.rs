//! Signatures, keys, tags and reference logs of stock tools are understood, and openssl understands ours.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use cvmfs_repository::compression::inflate;
use cvmfs_repository::fqrn::Fqrn;
use cvmfs_repository::hash::{ContentHash, ObjectKind};
use cvmfs_repository::history::{History, Tag};
use cvmfs_repository::keys::{Certificate, Keys, MasterKey, PublicKey, PublicKeys, Publisher};
use cvmfs_repository::manifest::Manifest;
use cvmfs_repository::objects::{Objects, Settings};
use cvmfs_repository::reflog::{RefKind, Reflog};
use cvmfs_repository::storage::Storage;
use cvmfs_repository::whitelist::Whitelist;
use libtest_mimic::Trial;
use serde::Deserialize;
use tempfile::TempDir;

use crate::data::{self, REPOSITORIES, Text, unpack};

/// Largest database that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// A line of `tags.json`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedTag {
    name: String,
    hash: String,
    size: u64,
    revision: u64,
    timestamp: u64,
    branch: String,
    description: Text,
}

/// The archives of a folder with a storage, in all its states.
fn storages(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let is_storage = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("storage") && name.ends_with(".tar.zst")
    };
    files.filter(is_storage).collect()
}

pub(crate) fn tests(directory: &Path) -> Vec<Trial> {
    let mut trials = Vec::new();
    for name in REPOSITORIES {
        let folder = directory.join(name);
        for archive in storages(&folder) {
            let state = archive.file_name().unwrap().to_string_lossy().into_owned();
            let folder = folder.clone();
            let title = format!("signatures, tags and reference log of {name} ({state})");
            trials.push(Trial::test(title, move || {
                Repository::open(&folder, &archive).check(&folder, &state);
                Ok(())
            }));
        }
        let title = format!("no byte of what {name} signed can be changed");
        let of = folder.clone();
        trials.push(Trial::test(title, move || {
            Repository::open(&of, &of.join("storage.tar.zst")).refuses_changes();
            Ok(())
        }));
        let title = format!("keys of {name} sign so that openssl verifies");
        trials.push(Trial::test(title, move || {
            Repository::open(&folder, &folder.join("storage.tar.zst")).sign_again(&folder);
            Ok(())
        }));
    }
    trials
}

struct Repository {
    storage: TempDir,
    fqrn: Fqrn,
    trust: PublicKeys,
}

impl Repository {
    fn open(folder: &Path, archive: &Path) -> Self {
        let name = folder.file_name().unwrap().to_string_lossy();
        let fqrn: Fqrn = format!("{name}.golden.test").parse().unwrap();
        let key = fs::read(folder.join(format!("keys/{fqrn}.pub"))).unwrap();
        let trust = PublicKey::from_pem(&key).unwrap().into();
        Self { storage: unpack(archive), fqrn, trust }
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.storage.path().join(name)).unwrap()
    }

    /// An object, inflated.
    fn object(&self, hash: ContentHash, kind: ObjectKind) -> Vec<u8> {
        let stored = self.file(&hash.object(kind).path());
        assert_eq!(hash.algorithm.hash(&stored), hash);
        inflate(&stored, LIMIT, "the object").unwrap()
    }

    fn certificate(&self) -> Certificate {
        let manifest = Manifest::parse(&self.file(".cvmfspublished")).unwrap();
        let hash = manifest.unverified().certificate.unwrap();
        Certificate::parse(&self.object(hash, ObjectKind::Certificate)).unwrap()
    }

    /// Replication deflates the certificate again and relies on getting exactly the stream that the stock tools write.
    fn is_replicated_as_it_is(&self, manifest: &Manifest) {
        let hash = manifest.certificate.unwrap();
        let pem = self.object(hash, ObjectKind::Certificate);
        let replica = tempfile::tempdir().unwrap();
        let settings = Settings { algorithm: hash.algorithm, ..Settings::default() };
        let objects = Objects::new(Storage::local(replica.path()), settings, None);
        assert_eq!(objects.store_certificate(&pem).unwrap(), hash);
    }

    fn check(&self, folder: &Path, state: &str) {
        let certificate = self.certificate();
        let signed = Manifest::parse(&self.file(".cvmfspublished")).unwrap();
        let manifest = signed.verify(&self.fqrn, &certificate).unwrap();
        let signed = Whitelist::parse(&self.file(".cvmfswhitelist")).unwrap();
        let whitelist = signed.verify(&self.fqrn, &self.trust, SystemTime::now()).unwrap();
        assert!(whitelist.lists(&certificate));
        self.is_replicated_as_it_is(manifest);
        let expired = whitelist.expires();
        assert!(signed.verify(&self.fqrn, &self.trust, expired).is_err());
        assert!(signed.verify(&self.fqrn, &self.trust, expired - Duration::from_secs(1)).is_ok());

        let hash = manifest.history.unwrap();
        let database = self.object(hash, ObjectKind::History);
        let history = History::open(database.clone(), hash).unwrap();
        assert_eq!(history.faults(), Vec::<String>::new());
        assert_eq!(history.to_bytes().unwrap(), database, "what is not changed stays as it is");
        let seen: Vec<_> = history.tags().map(listed).collect();
        let tags: Vec<ListedTag> = data::json(folder, "tags.json");
        assert_eq!(seen, tags);
        assert_eq!(history.tag("trunk").unwrap().root, manifest.root);

        let bytes = self.file(".cvmfsreflog");
        let hash = manifest.reflog.unwrap();
        let found = hash.algorithm.hash(&bytes);
        if state == "storage-after-gc.tar.zst" {
            assert_ne!(found, hash);
            let checksum = fs::read_to_string(folder.join("reflog.chksum")).unwrap();
            assert_eq!(checksum.trim(), found.to_string());
        } else {
            assert_eq!(found, hash);
        }
        let reflog = Reflog::open(&bytes).unwrap();
        for (hash, kind) in [
            (Some(manifest.root), RefKind::Catalog),
            (manifest.certificate, RefKind::Certificate),
            (manifest.history, RefKind::History),
            (manifest.metainfo, RefKind::Metainfo),
        ] {
            assert!(reflog.contains(hash.unwrap(), kind), "{kind:?}");
        }
        // What it lists is there, and nothing of these kinds is there that it does not list.
        for reference in reflog.entries() {
            self.file(&reference.hash.object(reference.kind.object()).path());
        }
        let kept = Reflog::open(&reflog.to_bytes().unwrap()).unwrap();
        assert_eq!(kept, reflog);
    }

    fn refuses_changes(&self) {
        let certificate = self.certificate();
        let manifest = self.file(".cvmfspublished");
        let trusted = |file: &[u8]| {
            Manifest::parse(file).is_ok_and(|file| file.verify(&self.fqrn, &certificate).is_ok())
        };
        all_changes_are_refused(&manifest, &trusted);
        let whitelist = self.file(".cvmfswhitelist");
        let trusted = |file: &[u8]| {
            let now = SystemTime::now();
            Whitelist::parse(file)
                .is_ok_and(|file| file.verify(&self.fqrn, &self.trust, now).is_ok())
        };
        all_changes_are_refused(&whitelist, &trusted);
    }

    fn sign_again(&self, folder: &Path) {
        let unpacked = unpack(&folder.join("keys.tar.zst"));
        let keys = Keys::load(&unpacked.path().join("keys"), &self.fqrn).unwrap();
        assert_eq!(keys.public().unwrap(), &self.trust);
        let (publisher, master) = (keys.publisher().unwrap(), keys.master().unwrap());
        assert_eq!(publisher.certificate, self.certificate());

        let old = Manifest::parse(&self.file(".cvmfspublished")).unwrap();
        let file = self.sign_manifest(old.unverified(), publisher);
        let public = openssl(&["x509", "-pubkey", "-noout"], publisher.certificate.pem(), &[]);
        let (message, signature) = parts(&file);
        let files = [("public", &*public), ("signature", signature)];
        openssl(
            &["dgst", "-sha1", "-verify", "public", "-signature", "signature"],
            message,
            &files,
        );
        // Signing is deterministic, so that of the stock tools must come out again.
        assert_eq!(file, self.file(".cvmfspublished"));

        let file = self.sign_whitelist(&publisher.certificate, master);
        let (message, signature) = parts(&file);
        let files = [("public", master.public().pem())];
        let recover = ["pkeyutl", "-verifyrecover", "-pubin", "-inkey", "public"];
        assert_eq!(openssl(&recover, signature, &files), message);
    }

    fn sign_manifest(&self, manifest: &Manifest, publisher: &Publisher) -> Vec<u8> {
        let file = manifest.sign(&publisher.key).unwrap();
        let signed = Manifest::parse(&file).unwrap();
        assert_eq!(signed.verify(&self.fqrn, &publisher.certificate).unwrap(), manifest);
        file
    }

    fn sign_whitelist(&self, certificate: &Certificate, master: &MasterKey) -> Vec<u8> {
        let old = Whitelist::parse(&self.file(".cvmfswhitelist")).unwrap();
        let mut whitelist = old.verify_signature(&self.fqrn, &self.trust).unwrap().clone();
        let algorithm = whitelist.fingerprints().next().unwrap().algorithm();
        let now = SystemTime::now();
        whitelist.set_expiry(now + Duration::from_secs(7200)).unwrap();
        let file = whitelist.sign(now, algorithm, master).unwrap();
        let signed = Whitelist::parse(&file).unwrap();
        assert!(signed.verify(&self.fqrn, &self.trust, now).unwrap().lists(certificate));
        file
    }
}

fn listed(tag: &Tag) -> ListedTag {
    ListedTag {
        name: tag.name.to_string(),
        hash: tag.root.to_string(),
        size: tag.root_size,
        revision: tag.revision,
        timestamp: tag.timestamp,
        branch: tag.branch.clone(),
        description: Text::escape(tag.description.as_bytes()),
    }
}

fn all_changes_are_refused(file: &[u8], trusted: &dyn Fn(&[u8]) -> bool) {
    assert!(trusted(file));
    let text = file.windows(4).position(|window| window == b"\n--\n").unwrap();
    // All of the text and the hash, and some of the signature, which takes long to verify.
    let places: BTreeSet<usize> = (0..text + 60).chain((text..file.len()).step_by(16)).collect();
    for at in places {
        let mut changed = file.to_vec();
        changed[at] ^= 1;
        assert!(!trusted(&changed), "byte {at} can be changed");
    }
    assert!(!trusted(&file[..file.len() - 1]));
    assert!(!trusted(&[file, b"\n"].concat()));
}

/// The printed hash and the signature of a signed file.
fn parts(file: &[u8]) -> (&[u8], &[u8]) {
    let mark = b"\n--\n";
    let at = file.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len();
    let end = at + file[at..].iter().position(|&byte| byte == b'\n').unwrap();
    (&file[at..end], &file[end + 1..])
}

/// What openssl makes of some input; with files in its working directory.
fn openssl(arguments: &[&str], input: &[u8], files: &[(&str, &[u8])]) -> Vec<u8> {
    let directory = TempDir::new().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    fs::write(directory.path().join("input"), input).unwrap();
    let mut command = Command::new("openssl");
    command.args(arguments).current_dir(directory.path());
    match arguments[0] {
        "dgst" => command.arg("input"),
        _ => command.args(["-in", "input"]),
    };
    let output = command.output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
    output.stdout
}
