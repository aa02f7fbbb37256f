//! Reading and writing JSON, as all records do it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

pub(super) fn parse<T: DeserializeOwned>(what: &'static str, json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| Error::document(what, error.to_string()))
}

/// Without spaces and line ends.
pub(super) fn compact(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("strings, numbers and lists have a JSON form")
}
