//! A repository: opening it, and the one way to a new revision.
//!
//! Publishers do not lock each other out. Each writes its objects and catalogs, which nobody refers to yet,
//! and then replaces the manifest on condition that it still is the one it started from. A publisher that loses
//! applies its change to the winner's revision and tries again. So that this does not happen often, they take
//! [turns](Repository::turn).
//!
//! `.cvmfspublished` and `.cvmfsreflog` are two files. The manifest goes first and decides. A publisher that is killed
//! in between leaves a reflog that the next one completes: it always adds what the manifest it starts from
//! refers to.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::auto_tags::{AutoTags, Tagging};
use crate::backoff::{self, Backoff};
use crate::compression::Compression;
use crate::fqrn::Fqrn;
use crate::generation::Generation;
use crate::hash::ObjectKind;
use crate::history::History;
use crate::keys::{Certificate, Keys, Publisher};
use crate::last_seen::{self, LastSeen};
use crate::manifest::{self, Manifest, SignedManifest};
use crate::objects::{Objects, Settings};
use crate::publication::Edits;
use crate::reflog::{self, Reflog, references};
use crate::scratch::Scratch;
use crate::snapshot::{Snapshot, read_database};
use crate::storage::{Expected, Storage, Version};
use crate::turn::Turn;
use crate::unix_time::unix_seconds;
use crate::whitelist::{self, SignedWhitelist, Whitelist};
use crate::{Distrust, Error, Result, TagError};

/// Property of the root catalog that remembers how content is stored. Stock tools keep that in their configuration,
/// and ignore properties that they do not know.
pub(crate) const COMPRESSION: &str = "ducc_compression";
pub(crate) const NOT_COMPRESSED: &str = "none";

/// How often a publisher tries to replace the reflog of its own manifest.
const REFLOG_ATTEMPTS: u32 = 20;
/// How many later root catalogs are looked at to find out whether a revision was put back.
const TRACES: usize = 3;
/// How long a publisher waits until another one that has replaced the manifest has replaced the reflog, too.
const REFLOG_PATIENCE: Duration = Duration::from_secs(2);

/// A repository in its storage.
pub struct Repository {
    storage: Storage,
    fqrn: Fqrn,
    keys: Keys,
    auto_tags: AutoTags,
    /// What was seen of it; `None` if nothing is remembered.
    last_seen: Option<LastSeen>,
}

/// A publish that has begun. Ending it shows whether a garbage collection came in between.
pub struct Session {
    generation: Generation,
    tagging: Tagging,
}

/// A new revision in the making, as [`Repository::revise`] shows it to its caller.
pub(crate) struct Draft<'a> {
    /// The revision it starts from.
    pub(crate) base: &'a Snapshot,
    /// The new manifest; the caller changes what it wants to change.
    pub(crate) manifest: Manifest,
    /// The new tags.
    pub(crate) history: History,
    /// The new reference log.
    pub(crate) reflog: Reflog,
    /// The time of the revision.
    pub(crate) now: SystemTime,
}

impl Repository {
    /// Opens the repository of a name in a storage. The public keys say whose signatures count; the others
    /// are needed to publish. Nothing is read yet.
    pub fn open(storage: Storage, fqrn: Fqrn, keys: Keys) -> Self {
        Self { storage, fqrn, keys, auto_tags: AutoTags::default(), last_seen: None }
    }

    /// The same with names that publishes give revisions, and take away again, by themselves.
    #[must_use]
    pub fn with_auto_tags(self, auto_tags: AutoTags) -> Self {
        Self { auto_tags, ..self }
    }

    /// The same for a publisher that remembers what it has seen, and refuses to build on something older.
    #[must_use]
    pub fn remembering(self, last_seen: LastSeen) -> Self {
        Self { last_seen: Some(last_seen), ..self }
    }

