//! The command line of `ducc repository`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand, ValueEnum};
use cvmfs_repository::compression::Compression;
use cvmfs_repository::fqrn::Fqrn;
use cvmfs_repository::hash::Algorithm;
use cvmfs_repository::manifest;
use cvmfs_repository::storage::StorageUrl;
use ducc::repository::{Access, Locator};

#[derive(Debug, Subcommand)]
pub(crate) enum RepositoryCommand {
    /// Create a repository: keys, whitelist, an empty signed revision.
    ///
    /// Keys that are in the key directory already are used; missing ones are made.
    Create(Create),
    /// Show revision, signatures, size and number of tags.
    Info(Info),
    /// Sign the whitelist and the manifest again. Do this before the whitelist expires.
    Resign(Resign),
    /// List, set and remove tags: named revisions, which garbage collection keeps.
    Tag(Tag),
    /// List what is in a directory.
    List(List),
    /// Check signatures, catalogs and objects.
    ///
    /// Exit status: 0 there are no faults, remarks aside; 1 there are, or it cannot be checked; 104 there is no such
    /// repository.
    Check(Check),
    /// Remove objects that no retained revision refers to.
    Gc(Gc),
    /// Copy a repository's keys from another directory, after checking that they match.
    ImportKeys(ImportKeys),
}

/// Where keys and caches are.
#[derive(Debug, Clone, Args)]
pub(crate) struct AccessOptions {
    /// Directory of the CernVM-FS keys: FQRN.pub, FQRN.crt, FQRN.key, FQRN.masterkey [default:
    /// /etc/cvmfs/keys for root, else ~/.config/ducc/keys].
    #[arg(long, value_name = "DIR", env = "DUCC_KEYS")]
    pub(crate) keys: Option<PathBuf>,

    /// Directory of the index of known content, which saves compressing it again and can be deleted at any
    /// time [default: /var/cache/ducc for root, else ~/.cache/ducc].
    #[arg(long, value_name = "DIR", env = "DUCC_CACHE")]
    pub(crate) cache: Option<PathBuf>,

    /// Publish only while no DUCC on this machine does: hold /tmp/DUCC.lock [default: true if this program is called
    /// cvmfs_ducc].
    #[arg(
        long,
        value_name = "BOOL",
        env = "DUCC_LOCK",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) ducc_lock: Option<bool>,

    /// Publish set-id programs, file capabilities and devices also into a plain directory that other users of this machine
    /// can enter, and publish into one that all of them may change.
    #[arg(long, env = "DUCC_TRUST_LOCAL_USERS", value_parser = BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub(crate) trust_local_users: bool,

    /// Publish into a CernVM-FS repository although its storage holds an older revision than this machine has seen there,
    /// for instance because it was restored from a backup. The next revision gets a number that none has had.
    #[arg(long)]
    pub(crate) accept_rollback: bool,

    /// Read every object that is in the storage already before a new revision refers to it, and store those that are damaged
    /// anew. Otherwise sizes are compared, and a sample is read.
    #[arg(long, env = "DUCC_INSPECT_OBJECTS", value_parser = BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub(crate) inspect_objects: bool,
}

