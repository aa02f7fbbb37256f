//! Every catalog keeps the rules, and holds what the stock client showed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cvmfs_repository::catalog::{Catalog, Counts, Mount, NestedRef, Row, verify};
use cvmfs_repository::compression::{Compression, inflate};
use cvmfs_repository::entry::{Content, EntryKind, File};
use cvmfs_repository::hash::{ContentHash, ObjectId, ObjectKind};
use cvmfs_repository::path::TreePath;
use cvmfs_repository::scratch::Scratch;
use libtest_mimic::Trial;
use sha2::{Digest, Sha256};

use crate::data::{self, Golden, Listed, ListedCatalog, REPOSITORIES, Text};

pub(crate) fn tests(directory: &Path) -> Vec<Trial> {
    REPOSITORIES
        .into_iter()
        .map(|name| {
            let folder = directory.join(name);
            Trial::test(format!("the catalogs of {name} are what stock tools say"), move || {
                repository(&folder);
                Ok(())
            })
        })
        .collect()
}

fn repository(folder: &Path) {
    let golden = Golden::unpack(folder);
    let scratch = Scratch::new().unwrap();
    for (name, tree) in data::trees(folder) {
        let reader = Reader { golden: &golden, scratch: &scratch };
        let mut seen = Seen::default();
        let total = reader.catalog(data::hash(&tree.root_hash), None, &mut seen);
        assert_eq!(total.nested + 1, seen.catalogs.len() as u64, "{name}");

        seen.entries.sort_by(|a, b| a.path.cmp(&b.path));
        seen.link();
        let mut listed = tree.entries;
        listed.sort_by(|a, b| a.path.cmp(&b.path));
        for (seen, listed) in seen.entries.iter().zip(&listed) {
            assert_eq!(seen, &as_stored(listed), "{name}");
        }
        assert_eq!(seen.entries.len(), listed.len(), "{name}");

        if name == "tree.json" {
            assert_eq!(golden.manifest.root, data::hash(&tree.root_hash));
            let mut listed: Vec<ListedCatalog> = data::json(folder, "catalogs.json");
            listed.sort_by(|a, b| a.path.cmp(&b.path));
            seen.catalogs.sort_by(|a, b| a.path.cmp(&b.path));
            assert_eq!(seen.catalogs, listed);
        }
    }
}

/// A listing shows what a client makes of the rows; this is what the rows hold. The time of a root that says
/// nothing of nanoseconds is shown with none.
fn as_stored(listed: &Listed) -> Listed {
    let mut listed = listed.clone();
    listed.uid = listed.stored_uid.take().unwrap_or(listed.uid);
    listed.gid = listed.stored_gid.take().unwrap_or(listed.gid);
    listed.target = listed.stored_target.take().or(listed.target);
    if listed.r#type == "symlink" {
        // The length of the expanded target.
        listed.size = 0;
    }
    listed
}

#[derive(Default)]
struct Seen {
    entries: Vec<Listed>,
    catalogs: Vec<ListedCatalog>,
    /// Group of hard links by path: number of the catalog, group.
    groups: BTreeMap<Text, (usize, u32)>,
}

struct Reader<'a> {
    golden: &'a Golden,
    scratch: &'a Scratch,
}

