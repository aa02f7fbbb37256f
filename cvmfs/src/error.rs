//! What can go wrong with a repository. Every variant names the thing and tells the facts. What a person can do
//! about it depends on the program that person uses, so it is left to that program.

use std::io;
use std::path::PathBuf;

use crate::fqrn::Fqrn;
use crate::hash::ObjectId;
use crate::path::TreePath;

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a repository was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no repository in this storage.
    #[error("there is no repository in {0}")]
    NoSuchRepository(String),
    /// A repository is to be created in a storage that has one.
    #[error("there is a repository in {0} already")]
    RepositoryExists(String),
    /// Something in the repository is not what the format or its own hash says.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// The object, file or row.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is not signed by the right key, or its signature is no longer valid.
    #[error("{what} cannot be trusted: {reason}")]
    Untrusted {
        /// The manifest, whitelist or certificate.
        what: String,
        /// Why not.
        reason: Distrust,
    },
    /// A database of another schema than the ones that can be read.
    #[error("{what} has schema {found}, but only {supported} is supported")]
    UnknownSchema {
        /// The database.
        what: String,
        /// Its schema and revision.
        found: String,
        /// The only schema and revision that can be read.
        supported: String,
    },
    /// A catalog that can be read, but whose schema is too old to be changed.
    #[error("{what} has the old schema revision {revision}")]
    OldSchema {
        /// The catalog.
        what: String,
        /// The revision of its schema.
        revision: i64,
    },
    /// Something is used in a way that the format allows and this crate does not support.
    #[error("{what} needs {feature}, which is not supported")]
    Unsupported {
        /// What it is.
        what: String,
        /// What it would take.
        feature: &'static str,
    },
    /// The content of a file is on another server.
    #[error("the content of an external file is not in the repository")]
    ExternalContent,
    /// A key file is unusable.
    #[error("cannot use the key {}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A key is needed and not at hand.
    #[error("cannot use the key {}: {reason}; {need} needs it", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// Why it is not at hand.
        reason: &'static str,
        /// What it is needed for.
        need: &'static str,
    },
    /// A directory that keys are taken from has none.
    #[error("{} holds no keys of {fqrn} that can be read: looked for {files}", directory.display())]
    NoKeys {
        /// The directory.
        directory: PathBuf,
        /// The repository.
        fqrn: Fqrn,
        /// The names of its key files.
        files: String,
    },
    /// Another key would be overwritten.
    #[error("cannot use the key {}: another key is there already, and keys are never overwritten", .0.display())]
    KeyExists(PathBuf),
    /// The cryptographic library refused an operation.
    #[error("cannot {action}: {reason}")]
    Cryptography {
        /// What was tried, as it continues "cannot …".
        action: &'static str,
        /// The library's answer.
        reason: String,
    },
    /// A text or settings that do not lead to a storage.
    #[error("cannot use the storage {storage}: {reason}")]
    InvalidStorage {
        /// The storage as it was spelled.
        storage: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A configuration file has settings that cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The storage refused an operation.
    #[error("cannot {action} {object} in {storage}")]
    Storage {
        /// What was tried, as it continues "cannot …".
        action: &'static str,
        /// The object or file.
        object: String,
        /// The storage.
        storage: String,
        /// Its answer.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The storage replaces files whatever the condition.
    #[error(
        "{0} ignores conditions on requests (If-Match, If-None-Match), so publishers could overwrite each \
         other's revisions"
    )]
    ConditionsIgnored(String),
    /// A stock server's setting for automatic tags cannot be used.
    #[error(
        "nobody knows which automatic tags are outdated: CVMFS_AUTO_TAG_TIMESPAN is {timespan:?}, and what has to be set is \
         something that `date --date` understands, like \"3 weeks ago\" ({reason})"
    )]
    AutoTagTimespan {
        /// The setting.
        timespan: String,
        /// What `date` says.
        reason: String,
    },
    /// An object that should be there is not.
    #[error("{object} is missing in {storage}")]
    Missing {
        /// The object.
        object: String,
        /// The storage.
        storage: String,
    },
    /// The system refused an operation on a file of this machine.
    #[error("cannot {action} {}", path.display())]
    System {
        /// What was tried, as it continues "cannot …".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        cause: io::Error,
    },
    /// SQLite refused an operation.
    #[error("cannot {action} {what}")]
    Database {
        /// What was tried, as it continues "cannot …".
        action: &'static str,
        /// The catalog or other database.
        what: String,
        /// SQLite's answer.
        #[source]
        cause: rusqlite::Error,
    },
    /// The caller's source of content failed.
    #[error("cannot read the content")]
    Content(#[source] io::Error),
    /// No stock server on this machine knows the repository.
    #[error("no stock server on this machine has a repository {fqrn}: there is no {}", path.display())]
    UnknownToServer {
        /// The repository.
        fqrn: Fqrn,
        /// Where its configuration would be.
        path: PathBuf,
    },
    /// Somebody else is at work on the repository.
    #[error("there is {activity} of {fqrn}{}", activity.place())]
    Busy {
        /// The repository.
        fqrn: Fqrn,
        /// What is going on.
        activity: Activity,
    },
    /// The repository is not garbage-collectable.
    #[error("{0} was created as a repository that is not garbage-collectable (G in its manifest)")]
    NotCollectable(Fqrn),
    /// A garbage collection could not go on safely. What it removed until then was garbage.
    #[error("{0}")]
    CollectionStopped(CollectionStop),
    /// A garbage collection came between the beginning of a publish and its end.
    #[error("objects were collected while this was being prepared")]
    Collected,
    /// Somebody else has put something at a path since the author of an edit looked there.
    #[error("{0} was changed by another publisher while this was being prepared")]
    Conflict(TreePath),
    /// The storage holds an older revision than it has held.
    #[error("the newest revision of {fqrn} in its storage is {found}, but {evidence}")]
    RolledBack {
        /// The repository.
        fqrn: Fqrn,
        /// The number of the revision in the storage.
        found: u64,
        /// What says that there has been a later one.
        evidence: String,
    },
    /// Nothing but an unverified manifest says which repository is in a storage.
    #[error(
        "the manifest in {storage} claims to be that of {claimed}, and nothing else says which repository this is: there are \
         keys of {}",
        join(known)
    )]
    Unnamed {
        /// The storage.
        storage: String,
        /// The name in the manifest.
        claimed: Fqrn,
        /// The repositories whose keys are at hand.
        known: Vec<Fqrn>,
    },
    /// A change that depends on a revision was to be applied to another one.
    #[error("revision {newest} was published while this was being prepared from revision {seen}")]
    Superseded {
        /// The revision that the change was made for.
        seen: u64,
        /// The one that it met.
        newest: u64,
    },
    /// Other publishers replaced the manifest first, again and again.
    #[error("other publishers of {fqrn} were faster {attempts} times within {minutes} minutes")]
    Outpaced {
        /// The repository.
        fqrn: Fqrn,
        /// How often it was tried.
        attempts: u32,
        /// For how long it was tried.
        minutes: u64,
    },
    /// Something stands where something else is to be published.
    #[error("{path} cannot be published: {what} stands there")]
    Occupied {
        /// The path.
        path: TreePath,
        /// What is there.
        what: &'static str,
    },
    /// An entry or a tree that the format cannot hold.
    #[error("{path} cannot be published: {reason}")]
    Unpublishable {
        /// Its path.
        path: TreePath,
        /// Why not.
        reason: String,
    },
    /// Two entries have the same name.
    #[error("the name {name:?} is twice in one directory below {mount}")]
    DuplicateName {
        /// The name.
        name: String,
        /// Where their catalog begins.
        mount: TreePath,
    },
    /// A tag cannot be what is asked for.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// Something is too long for the way it must be stored.
    #[error(
        "{what} has {size} bytes; {limit} and more cannot be published, since replication could not copy it"
    )]
    TooLong {
        /// What it is.
        what: String,
        /// Its size in bytes.
        size: usize,
        /// The first size that is too long.
        limit: usize,
    },
    /// A date that the whitelist has no form for.
    #[error("a whitelist cannot hold this date")]
    InvalidDate,
    /// Something that this depends on has stopped: it failed, and has told its own error elsewhere, or nobody wanted
    /// its result any more.
    #[error("{0}")]
    Stopped(String),
}