    /// Checks that a verified manifest, or else the one that is in the storage by now, is not older than what this machine has
    /// seen of the repository, and takes note of it.
    ///
    /// # Errors
    /// [`Error::RolledBack`] if it is older. That nothing can be noted is none.
    pub fn check_progress(&self, manifest: &Manifest) -> Result<()> {
        let Some(last_seen) = &self.last_seen else { return Ok(()) };
        match last_seen.check(manifest) {
            // Another publisher on this machine notes what it has signed, perhaps after this manifest was read.
            Err(Error::RolledBack { .. }) => {
                let (newest, _) = self.newest(None)?;
                last_seen.check(newest.manifest())?;
            }
            checked => self.noted(checked.and_then(|()| last_seen.note(manifest))),
        }
        Ok(())
    }

    fn noted(&self, result: Result<()>) {
        if let Err(error) = result {
            let repository = &self.fqrn;
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.unwrap_or_default();
            tracing::warn!(%repository, "nothing protects from older revisions: {error} {cause}");
        }
    }

    /// The number after which a new revision is numbered, whatever older one it is made from.
    fn highest(&self, base: &Manifest) -> u64 {
        let seen = self.last_seen.as_ref();
        let seen = seen.and_then(|last_seen| last_seen.highest(&self.fqrn).ok().flatten());
        base.revision.max(seen.unwrap_or_default())
    }

    /// Checks that the storage itself does not tell of a later revision than its manifest: in a reference log that is not
    /// that of the manifest, or by a tag.
    fn check_traces(&self, draft: &Draft<'_>, reflog_fits: bool, version: &Version) -> Result<()> {
        if self.last_seen.as_ref().is_none_or(LastSeen::accepts_rollback) {
            return Ok(());
        }
        let manifest = draft.base.manifest();
        let rolled_back = |evidence: String| {
            let (fqrn, found) = (self.fqrn.clone(), manifest.revision);
            Err(Error::RolledBack { fqrn, found, evidence })
        };
        if let Some(tag) = draft.history.tags().find(|tag| tag.revision > manifest.revision) {
            return rolled_back(format!("its tag {} is revision {}", tag.name, tag.revision));
        }
        if reflog_fits {
            return Ok(());
        }
        for root in
            last_seen::later_roots(&draft.reflog.entries(), manifest).into_iter().take(TRACES)
        {
            let later = draft.base.another(Manifest { root, ..manifest.clone() });
            let Ok(later) = later.map(|later| later.root_catalog().revision()) else { continue };
            // Another publisher may be between the two files.
            let unchanged = || -> Result<bool> {
                let stored = self.storage.read_file(manifest::NAME)?;
                Ok(stored.is_some_and(|(_, stored)| stored == *version))
            };
            if later > manifest.revision && unchanged()? {
                let name = reflog::NAME;
                return rolled_back(format!("{name} there lists revision {later} ({root})"));
            }
        }
        Ok(())
    }

    /// The name that the manifest in a storage claims, with nothing verified.
    ///
    /// # Errors
    /// [`Error::NoSuchRepository`] if there is no manifest.
    pub fn name_in(storage: &Storage) -> Result<Fqrn> {
        let (file, _) = storage
            .read_file(manifest::NAME)?
            .ok_or_else(|| Error::NoSuchRepository(storage.name().to_owned()))?;
        Ok(Manifest::parse(&file)?.unverified().name.clone())
    }

    /// The fully qualified repository name.
    pub fn fqrn(&self) -> &Fqrn {
        &self.fqrn
    }

