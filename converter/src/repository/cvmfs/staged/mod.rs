//! Trees that are being prepared, in scratch databases: layers while they are unpacked, and what is added to
//! a tree.
//!
//! | file | what it is for |
//! |---|---|
//! | `database` | the names and what they are |
//! | `content` | what files hold, in a blob |
//! | `inode` | names in the words of the repository format |
//! | `layer` | a layer while it is unpacked |
//! | `tree` | changing a tree by paths |
//! | `completing` | a layer that takes something from those below it |
//! | `view` | reading a tree |

mod completing;
mod content;
mod database;
mod inode;
mod layer;
mod tree;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

pub(super) use completing::complete;
pub(super) use database::Attributes;
pub(super) use layer::Layer;
pub(super) use tree::Tree;
pub(super) use view::View;

/// A tree in a database, which is opened to read or change it. The database goes with it.
#[derive(Debug)]
pub(super) struct Staged {
    place: Place,
    /// The inode number that is given out next.
    next: Arc<AtomicI64>,
}

impl Staged {
    fn new(place: Place, next: i64) -> Self {
        Self { place, next: Arc::new(next.into()) }
    }
}

/// Where a database is. It is removed with this: trees are large, and a change may go on for long. Who has it open can
/// still read it.
#[derive(Debug)]
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed now goes with the directory at the end.
        let _ = std::fs::remove_file(&self.0);
    }
}
