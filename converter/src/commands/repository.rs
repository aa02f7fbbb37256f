//! `ducc repository`: work on a CernVM-FS repository itself, not on images.

use std::fmt;
use std::io::Write;
use std::time::SystemTime;

use anyhow::{Context, bail};
use cvmfs_repository::check::{self, Checked, Depth};
use cvmfs_repository::collector::{self, Retention};
use cvmfs_repository::entry::{Content, Entry, EntryKind};
use cvmfs_repository::keys::Keys;
use cvmfs_repository::path::TreePath;
use cvmfs_repository::snapshot::Directory;
use cvmfs_repository::storage::Storage;
use cvmfs_repository::{Creation, Repository};
use ducc::repository::Stratum0;
use ducc::verify::chain_faults;
use serde::Serialize;
use serde_json::json;

use super::advice;
use crate::cli::repository::{
    Check, Create, Gc, ImportKeys, Info, Keep, List, RepositoryCommand, Resign, Tag, Target,
};
use crate::screen;

/// In place of a time that a manifest does not have, or that no calendar has.
const UNKNOWN: &str = "?";

/// Runs one of the commands and prints its results to standard output.
pub(crate) fn run(command: RepositoryCommand) -> anyhow::Result<()> {
    let out = &mut screen::stdout();
    match command {
        RepositoryCommand::Create(arguments) => create(arguments, out),
        RepositoryCommand::Info(arguments) => told(arguments.json, info(arguments, out), out),
        RepositoryCommand::Resign(arguments) => resign(arguments, out),
        RepositoryCommand::Tag(arguments) => tag(arguments, out),
        RepositoryCommand::List(arguments) => list(arguments, out),
        RepositoryCommand::Check(arguments) => check(arguments, out),
        RepositoryCommand::Gc(arguments) => told(arguments.json, gc(arguments, out), out),
        RepositoryCommand::ImportKeys(arguments) => import_keys(arguments, out),
    }
}

fn open(Target { repository, access }: Target) -> anyhow::Result<Stratum0> {
    Ok(repository.stratum0(&access.access())?)
}

fn create(arguments: Create, out: &mut dyn Write) -> anyhow::Result<()> {
    let Create { fqrn, storage: url, hash, compression, ttl, whitelist_days, access, .. } =
        arguments;
    if !fqrn.is_qualified() {
        bail!("{fqrn} has no dot; clients would look for it in their own default domain");
    }
    let access = access.access();
    let directory = access.keys_directory();
    let storage = Storage::open(&url)?;
    let objects = Stratum0::new_objects(&storage, hash, compression.into());
    let creation = Creation {
        ttl,
        garbage_collectable: !arguments.no_garbage_collection,
        whitelist_validity: whitelist_days,
    };
    Repository::refuse_existing(&storage)?;
    let keys = Keys::load_or_make(&directory, &fqrn)?;
    let repository = Repository::create(storage, fqrn, keys, &objects, &creation)?;
    let newest = repository.snapshot()?;
    if let Err(error) = access.last_seen(repository.storage()).begin(newest.manifest()) {
        tracing::warn!("nothing will protect from older revisions: {error}");
    }
    let fqrn = repository.fqrn();
    writeln!(out, "created {fqrn} in {url}")?;
    writeln!(out, "keys of {fqrn} are in {}; keep {fqrn}.masterkey safe", directory.display())?;
    writeln!(out, "clients need {fqrn}.pub; publish with the locator cvmfs+{url}")?;
    Ok(())
}

/// Hands on how a command ended, after printing the error as an object for programs if the command has printed none.
fn told(json: bool, result: anyhow::Result<()>, out: &mut dyn Write) -> anyhow::Result<()> {
    if let (true, Err(error)) = (json, &result) {
        writeln!(out, "{}", json!({"error": advice::explain(error)}))?;
    }
    result
}