    /// Where it is stored.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Its keys, as far as they are at hand.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The newest revision, verified as a client does it: manifest, certificate and whitelist.
    ///
    /// # Errors
    /// If something is missing, damaged or not signed with the right key.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(self.newest(None)?.0)
    }

    /// The newest revision, verified, for somebody who has read an earlier one: what did not change since is not fetched
    /// again.
    ///
    /// # Errors
    /// As for [`Self::snapshot`].
    pub fn snapshot_since(&self, seen: &Snapshot) -> Result<Snapshot> {
        Ok(self.newest(Some(seen))?.0)
    }

    /// The revision of a manifest that [`Self::publish`] has returned; `seen` is any earlier one.
    ///
    /// # Errors
    /// If its root catalog cannot be read.
    pub fn published(&self, manifest: Manifest, seen: &Snapshot) -> Result<Snapshot> {
        seen.another(manifest)
    }

    /// How the repository wants new objects: in the hash algorithm of its root catalog, and compressed
    /// unless it was created otherwise.
    ///
    /// # Errors
    /// If the newest revision cannot be read.
    pub fn settings(&self) -> Result<Settings> {
        let newest = self.snapshot()?;
        let stored = newest.root_catalog().get(COMPRESSION);
        Ok(Settings {
            algorithm: newest.manifest().root.algorithm,
            compression: match stored {
                Some(NOT_COMPRESSED) => Compression::None,
                _ => Compression::Zlib,
            },
            ..Settings::default()
        })
    }

    /// When the whitelist expires; its signature is verified.
    ///
    /// # Errors
    /// If there is none, or it is not signed with a trusted master key.
    pub fn whitelist_expiry(&self) -> Result<SystemTime> {
        let (signed, _) = self.whitelist()?;
        Ok(signed.verify_signature(&self.fqrn, self.keys.public()?)?.expires())
    }

    /// The revision that a tag names.
    ///
    /// # Errors
    /// If there is no such tag, or its root catalog is damaged.
    pub fn tagged(&self, tag: &str) -> Result<Snapshot> {
        let newest = self.snapshot()?;
        let history = self.history(newest.manifest())?;
        let tag = history.tag(tag).ok_or_else(|| TagError::Missing(tag.to_owned()))?;
        let manifest = Manifest {
            root: tag.root,
            root_size: Some(tag.root_size),
            revision: tag.revision,
            ..newest.manifest().clone()
        };
        Snapshot::new(manifest, self.storage.clone(), newest.scratch().clone())
    }

    /// The tags of a revision.
    pub(crate) fn history(&self, manifest: &Manifest) -> Result<History> {
        match manifest.history {
            Some(hash) => {
                let bytes = read_database(&self.storage, hash.object(ObjectKind::History))?;
                History::open(bytes, hash)
            }
            None => Ok(History::create(&self.fqrn)),
        }
    }

    fn newest(&self, seen: Option<&Snapshot>) -> Result<(Snapshot, Version)> {
        let (file, version) = self
            .storage
            .read_file(manifest::NAME)?
            .ok_or_else(|| Error::NoSuchRepository(self.storage.name().to_owned()))?;
        let signed = Manifest::parse(&file)?;
        let manifest = self.verify(&signed, SystemTime::now())?.clone();
        let snapshot = match seen {
            Some(seen) if *seen.manifest() == manifest => seen.clone(),
            Some(seen) => seen.another(manifest)?,
            None => self.unverified(manifest)?,
        };
        Ok((snapshot, version))
    }

    /// The revision of a manifest that need not be trusted.
    pub(crate) fn unverified(&self, manifest: Manifest) -> Result<Snapshot> {
        Snapshot::new(manifest, self.storage.clone(), Scratch::new()?)
    }

    /// Verifies a manifest as a client does it.
    pub(crate) fn verify<'m>(
        &self,
        signed: &'m SignedManifest,
        now: SystemTime,
    ) -> Result<&'m Manifest> {
        let untrusted = |reason| Error::Untrusted {
            what: format!("{} in {}", manifest::NAME, self.storage.name()),
            reason,
        };
        let hash =
            signed.unverified().certificate.ok_or_else(|| untrusted(Distrust::NoCertificate))?;
        let object = hash.object(ObjectKind::Certificate);
        let pem = read_database(&self.storage, object)?;
        let certificate = Certificate::parse(&pem)?;
        let manifest = signed.verify(&self.fqrn, &certificate)?;
        let (whitelist, _) = self.whitelist()?;
        let whitelist = whitelist.verify(&self.fqrn, self.keys.public()?, now)?;
        if !whitelist.lists(&certificate) {
            return Err(untrusted(Distrust::Unlisted(object)));
        }
        Ok(manifest)
    }

    /// The whitelist, not verified.
    pub(crate) fn whitelist(&self) -> Result<(SignedWhitelist, Version)> {
        let (file, version) =
            self.storage.read_file(whitelist::NAME)?.ok_or_else(|| Error::Missing {
                object: whitelist::NAME.to_owned(),
                storage: self.storage.name().to_owned(),
            })?;
        Ok((Whitelist::parse(&file)?, version))
    }

    /// Begins a publish.
    ///
    /// # Errors
    /// If the storage cannot be read, a garbage collection does not end, or it cannot be told which tags are outdated.
    pub fn begin(&self) -> Result<Session> {
        self.keys.publisher()?;
        let tagging = self.auto_tags.now()?;
        Ok(Session { generation: Generation::settled(&self.storage)?, tagging })
    }

    /// Waits until no other publisher says that it is making a revision, and says so for the caller. That saves work: whoever
    /// is second has to make its catalogs again. Nothing relies on it, so this waits neither for a publisher that is
    /// dead nor for ever, and fails never. It also ends when the caller no longer `wants` a turn.
    pub fn turn(&self, wants: &mut dyn FnMut() -> bool) -> Turn {
        Turn::take(&self.storage, wants)
    }

    /// Checks that what was stored since a session began is still there.
    ///
    /// # Errors
    /// [`Error::Collected`] if there has been a garbage collection.
    pub fn confirm(&self, session: &Session) -> Result<()> {
        session.generation.check(&self.storage)
    }

    /// Makes edits visible in one new revision; if nothing differs from what is there, the manifest stays.
    ///
    /// # Errors
    /// If an edit cannot be applied, something that the edits rely on has changed, the storage refuses, or a garbage
    /// collection has removed what the edits refer to ([`Error::Collected`]: publish again).
    pub fn publish(&self, edits: &Edits, objects: &Objects, session: &Session) -> Result<Manifest> {
        self.revise_since(edits.seen(), objects, &mut |draft| {
            session.generation.check(&self.storage)?;
            let revision = self.highest(draft.base.manifest()) + 1;
            let Some(root) = edits.apply(draft.base, objects, revision, draft.now)? else {
                return Ok(false);
            };
            draft.manifest.root = root.hash;
            draft.manifest.root_size = Some(root.size);
            draft.manifest.revision = revision;
            let timestamp = draft.timestamp();
            let trunk = draft.history.move_trunk(root.hash, root.size, revision, timestamp);
            session.tagging.apply(&mut draft.history, &trunk, draft.now)?;
            Ok(true)
        })
    }

    /// Applies a change to the newest revision, and does so again until nobody else's revision comes in between.
    /// `change` returns whether there is anything to sign.
    pub(crate) fn revise(
        &self,
        objects: &Objects,
        change: &mut dyn FnMut(&mut Draft<'_>) -> Result<bool>,
    ) -> Result<Manifest> {
        self.revise_since(None, objects, change)
    }

    /// The same for a publisher that has read an earlier revision.
    fn revise_since(
        &self,
        seen: Option<&Snapshot>,
        objects: &Objects,
        change: &mut dyn FnMut(&mut Draft<'_>) -> Result<bool>,
    ) -> Result<Manifest> {
        let publisher = self.keys.publisher()?;
        let mut backoff = Backoff::begin();
        let mut seen = seen.cloned();
        loop {
            let (base, version) = self.newest(seen.as_ref())?;
            self.check_progress(base.manifest())?;
            let (reflog, reflog_version, reflog_fits) = self.reflog(base.manifest())?;
            let mut draft = Draft {
                manifest: base.manifest().clone(),
                history: self.history(base.manifest())?,
                reflog,
                now: SystemTime::now(),
                base: &base,
            };
            self.check_traces(&draft, reflog_fits, &version)?;
            if !change(&mut draft)? {
                return Ok(draft.manifest);
            }
            let (manifest, reflog) = draft.seal(publisher, objects)?;
            self.storage.sync()?;
            let signed = Bytes::from(manifest.sign(&publisher.key)?);
            let expected = Expected::Version(version);
            if self.storage.replace_file(manifest::NAME, signed.clone(), expected)?.is_some() {
                if let Some(last_seen) = &self.last_seen {
                    self.noted(last_seen.signed(&manifest));
                }
                self.replace_reflog(&signed, reflog, reflog_version)?;
                return Ok(manifest);
            }
            let attempts = backoff.attempts();
            tracing::debug!(repository = %self.fqrn, attempts, "another publisher was faster");
            if !backoff.again() {
                let minutes = backoff::PATIENCE.as_secs() / 60;
                return Err(Error::Outpaced { fqrn: self.fqrn.clone(), attempts, minutes });
            }
            seen = Some(base);
        }
    }

    /// The reference log that belongs to a manifest, the version of the file, and whether it is the one that the manifest
    /// names.
    fn reflog(&self, manifest: &Manifest) -> Result<(Reflog, Option<Version>, bool)> {
        let begun = Instant::now();
        loop {
            let stored = self.storage.read_file(reflog::NAME)?;
            let fits = match (&stored, manifest.reflog) {
                (Some((bytes, _)), Some(hash)) => hash.algorithm.hash(bytes) == hash,
                (None, Some(_)) => false,
                (_, None) => true,
            };
            if !fits && begun.elapsed() < REFLOG_PATIENCE {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            let Some((bytes, version)) = stored else {
                return Ok((Reflog::create(&self.fqrn), None, fits));
            };
            if !fits {
                tracing::warn!(repository = %self.fqrn,
                    "{} is not the one of the newest revision; completing it", reflog::NAME);
            }
            return Ok((Reflog::open(&bytes)?, Some(version), fits));
        }
    }

    /// Stores the reference log of a manifest, as long as that manifest is the newest.
    fn replace_reflog(
        &self,
        manifest: &Bytes,
        reflog: Vec<u8>,
        seen: Option<Version>,
    ) -> Result<()> {
        let reflog = Bytes::from(reflog);
        let mut expected = seen.map_or(Expected::Absent, Expected::Version);
        for _ in 0..REFLOG_ATTEMPTS {
            if self.storage.replace_file(reflog::NAME, reflog.clone(), expected)?.is_some() {
                return Ok(());
            }
            match self.storage.read_file(manifest::NAME)? {
                Some((newest, _)) if newest == *manifest => {}
                _ => return Ok(()),
            }
            let stored = self.storage.read_file(reflog::NAME)?;
            expected = stored.map_or(Expected::Absent, |(_, version)| Expected::Version(version));
        }
        Ok(())
    }
}

impl Draft<'_> {
    /// The time of the revision, in seconds since 1970.
    pub(crate) fn timestamp(&self) -> u64 {
        let now = u64::try_from(unix_seconds(self.now)).unwrap_or_default();
        // Clients refuse a time before the last one, and a manifest must differ from the one before.
        now.max(self.base.manifest().timestamp.unwrap_or_default() + 1)
    }

    /// Stores what the manifest refers to; returns the manifest and the reference log's bytes.
    fn seal(mut self, publisher: &Publisher, objects: &Objects) -> Result<(Manifest, Vec<u8>)> {
        let timestamp = self.timestamp();
        let mut manifest = self.manifest;
        manifest.timestamp = Some(timestamp);
        manifest.history = Some(objects.store(ObjectKind::History, &self.history.to_bytes()?)?);
        manifest.certificate = Some(objects.store_certificate(publisher.certificate.pem())?);
        for manifest in [self.base.manifest(), &manifest] {
            for (hash, kind) in references(manifest) {
                if !self.reflog.contains(hash, kind) {
                    self.reflog.add(hash, kind, timestamp);
                }
            }
        }
        let bytes = self.reflog.to_bytes()?;
        manifest.reflog = Some(manifest.root.algorithm.hash(&bytes));
        Ok((manifest, bytes))
    }
}
