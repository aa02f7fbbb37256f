//! What an ordinary user's tree lacks.
//!
//! Without privileges the kernel lets nobody give files away, make device nodes or set the attributes of
//! the system. Such an image is still worth having (Apptainer runs it), so what is missing is counted
//! instead of failing. Whether something is permitted is the kernel's answer, not a look at the
//! user ID: containers and user namespaces have many kinds of root.

use crate::repository::shortfalls;

/// Kinds of shortfalls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shortfall {
    /// A name whose owner or group could not be set.
    Owner,
    /// A file whose setuid or setgid bit was dropped, because its owner could not be set.
    SetIdBits,
    /// A device node that could not be made.
    Device,
    /// An extended attribute, by its name.
    Xattr(String),
}

impl shortfalls::Shortfall for Shortfall {
    fn text(&self) -> String {
        match self {
            Self::Owner => "names have your user and group instead of their own".to_owned(),
            Self::SetIdBits => "of them lost their setuid or setgid bit".to_owned(),
            Self::Device => "device nodes are missing".to_owned(),
            Self::Xattr(name) => format!("names lack the extended attribute {name}"),
        }
    }
}

/// The shortfalls of a tree.
pub(super) type Shortfalls = shortfalls::Shortfalls<Shortfall>;

/// The shortfalls of a transaction.
pub(super) type Tally = shortfalls::Tally<Shortfall>;
