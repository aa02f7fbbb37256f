//! `.metadata/.wishes/<hex>.json`: which images a wish list wants.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::json::{compact, parse};
use crate::{PublicName, Result};

/// Which images a wish list wanted when it was last read, all patterns in it resolved.
///
/// Compact JSON: `{"list":"…","names":["r.io/a:1",…],"formerNames":[…]}`, the names sorted, the last member only if there
/// are any. Rule: this project's own. An image that stands in such a record is managed by that list: if the list no
/// longer wants it, and no other list does, it is to be removed. An image that stands in none was published by other
/// means, and no list has a say in its removal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WishRecord {
    /// What the list is called: its path or URL, without secrets.
    pub list: String,
    /// The public names of the images that it wants.
    pub names: BTreeSet<PublicName>,
    /// Those of images that it wanted once and that are still published.
    pub former_names: BTreeSet<PublicName>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    list: String,
    names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former_names: Vec<String>,
}

impl WishRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// If it is not what this project writes.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let Json { list, names, former_names } = parse("wish record", json)?;
        let read = |names: Vec<String>| names.iter().map(|name| name.parse()).collect();
        let names: Result<_> = read(names);
        let former_names: Result<_> = read(former_names);
        Ok(Self { list, names: names?, former_names: former_names? })
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> Vec<u8> {
        let written =
            |names: &BTreeSet<PublicName>| names.iter().map(ToString::to_string).collect();
        compact(&Json {
            list: self.list.clone(),
            names: written(&self.names),
            former_names: written(&self.former_names),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_form() {
        for (json, names, former) in [
            (r#"{"list":"/etc/ducc/list.yaml","names":["r.io/a:1","r.io/b:2"]}"#, 2, 0),
            (r#"{"list":"https://x/","names":[],"formerNames":["r.io/b:2"]}"#, 0, 1),
        ] {
            let record = WishRecord::parse(json.as_bytes()).unwrap();
            assert_eq!((record.names.len(), record.former_names.len()), (names, former));
            assert_eq!(String::from_utf8(record.to_json()).unwrap(), json);
        }
        for json in ["", "[]", r#"{"list":""}"#, r#"{"list":"","names":["a"]}"#] {
            assert!(WishRecord::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