fn info(Info { target, json }: Info, out: &mut dyn Write) -> anyhow::Result<()> {
    let stratum0 = open(target)?;
    let repository = &stratum0.repository;
    let snapshot = repository.snapshot()?;
    let manifest = snapshot.manifest();
    let counters = snapshot.counters();
    let signed = manifest.timestamp.map_or_else(|| UNKNOWN.to_owned(), time);
    let expires = instant(repository.whitelist_expiry()?);
    let (own, below) = (&counters.own, &counters.subtree);
    let catalogs = 1 + own.nested + below.nested;
    let directories = own.dir + below.dir;
    let files = own.regular + below.regular;
    let symlinks = own.symlink + below.symlink;
    let special = own.special + below.special;
    let bytes = own.file_size + below.file_size;
    let tags = repository.tags()?.len();
    if json {
        let report = json!({
            "name": manifest.name.to_string(),
            "storage": repository.storage().name().to_string(),
            "revision": manifest.revision,
            "signed": signed,
            "root_catalog": manifest.root.to_string(),
            "hash_algorithm": manifest.root.algorithm.name(),
            "garbage_collectable": manifest.garbage_collectable,
            "ttl_seconds": manifest.ttl,
            "whitelist_expires": expires,
            "catalogs": catalogs,
            "directories": directories,
            "files": files,
            "symlinks": symlinks,
            "special_files": special,
            "bytes_in_files": bytes,
            "tags": tags,
        });
        return Ok(writeln!(out, "{report}")?);
    }
    writeln!(out, "name                 {}", manifest.name)?;
    writeln!(out, "storage              {}", repository.storage().name())?;
    writeln!(out, "revision             {}", manifest.revision)?;
    writeln!(out, "signed               {signed}")?;
    writeln!(out, "root catalog         {}", manifest.root)?;
    writeln!(out, "hash algorithm       {}", manifest.root.algorithm.name())?;
    writeln!(out, "garbage-collectable  {}", yes(manifest.garbage_collectable))?;
    writeln!(out, "TTL                  {} s", manifest.ttl)?;
    writeln!(out, "whitelist expires    {expires}")?;
    writeln!(out, "catalogs             {catalogs}")?;
    writeln!(out, "directories          {directories}")?;
    writeln!(out, "files                {files}")?;
    writeln!(out, "symlinks             {symlinks}")?;
    writeln!(out, "special files        {special}")?;
    writeln!(out, "bytes in files       {bytes}")?;
    writeln!(out, "tags                 {tags}")?;
    Ok(())
}

fn resign(Resign { target, days }: Resign, out: &mut dyn Write) -> anyhow::Result<()> {
    let stratum0 = open(target)?;
    let _locks = stratum0.lock()?;
    let (manifest, expires) = stratum0.repository.resign(&stratum0.objects, days)?;
    stratum0.tell_server(&manifest)?;
    writeln!(out, "signed; the whitelist expires {}", instant(expires))?;
    Ok(())
}

fn tag(arguments: Tag, out: &mut dyn Write) -> anyhow::Result<()> {
    let Tag { target, add, message, remove } = arguments;
    let stratum0 = open(target)?;
    if let Some(name) = add {
        let _locks = stratum0.lock()?;
        let manifest = stratum0.repository.add_tag(&stratum0.objects, &name, &message)?;
        stratum0.tell_server(&manifest)?;
        writeln!(out, "{name} is revision {}", manifest.revision)?;
    } else if let Some(name) = remove {
        let _locks = stratum0.lock()?;
        let manifest = stratum0.repository.remove_tag(&stratum0.objects, &name)?;
        stratum0.tell_server(&manifest)?;
        writeln!(out, "{name} is no tag any more")?;
    } else {
        for tag in stratum0.repository.tags()? {
            let signed = time(tag.timestamp);
            writeln!(out, "{}\t{}\t{signed}\t{}", tag.name, tag.revision, tag.description)?;
        }
    }
    Ok(())
}

