//! Layers that an attacker, or a broken program, would write.
//!
//! Each case says which path outside the layer it tries to touch, and what must become of it. Include this
//! directory as a module where layers are unpacked (`#[path = "…/hostile/corpus/mod.rs"] mod corpus;`),
//! make an [`Outside`], unpack [`cases`] somewhere else, and check after each that nothing outside changed.

mod bombs;
mod broken;
mod contradictions;
mod escapes;
mod names;
mod outside;
pub(crate) mod tar;

use std::path::{Path, PathBuf};

use ducc::layer::Limits;

pub(crate) use outside::{Outside, Snapshot};

/// One hostile layer.
pub(crate) struct Case {
    /// What it tries.
    pub(crate) name: String,
    /// The layer blob as a registry would serve it.
    pub(crate) blob: Vec<u8>,
    /// The limits to read it with.
    pub(crate) limits: Limits,
    /// The path outside the layer that it tries to make, change, read or remove; `None` if it attacks
    /// memory, disk space or the program itself.
    pub(crate) touches: Option<PathBuf>,
    /// What must become of it.
    pub(crate) outcome: Outcome,
}

/// What must become of a hostile layer.
pub(crate) enum Outcome {
    /// It is not a layer: reading it fails, and the error with its causes contains this text.
    Refused(&'static str),
    /// It can be read, but unpacking it fails, and the error with its causes contains this text.
    NotUnpacked(&'static str),
    /// It is harmless as long as it is confined to its own directory, in which these names must be.
    Unpacked(Vec<Found>),
}

/// A name that must be in the unpacked layer.
pub(crate) struct Found {
    /// From the layer's root.
    pub(crate) path: Vec<u8>,
    /// What is there.
    pub(crate) node: Node,
}

/// What a name must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A regular file with this content.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symlink with this target.
    Symlink(Vec<u8>),
    /// A character device.
    Device,
    /// A named pipe.
    Fifo,
    /// Nothing.
    Absent,
}

/// All hostile layers. They aim at what is below `outside`.
pub(crate) fn cases(outside: &Path) -> Vec<Case> {
    assert!(outside.is_absolute(), "{}", outside.display());
    let mut cases = escapes::cases(outside);
    cases.extend(names::cases(outside));
    cases.extend(contradictions::cases());
    cases.extend(bombs::cases());
    cases.extend(broken::cases());
    cases
}

impl Case {
    fn new(name: impl Into<String>, blob: Vec<u8>, outcome: Outcome) -> Self {
        Self { name: name.into(), blob, limits: Limits::default(), touches: None, outcome }
    }

    fn touching(self, path: impl Into<PathBuf>) -> Self {
        Self { touches: Some(path.into()), ..self }
    }

    fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

fn file(path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Found {
    Found { path: path.as_ref().to_vec(), node: Node::File(content.as_ref().to_vec()) }
}

fn found(path: impl AsRef<[u8]>, node: Node) -> Found {
    Found { path: path.as_ref().to_vec(), node }
}