impl Reader<'_> {
    /// Goes through a catalog and those below it; gives what they hold together.
    fn catalog(
        &self,
        hash: ContentHash,
        parent: Option<(&Row, &NestedRef)>,
        seen: &mut Seen,
    ) -> Counts {
        let catalog = Catalog::load(&self.golden.storage, hash, self.scratch).unwrap();
        assert_eq!(verify(&catalog, parent).unwrap(), [], "{catalog:?}");

        let mut rows = 0;
        catalog
            .for_each_row(&mut |_| {
                rows += 1;
                Ok(())
            })
            .unwrap();
        seen.catalogs.push(ListedCatalog {
            path: Text::of_path(catalog.mount()),
            entries: rows,
            size: catalog.size(),
            hash: hash.to_string(),
        });

        let mount = catalog.mount().clone();
        let root = catalog.lookup(&mount).unwrap().unwrap();
        let mut below = Counts::default();
        self.entry(&catalog, &mount, root, seen, &mut below);
        assert_eq!(catalog.counters().subtree, below, "{catalog:?}");
        catalog.counters().total()
    }

    fn entry(
        &self,
        catalog: &Arc<Catalog>,
        path: &TreePath,
        row: Row,
        seen: &mut Seen,
        below: &mut Counts,
    ) {
        assert_eq!(catalog.lookup(path).unwrap().as_ref(), Some(&row));
        match row.mount {
            Mount::Nested => {
                let nested = catalog.nested_at(path).unwrap().unwrap();
                *below += self.catalog(nested.hash, Some((&row, &nested)), seen);
                return;
            }
            Mount::Bind => panic!("{path} is a bind mountpoint"),
            Mount::None | Mount::Root => {}
        }
        let listed = self.listed(path, &row);
        if row.entry.links.group != 0 && row.links > 1 {
            let group = (seen.catalogs.len(), row.entry.links.group);
            seen.groups.insert(listed.path.clone(), group);
        }
        seen.entries.push(listed);
        if row.entry.is_directory() {
            catalog
                .for_each_child(path, &mut |child| {
                    self.entry(catalog, &path.join(&child.name), child, seen, below);
                    Ok(())
                })
                .unwrap();
        }
    }

    fn listed(&self, path: &TreePath, row: &Row) -> Listed {
        let entry = &row.entry;
        let mut listed = Listed {
            path: Text::of_path(path),
            mode: format!("{:04o}", entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime.seconds,
            mtime_ns: entry.mtime.nanoseconds.unwrap_or_default(),
            nlink: row.links,
            ..Listed::default()
        };
        for (name, value) in entry.xattrs.unpack().unwrap() {
            listed.xattrs.insert(Text::escape(&name), data::value(&value));
        }
        listed.r#type = match &entry.kind {
            EntryKind::Directory => {
                listed.size = row.size;
                "dir"
            }
            EntryKind::File(file) => {
                listed.size = file.size;
                listed.sha256 = Some(self.content(path, file));
                "file"
            }
            EntryKind::Symlink(target) => {
                listed.target = Some(Text::escape(target));
                "symlink"
            }
            EntryKind::Character(device) => {
                listed.rdev = Some(format!("{}:{}", device.major, device.minor));
                "char"
            }
            EntryKind::Block(device) => {
                listed.rdev = Some(format!("{}:{}", device.major, device.minor));
                "block"
            }
            EntryKind::Fifo => "fifo",
            EntryKind::Socket => "socket",
        }
        .to_owned();
        listed
    }

    /// SHA-256 of a file's content.
    fn content(&self, path: &TreePath, file: &File) -> String {
        let mut content = Sha256::new();
        let mut object = |id: ObjectId, size: u64| {
            let stored = self.golden.storage.get(id).unwrap();
            let bytes = match file.compression {
                Compression::Zlib => inflate(&stored, size, "an object").unwrap(),
                Compression::None => stored.to_vec(),
            };
            assert_eq!(bytes.len() as u64, size, "{path}");
            content.update(&bytes);
        };
        match &file.content {
            Content::Whole(hash) => object(hash.object(ObjectKind::File), file.size),
            Content::Chunks(_, chunks) => {
                for chunk in chunks {
                    object(chunk.hash.object(ObjectKind::Chunk), chunk.size);
                }
            }
            Content::External(_) => panic!("{path} is on another server"),
        }
        hex::encode(content.finalize())
    }
}

impl Seen {
    /// Names the first path of each group of hard links. Entries are sorted.
    fn link(&mut self) {
        let mut first: BTreeMap<(usize, u32), Text> = BTreeMap::new();
        for entry in &mut self.entries {
            if let Some(group) = self.groups.get(&entry.path) {
                let path = first.entry(*group).or_insert_with(|| entry.path.clone());
                entry.hardlink = Some(path.clone());
            }
        }
    }
}