fn list(arguments: List, out: &mut dyn Write) -> anyhow::Result<()> {
    let List { target, path, recursive, tag } = arguments;
    let stratum0 = open(target)?;
    let snapshot = match tag {
        Some(tag) => stratum0.repository.tagged(&tag)?,
        None => stratum0.repository.snapshot()?,
    };
    let tree_path = TreePath::parse(path.as_bytes())
        .with_context(|| format!("{path} is no path in a repository"))?;
    let entry = snapshot.lookup(&tree_path)?.with_context(|| format!("there is no {tree_path}"))?;
    match snapshot.directory(&tree_path)? {
        Some(directory) => list_directory(&directory, recursive, out),
        None => Ok(writeln!(out, "{}", line(&entry, tree_path.as_bytes()))?),
    }
}

fn list_directory(
    directory: &Directory,
    recursive: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut children = Vec::new();
    directory.for_each(&mut |child| {
        children.push(child);
        Ok(())
    })?;
    children.sort_by(|a, b| a.name.cmp(&b.name));
    for child in children {
        writeln!(out, "{}", line(&child.entry, directory.path().join(&child.name).as_bytes()))?;
        if recursive && child.entry.is_directory() {
            list_directory(&directory.open(&child)?, recursive, out)?;
        }
    }
    Ok(())
}

/// One entry: type and mode, owner, group, size or device, time, path, target.
fn line(entry: &Entry, path: &[u8]) -> String {
    let (kind, size, target) = match &entry.kind {
        EntryKind::Directory => ('d', String::new(), None),
        EntryKind::File(file) => {
            let external = matches!(file.content, Content::External(_));
            (if external { 'e' } else { '-' }, file.size.to_string(), None)
        }
        EntryKind::Symlink(target) => ('l', target.len().to_string(), Some(target)),
        EntryKind::Character(device) => ('c', format!("{},{}", device.major, device.minor), None),
        EntryKind::Block(device) => ('b', format!("{},{}", device.major, device.minor), None),
        EntryKind::Fifo => ('p', String::new(), None),
        EntryKind::Socket => ('s', String::new(), None),
    };
    let target = match target {
        Some(target) => format!(" -> {}", target.escape_ascii()),
        None => String::new(),
    };
    format!(
        "{kind}{:04o} {:>5} {:>5} {size:>10} {} {}{target}",
        entry.mode,
        entry.uid,
        entry.gid,
        show(jiff::Timestamp::from_second(entry.mtime.seconds)),
        path.escape_ascii(),
    )
}

/// What a check has found, for programs.
#[derive(Debug, Default, Serialize)]
struct CheckReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    checked: Option<Figures>,
    data: bool,
    faults: Vec<String>,
    remarks: Vec<String>,
    /// Why it was not checked, or that there are faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Figures {
    revision: u64,
    catalogs: u64,
    entries: u64,
    objects: u64,
}

fn check(Check { target, data, json }: Check, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut report = CheckReport { data, ..CheckReport::default() };
    let result = check_into(target, &mut report);
    if json {
        report.error = result.as_ref().err().map(advice::explain);
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        return result.map(drop);
    }
    Ok(writeln!(out, "{}", result?)?)
}

