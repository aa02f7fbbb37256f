//! The JSON files that a repository keeps beside its trees.
//!
//! | type | file | written by |
//! |---|---|---|
//! | [`LayerRecord`] | `.layers/<hh>/<layer digest>/.metadata/layers.json` | DUCC and `ducc` |
//! | [`OriginRecord`] | `.layers/<hh>/<layer digest>/.metadata/origin.json` | DUCC and `ducc` |
//! | [`ParentRecord`] | `.layers/<hh>/<layer digest>/.metadata/parent.json` | `ducc` |
//! | [`PublishedManifest`] | `.metadata/<public name>/manifest.json` | DUCC, and `ducc`, which keeps the registry's bytes |
//! | [`RemoveSchedule`] | `.metadata/remove-schedule.json` | DUCC and `ducc` |
//! | [`WishRecord`] | `.metadata/.wishes/<hex>.json` | `ducc` |
//!
//! Where DUCC (`cvmfs_ducc`) defines a file, its bytes here are those that DUCC writes, because DUCC's tools read
//! it. Every digest in these files is text with `sha256:` in front of 64 lower-case hex digits; the only exception
//! is `id` in `layers.json`, which is the hex digits alone. [`crate::path`] says where the files are.

mod json;
mod layer;
mod manifest;
mod origin;
mod parent;
mod schedule;
mod wishes;

pub use layer::{LayerRecord, RecordedLayer};
pub use manifest::{PublishedBlob, PublishedManifest};
pub use origin::OriginRecord;
pub use parent::{Completion, OpenEnds, ParentRecord};
pub use schedule::{Reason, RemoveSchedule, ScheduleEntry, ScheduledContent, ScheduledImage};
pub use wishes::WishRecord;
