//! The tag database: names for revisions.
//!
//! Every publish sets two names: [`TRUNK`] is the current revision and [`TRUNK_PREVIOUS`] the one before. All others are
//! given by people, or by publishes of a repository whose stock server is told to do that (`auto_tags`). A garbage
//! collection keeps what a tag names; so an old revision lives as long as it is `trunk-previous`, has a name of its own, or
//! is younger than the collection's time limit.
//!
//! The format knows branches, too. This crate makes none, but keeps those that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use rusqlite::{Connection, params};

use crate::database::{self, Database, signed, unsigned};
use crate::fqrn::Fqrn;
use crate::hash::ContentHash;
use crate::{Result, TagError};

/// The tag of the current revision.
pub const TRUNK: &str = "trunk";
/// The tag of the revision before the current one.
pub const TRUNK_PREVIOUS: &str = "trunk-previous";

const TRUNK_DESCRIPTION: &str = "current HEAD";
const TRUNK_PREVIOUS_DESCRIPTION: &str = "default undo target";

const WHAT: &str = "the tag database";
const SCHEMA_REVISION: u32 = 3;
const SCHEMA: &str = "
    CREATE TABLE branches (branch TEXT, parent TEXT, initial_revision INTEGER,
        CONSTRAINT pk_branch PRIMARY KEY (branch),
        FOREIGN KEY (parent) REFERENCES branches (branch),
        CHECK ((branch <> '') OR (parent IS NULL)),
        CHECK ((branch = '') OR (parent IS NOT NULL)));
    CREATE TABLE tags (name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER,
        description TEXT, size INTEGER, branch TEXT,
        CONSTRAINT pk_tags PRIMARY KEY (name),
        FOREIGN KEY (branch) REFERENCES branches (branch));
    CREATE TABLE recycle_bin (hash TEXT, flags INTEGER, CONSTRAINT pk_hash PRIMARY KEY (hash));";

/// The name of a tag. Those that people give hold ASCII letters, digits, `-`, `_`, `.`, `/` and `:` only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagName(String);

impl TagName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether publishes move it, so that nobody else may.
    pub fn is_reserved(&self) -> bool {
        [TRUNK, TRUNK_PREVIOUS].contains(&self.as_str())
    }
}

