//! Wish lists: which images somebody wants in which repository.
//!
//! Data flows one way: a [`source`] gives a text, [`list`] makes entries of it, [`expand`] makes of those the images that
//! there are. Nothing here publishes or removes anything; what the results say about what is *not* wished for is meant
//! for those who do, see [`expand::Expansion::keeps`].
//!
//! | module | what it is for |
//! |---|---|
//! | [`list`] | the file format: entries, and faults with their places; pure |
//! | [`source`] | where a list is read from, and what of it is kept |
//! | [`expand`] | from entries to images: patterns, versions, ages |
//! | [`merge`] | one set of wishes from several lists |
//! | [`registry_tags`] | what the expansion asks registries |
//! | `yaml`, `fault`, `glob`, `age`, `template`, `ignore`, `image` | the parts of the above |

mod age;
pub mod expand;
mod fault;
mod glob;
mod ignore;
mod image;
pub mod list;
pub mod merge;
pub mod registry_tags;
pub mod source;
mod template;
mod yaml;

pub use age::Age;
pub use fault::{Fault, Problem, Severity};
pub use glob::{Glob, GlobError};
pub use ignore::IgnoreErrors;
pub use image::{Platforms, Wish};
pub use list::{List, Parsed};
pub use template::{Template, TemplateError};
pub use yaml::{Position, YamlError};
