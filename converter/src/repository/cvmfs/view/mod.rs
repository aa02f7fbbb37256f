//! Reading trees, wherever they are: in a scratch database, in the repository, or several over each other.
//!
//! | file | what it is for |
//! |---|---|
//! | `read_directory` | what every directory can be asked |
//! | `dir` | a directory of any tree |
//! | `merged` | what is seen of directories that lie on each other |
//! | `lower` | the layers that a layer lies on |
//! | `write` | writing what is seen into catalogs |

mod dir;
mod lower;
mod merged;
mod read_directory;
mod write;

pub(super) use dir::Dir;
pub(super) use lower::{Identity, Lower};
pub(super) use merged::Merged;
pub(super) use read_directory::{Child, ReadDirectory};
pub(super) use write::{Destination, Walk, write};