fn join(names: &[Fqrn]) -> String {
    names.iter().map(Fqrn::as_str).collect::<Vec<_>>().join(", ")
}

/// Why something is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It belongs to another repository.
    #[error("it is that of {found}, not of {expected}")]
    OtherRepository {
        /// The repository that it names.
        found: Fqrn,
        /// The repository that it should be of.
        expected: Fqrn,
    },
    /// A whitelist that no trusted master key has signed.
    #[error("none of the master keys at hand has signed it")]
    NoMasterKey,
    /// A manifest that the key of its certificate has not signed.
    #[error("the key of its certificate has not signed it")]
    OtherKey,
    /// A manifest without a certificate.
    #[error("it names no certificate (X)")]
    NoCertificate,
    /// A manifest whose certificate is not on the whitelist.
    #[error("its certificate {0} is not on the whitelist")]
    Unlisted(ObjectId),
    /// A whitelist that is no longer valid: the date on which it expired, in UTC.
    #[error("it expired on {0} UTC")]
    Expired(String),
}

/// What somebody else does with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Activity {
    /// A stock server publishes or aborts.
    #[error("a publish or an abort")]
    ServerPublish,
    /// A stock server has an open transaction.
    #[error("an open transaction")]
    ServerTransaction,
    /// A stock server collects garbage or checks.
    #[error("a garbage collection or a check")]
    ServerCollection,
    /// Another collector of this crate is running.
    #[error("another garbage collection")]
    Collection,
}

impl Activity {
    /// Where it is going on, if that is known.
    fn place(self) -> &'static str {
        match self {
            Self::ServerPublish | Self::ServerTransaction | Self::ServerCollection => {
                " on this stock server"
            }
            Self::Collection => "",
        }
    }
}

/// Why a garbage collection stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CollectionStop {
    /// Another collector took this one for dead.
    #[error("another garbage collection has taken over")]
    TakenOver,
    /// No sign of life could be given for so long that others may take this collector for dead.
    #[error("the storage was too slow to go on safely")]
    TooSlow,
}

/// What is wrong with a tag. Names are as they were given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// No tag can have this name.
    #[error("{0:?} cannot be the name of a tag (letters, digits, `-`, `_`, `.`, `/` and `:` can)")]
    InvalidName(String),
    /// There is one of this name.
    #[error("there is a tag {0} already")]
    Exists(String),
    /// There is none of this name.
    #[error("there is no tag {0}")]
    Missing(String),
    /// Publishes move this tag, so nobody else may.
    #[error("{0} is reserved: every publish moves it")]
    Reserved(String),
    /// Its branch does not exist.
    #[error("there is no branch {0:?}")]
    NoBranch(String),
}

impl Error {
    /// Whether doing the same again, starting from the newest revision, can be expected to work.
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Self::Collected | Self::Conflict(_) | Self::Superseded { .. })
    }
}