impl AccessOptions {
    pub(crate) fn access(self) -> Access {
        Access {
            keys: self.keys,
            cache: self.cache,
            ducc_lock: self.ducc_lock.unwrap_or_else(crate::stands_in_for_ducc),
            trust_local_users: self.trust_local_users,
            accept_rollback: self.accept_rollback,
            inspect_objects: self.inspect_objects,
            state: std::env::var_os("DUCC_STATE").filter(|it| !it.is_empty()).map(PathBuf::from),
            ..Access::default()
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The repository: cvmfs+file:///DIR, cvmfs+s3://BUCKET/PREFIX?endpoint=URL, or the name of one in
    /// /etc/cvmfs/repositories.d.
    pub(crate) repository: Locator,

    #[command(flatten)]
    pub(crate) access: AccessOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    #[command(flatten)]
    pub(crate) target: Target,

    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The repository's fully qualified name, for instance unpacked.example.org.
    pub(crate) fqrn: Fqrn,

    /// Where to store it: file:///DIR or s3://BUCKET/PREFIX?endpoint=URL.
    #[arg(long, value_name = "URL")]
    pub(crate) storage: StorageUrl,

    /// The hash that names objects: sha1, rmd160 or shake128.
    #[arg(long, value_name = "ALGORITHM", default_value = "sha1")]
    pub(crate) hash: Algorithm,

    /// How file content is stored.
    #[arg(long, value_enum, default_value_t = CompressionName::Zlib)]
    pub(crate) compression: CompressionName,

    /// Seconds after which clients look for a new revision.
    #[arg(long, value_name = "SECONDS", default_value_t = manifest::DEFAULT_TTL)]
    pub(crate) ttl: u64,

    /// Days until the whitelist expires.
    #[arg(long, value_name = "DAYS", default_value = "30", value_parser = days)]
    pub(crate) whitelist_days: Duration,

    /// Create a repository from which objects can never be removed.
    #[arg(long)]
    pub(crate) no_garbage_collection: bool,

    #[command(flatten)]
    pub(crate) access: AccessOptions,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CompressionName {
    /// As zlib streams.
    Zlib,
    /// Uncompressed.
    None,
}

impl From<CompressionName> for Compression {
    fn from(name: CompressionName) -> Self {
        match name {
            CompressionName::Zlib => Self::Zlib,
            CompressionName::None => Self::None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Resign {
    #[command(flatten)]
    pub(crate) target: Target,

    /// Days until the whitelist expires.
    #[arg(long, value_name = "DAYS", default_value = "30", value_parser = days)]
    pub(crate) days: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Tag {
    #[command(flatten)]
    pub(crate) target: Target,

    /// Give the newest revision this name.
    #[arg(long, value_name = "NAME", conflicts_with = "remove")]
    pub(crate) add: Option<String>,

    /// A description for the tag.
    #[arg(long, value_name = "TEXT", requires = "add", default_value = "")]
    pub(crate) message: String,

    /// Remove this tag.
    #[arg(long, value_name = "NAME")]
    pub(crate) remove: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) target: Target,

    /// The directory or file.
    #[arg(default_value = "/")]
    pub(crate) path: String,

    /// Also list the directories below.
    #[arg(short, long)]
    pub(crate) recursive: bool,

    /// List the revision with this tag instead of the newest.
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) target: Target,

    /// Also read every object and verify its hash.
    #[arg(long)]
    pub(crate) data: bool,

    /// Print one JSON object, also if there are faults.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    pub(crate) target: Target,

    #[command(flatten)]
    pub(crate) keep: Keep,

    /// Only show what would be removed.
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which revisions and objects a collection keeps.
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// Keep this many revisions before the newest, whatever their age.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) keep_revisions: u64,

    /// Keep revisions that are younger than this.
    #[arg(long, value_name = "DAYS", default_value = "3", value_parser = days)]
    pub(crate) keep_days: Duration,

    /// Keep objects that were stored more recently than this; must be longer than any publish takes.
    #[arg(long, value_name = "HOURS", default_value = "24", value_parser = hours)]
    pub(crate) grace: Duration,
}

impl Default for Keep {
    /// What the options are if none is given.
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self { keep_revisions: 1, keep_days: hours(3 * 24), grace: hours(24) }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ImportKeys {
    /// The repository's fully qualified name.
    pub(crate) fqrn: Fqrn,

    /// The directory to copy from, for instance /etc/cvmfs/keys of another machine.
    #[arg(value_name = "DIR")]
    pub(crate) from: PathBuf,

    #[command(flatten)]
    pub(crate) access: AccessOptions,
}

pub(super) fn days(text: &str) -> Result<Duration, String> {
    duration(text, 24 * 3600, "days")
}

fn hours(text: &str) -> Result<Duration, String> {
    duration(text, 3600, "hours")
}

fn duration(text: &str, unit: u64, name: &str) -> Result<Duration, String> {
    text.parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("expected a number of {name}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        keep: Keep,
    }

    #[test]
    fn defaults_are_those_of_the_options() {
        let parsed = Options::parse_from(["gc"]).keep;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Keep::default()));
    }
}