impl FromStr for TagName {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
        if text.is_empty() || !text.bytes().all(fits) {
            return Err(TagError::InvalidName(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name for a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The name.
    pub name: TagName,
    /// The revision's root catalog.
    pub root: ContentHash,
    /// Size of its database in bytes, not compressed.
    pub root_size: u64,
    /// Number of the revision.
    pub revision: u64,
    /// When the revision was made, in seconds since 1970.
    pub timestamp: u64,
    /// The branch; empty for the only one that most repositories have.
    pub branch: String,
    /// For people.
    pub description: String,
}

/// A line of revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Branch {
    /// `None` for the default branch alone.
    parent: Option<String>,
    initial_revision: u64,
}

/// The tag database.
#[derive(Debug, Clone)]
pub struct History {
    fqrn: Fqrn,
    tags: BTreeMap<TagName, Tag>,
    branches: BTreeMap<String, Branch>,
    stored: Option<Stored>,
}

/// A database as it was found.
#[derive(Debug, Clone)]
struct Stored {
    hash: ContentHash,
    bytes: Vec<u8>,
    tags: BTreeMap<TagName, Tag>,
}

impl History {
    /// A database without tags, which must get [`TRUNK`] before it is stored: checkers do not like empty ones.
    pub fn create(fqrn: &Fqrn) -> Self {
        let default = Branch { parent: None, initial_revision: 0 };
        Self {
            fqrn: fqrn.clone(),
            tags: BTreeMap::new(),
            branches: BTreeMap::from([(String::new(), default)]),
            stored: None,
        }
    }

    /// Reads a database; `hash` is the name of its object.
    ///
    /// # Errors
    /// If it is damaged, or of a schema that is not known.
    pub fn open(bytes: Vec<u8>, hash: ContentHash) -> Result<Self> {
        let database = Database::open(&bytes, WHAT, SCHEMA_REVISION)?;
        let query = "SELECT name, hash, size, revision, timestamp, branch, CAST(description AS BLOB) FROM tags";
        let tags = database.rows(query, |row| {
            let row: (String, String, i64, i64, i64, String, Option<Vec<u8>>) = row.try_into()?;
            Ok(tag(row))
        })?;
        let tags: BTreeMap<_, _> = tags.into_iter().map(|tag| (tag.name.clone(), tag)).collect();
        let query = "SELECT branch, parent, initial_revision FROM branches";
        let branches = database.rows(query, |row| {
            let (name, parent, revision): (String, Option<String>, i64) = row.try_into()?;
            Ok(unsigned(revision, "a branch's first revision")
                .map(|initial_revision| (name, Branch { parent, initial_revision })))
        })?;
        let fqrn = database.fqrn()?;
        let stored = Some(Stored { hash, bytes, tags: tags.clone() });
        Ok(Self { fqrn, tags, branches: branches.into_iter().collect(), stored })
    }

    /// All tags, sorted by name.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.tags.values()
    }

    /// A tag.
    pub fn tag(&self, name: &str) -> Option<&Tag> {
        self.tags.get(&TagName(name.to_owned()))
    }

    /// Adds a tag that somebody wants.
    ///
    /// # Errors
    /// If the name is taken or reserved, or the branch does not exist.
    pub fn insert(&mut self, tag: Tag) -> Result<()> {
        Self::not_reserved(&tag.name)?;
        if self.tags.contains_key(&tag.name) {
            return Err(TagError::Exists(tag.name.to_string()).into());
        }
        self.replace(tag)
    }

    /// Adds a tag that somebody wants, in place of one of the same name.
    ///
    /// # Errors
    /// If the name is reserved, or the branch does not exist.
    pub fn replace(&mut self, tag: Tag) -> Result<()> {
        Self::not_reserved(&tag.name)?;
        if !self.branches.contains_key(&tag.branch) {
            return Err(TagError::NoBranch(tag.branch).into());
        }
        self.tags.insert(tag.name.clone(), tag);
        Ok(())
    }

    /// Removes a tag that nobody wants any longer.
    ///
    /// # Errors
    /// If it is not there or reserved.
    pub fn remove(&mut self, name: &TagName) -> Result<Tag> {
        Self::not_reserved(name)?;
        self.tags.remove(name).ok_or_else(|| TagError::Missing(name.to_string()).into())
    }

    fn not_reserved(name: &TagName) -> Result<()> {
        if name.is_reserved() {
            return Err(TagError::Reserved(name.to_string()).into());
        }
        Ok(())
    }

    /// Makes a revision the current one. The revision that was it becomes the previous one, unless it has the same
    /// root catalog. Gives the tag of the current one.
    pub fn move_trunk(
        &mut self,
        root: ContentHash,
        root_size: u64,
        revision: u64,
        timestamp: u64,
    ) -> Tag {
        let [trunk, previous] = [TRUNK, TRUNK_PREVIOUS].map(|name| TagName(name.to_owned()));
        if let Some(old) = self.tags.get(&trunk).filter(|old| old.root != root).cloned() {
            let description = TRUNK_PREVIOUS_DESCRIPTION.to_owned();
            self.tags.insert(previous.clone(), Tag { name: previous, description, ..old });
        }
        let tag = Tag {
            name: trunk.clone(),
            root,
            root_size,
            revision,
            timestamp,
            branch: String::new(),
            description: TRUNK_DESCRIPTION.to_owned(),
        };
        self.tags.insert(trunk, tag.clone());
        tag
    }

    /// What checkers would object to, in words.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for tag in self.tags() {
            match self.branches.get(&tag.branch) {
                None => faults.push(format!(
                    "tag {} is on the branch {:?}, which is not there",
                    tag.name, tag.branch
                )),
                Some(branch) if tag.revision < branch.initial_revision => faults.push(format!(
                    "tag {} names revision {}, but its branch {:?} begins with revision {}",
                    tag.name, tag.revision, tag.branch, branch.initial_revision
                )),
                Some(_) => {}
            }
        }
        let used: BTreeSet<_> = self.tags().map(|tag| tag.branch.as_str()).collect();
        let idle = self.branches.keys().filter(|name| !used.contains(name.as_str()));
        faults.extend(idle.map(|name| format!("no tag is on the branch {name:?}")));
        faults
    }

    /// The database: the bytes that were read if nothing has changed. The same content gives the same bytes.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        if let Some(stored) = self.stored.as_ref().filter(|stored| stored.tags == self.tags) {
            return Ok(stored.bytes.clone());
        }
        database::build(WHAT, SCHEMA_REVISION, &self.fqrn, SCHEMA, |connection| {
            self.fill(connection)
        })
    }

    fn fill(&self, connection: &Connection) -> rusqlite::Result<()> {
        if let Some(stored) = &self.stored {
            database::set_property(connection, "previous_revision", &stored.hash.to_string())?;
        }
        let mut insert = connection.prepare(
            "INSERT INTO branches (branch, parent, initial_revision) VALUES (?1, ?2, ?3)",
        )?;
        for (name, branch) in &self.branches {
            insert.execute(params![name, branch.parent, signed(branch.initial_revision)])?;
        }
        let mut insert = connection.prepare(
            "INSERT INTO tags (name, hash, revision, timestamp, channel, description, size, branch) \
             VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7)",
        )?;
        for tag in self.tags() {
            insert.execute(params![
                tag.name.as_str(),
                tag.root.to_string(),
                signed(tag.revision),
                signed(tag.timestamp),
                tag.description,
                signed(tag.root_size),
                tag.branch,
            ])?;
        }
        Ok(())
    }
}

fn tag(
    (name, root, root_size, revision, timestamp, branch, description): (
        String,
        String,
        i64,
        i64,
        i64,
        String,
        Option<Vec<u8>>,
    ),
) -> std::result::Result<Tag, String> {
    let of = |reason: String| format!("tag {name:?}: {reason}");
    Ok(Tag {
        root: root.parse().map_err(|error| of(format!("{error}")))?,
        root_size: unsigned(root_size, "size").map_err(of)?,
        revision: unsigned(revision, "revision").map_err(of)?,
        timestamp: unsigned(timestamp, "timestamp").map_err(of)?,
        branch,
        description: String::from_utf8_lossy(&description.unwrap_or_default()).into_owned(),
        name: TagName(name),
    })
}

#[cfg(test)]
mod tests;
