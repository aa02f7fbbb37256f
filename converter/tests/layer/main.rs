//! Reading layer blobs: formats, kinds, attributes, errors, limits.

// Helpers of tests fail as tests do; clippy's own exception covers only the tests themselves.
#![allow(clippy::unwrap_used)]

#[path = "../hostile/corpus/tar.rs"]
mod tar;

mod attributes;
mod broken;
mod compression;
mod kinds;
mod limits;
mod names;
mod random;
mod sparse;
mod tools;

use std::error::Error as _;
use std::io::{Cursor, Read};

use ducc::layer::{Entry, Error, LayerReader, Limits, Result, Segment, Summary};

/// An entry with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    entry: Entry,
    content: Vec<u8>,
    segments: Vec<Segment>,
}

impl Item {
    fn path(&self) -> String {
        self.entry.path.to_string()
    }
}

fn open(blob: impl Into<Vec<u8>>) -> Result<LayerReader> {
    LayerReader::new(Cursor::new(blob.into()), Limits::default())
}

/// Everything that a reader gives.
fn drain(mut reader: LayerReader) -> Result<(Vec<Item>, Summary)> {
    let mut items = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content).map_err(Error::Read)?;
        items.push(Item { entry, content, segments: reader.content().segments().to_vec() });
    }
    Ok((items, reader.finish()?))
}

/// All entries of a blob.
fn items(blob: impl Into<Vec<u8>>) -> Result<Vec<Item>> {
    Ok(drain(open(blob)?)?.0)
}

/// The only entry of a blob.
#[track_caller]
fn single(blob: impl Into<Vec<u8>>) -> Item {
    let mut items = items(blob).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(items.len(), 1);
    items.remove(0)
}

/// What a user would read: the error and its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// The text of the error for a blob.
#[track_caller]
fn refusal(blob: impl Into<Vec<u8>>) -> String {
    match items(blob) {
        Err(error) => chain(&error),
        Ok(items) => panic!("was accepted: {items:?}"),
    }
}