/// Checks, and tells in words that there are no faults.
fn check_into(target: Target, report: &mut CheckReport) -> anyhow::Result<String> {
    let data = report.data;
    let (locator, access) = (target.repository.clone(), target.access.clone().access());
    let stratum0 = open(target)?;
    let name = stratum0.repository.fqrn().to_string();
    report.name = Some(name.clone());
    let checked = check::check(&stratum0.repository, Depth { data }, &mut |fault| {
        let (word, told) = match fault.mends_itself {
            true => ("remark", &mut report.remarks),
            false => ("fault", &mut report.faults),
        };
        let text = match fault.distrust.as_ref().and_then(advice::about_distrust) {
            Some(advice) => format!("{fault}; {advice}"),
            None => fault.to_string(),
        };
        screen::warn(format_args!("{word}: {text}"));
        told.push(text);
    })?;
    let Checked { revision, catalogs, entries, objects, mut faults } = checked;
    report.checked = Some(Figures { revision, catalogs, entries, objects });
    // Only what can be read can be looked at.
    if faults == 0 {
        for fault in chain_faults(&*locator.open(None, &access)?)? {
            let text = format!("{fault}; `ducc verify --repair` mends the chains of images");
            screen::warn(format_args!("fault: {text}"));
            faults += 1;
            report.faults.push(text);
        }
    }
    let what = format!(
        "revision {revision}: {catalogs} catalogs, {entries} entries, {objects} objects{}",
        if data { ", all read" } else { "" }
    );
    if faults > 0 {
        bail!("{name} has {faults} faults ({what})");
    }
    Ok(format!("{name} has no faults ({what})"))
}

fn gc(arguments: Gc, out: &mut dyn Write) -> anyhow::Result<()> {
    let Gc { target, keep, dry_run, json } = arguments;
    let removed = collect_objects(target, keep, dry_run)?;
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string(&removed)?)?);
    }
    Ok(writeln!(out, "{removed}")?)
}

/// What a collection of objects has removed, or would remove.
#[derive(Debug, Serialize)]
pub(crate) struct ObjectsRemoved {
    dry_run: bool,
    objects: u64,
    bytes: u64,
    kept_revisions: u64,
    kept_objects: u64,
    kept_young: u64,
}

impl fmt::Display for ObjectsRemoved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} objects ({} bytes); kept {} revisions with {} objects, and {} young ones",
            if self.dry_run { "would remove" } else { "removed" },
            self.objects,
            self.bytes,
            self.kept_revisions,
            self.kept_objects,
            self.kept_young
        )
    }
}

/// Removes objects that no retained revision refers to.
pub(crate) fn collect_objects(
    target: Target,
    keep: Keep,
    dry_run: bool,
) -> anyhow::Result<ObjectsRemoved> {
    let stratum0 = open(target)?;
    let _locks = if dry_run { None } else { Some(stratum0.lock()?) };
    let retention = Retention {
        revisions: keep.keep_revisions,
        since: SystemTime::now().checked_sub(keep.keep_days),
        grace: keep.grace,
    };
    let collected =
        collector::collect(&stratum0.repository, &stratum0.objects, &retention, dry_run)?;
    if !dry_run {
        stratum0.tell_server(stratum0.repository.snapshot()?.manifest())?;
    }
    Ok(ObjectsRemoved {
        dry_run,
        objects: collected.removed,
        bytes: collected.bytes,
        kept_revisions: collected.revisions,
        kept_objects: collected.referenced,
        kept_young: collected.young,
    })
}

fn import_keys(arguments: ImportKeys, out: &mut dyn Write) -> anyhow::Result<()> {
    let ImportKeys { fqrn, from, access } = arguments;
    let to = access.access().keys_directory();
    let keys = Keys::import(&from, &fqrn, &to)?;
    writeln!(out, "the keys of {fqrn} are in {}", to.display())?;
    for (what, there) in [
        ("publish", keys.publisher().is_ok()),
        ("sign the whitelist", keys.master().is_ok()),
        ("verify", keys.public().is_ok()),
    ] {
        writeln!(out, "  to {what}: {}", yes(there))?;
    }
    Ok(())
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn time(seconds: u64) -> String {
    match i64::try_from(seconds) {
        Ok(seconds) => show(jiff::Timestamp::from_second(seconds)),
        Err(_) => UNKNOWN.to_owned(),
    }
}

fn instant(time: SystemTime) -> String {
    show(jiff::Timestamp::try_from(time))
}

fn show(time: Result<jiff::Timestamp, jiff::Error>) -> String {
    match time {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => UNKNOWN.to_owned(),
    }
}
