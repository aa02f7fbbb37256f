//! PAX extended headers.
//!
//! Rule: POSIX `pax`, "pax Extended Header": records `<length> <keyword>=<value>\n`, where the length counts
//! the whole record, so that a value may contain any byte, even a newline. Of several records with one
//! keyword the last wins; an empty value means that the header's own field applies. Keywords that are
//! meaningless in an image (`atime`, `comment`, `uname`, …) are ignored, and so are:
//! - `hdrcharset`: names are bytes in an image, whatever their encoding;
//! - `LIBARCHIVE.xattr.*`: bsdtar also writes the same attributes as `SCHILY.xattr.*`, and container engines
//!   read only those;
//! - `SCHILY.acl.*`: no container engine reads them; an ACL comes as `SCHILY.xattr.system.posix_acl_*`.

use std::collections::BTreeMap;

use layer_layout::overlay::PRIVATE_XATTR_PREFIXES;

use super::entry::{Timestamp, Xattrs};
use super::error::{EntryName, Error, Result};
use super::number;

const PATH: &[u8] = b"path";
const LINK_PATH: &[u8] = b"linkpath";
const SIZE: &[u8] = b"size";
const UID: &[u8] = b"uid";
const GID: &[u8] = b"gid";
const MTIME: &[u8] = b"mtime";
const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";
const SPARSE_OFFSET: &[u8] = b"GNU.sparse.offset";
const SPARSE_LENGTH: &[u8] = b"GNU.sparse.numbytes";
const SPARSE_MAP: &[u8] = b"GNU.sparse.map";
const KNOWN: [&[u8]; 6] = [PATH, LINK_PATH, SIZE, UID, GID, MTIME];

/// Linux `limits.h`: XATTR_NAME_MAX and XATTR_SIZE_MAX.
const XATTR_NAME_MAX: usize = 255;
const XATTR_VALUE_MAX: usize = 65536;
/// The namespaces of attributes that an image may set. Those in `trusted` are the host's own: containerd drops them all.
/// Attributes in others cannot be stored (macOS writes `com.apple.*`).
const XATTR_NAMESPACES: [&[u8]; 3] = [b"security.", b"system.", b"user."];

/// The records of one header, without those with unknown keywords.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    /// Parses a header's content. `offset` is where it begins in the layer, for messages.
    ///
    /// # Errors
    /// If it is not a sequence of records.
    pub(super) fn parse(content: &[u8], offset: u64) -> Result<Self> {
        let mut records = BTreeMap::new();
        let mut sparse_map: Vec<&[u8]> = Vec::new();
        let mut rest = content;
        while !rest.is_empty() {
            let broken =
                |reason| Error::Pax { offset, position: content.len() - rest.len(), reason };
            let Record { keyword, value, rest: next } = split_record(rest).map_err(broken)?;
            match keyword {
                // Version 0.0 of GNU's sparse map repeats two keywords. They become one record as in version
                // 0.1.
                SPARSE_OFFSET | SPARSE_LENGTH => {
                    let due = if sparse_map.len().is_multiple_of(2) {
                        SPARSE_OFFSET
                    } else {
                        SPARSE_LENGTH
                    };
                    if keyword != due {
                        return Err(broken("GNU.sparse.offset and .numbytes must take turns"));
                    }
                    if number::decimal(value).is_none() {
                        return Err(broken("no number"));
                    }
                    sparse_map.push(value);
                }
                _ if is_known(keyword) => {
                    records.insert(keyword.to_vec(), value.to_vec());
                }
                _ => {}
            }
            rest = next;
        }
        if !sparse_map.is_empty() {
            records.insert(SPARSE_MAP.to_vec(), sparse_map.join(&b','));
        }
        Ok(Self(records))
    }

    /// The value of a keyword, unless it is absent or empty.
    fn get(&self, keyword: &[u8]) -> Option<&[u8]> {
        self.0.get(keyword).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    pub(super) fn path(&self) -> Option<&[u8]> {
        self.get(PATH)
    }

    pub(super) fn link_path(&self) -> Option<&[u8]> {
        self.get(LINK_PATH)
    }

    /// Size of the member's content in the tar, in bytes.
    pub(super) fn size(&self, entry: &[u8]) -> Result<Option<u64>> {
        let reason = "not a decimal number from 0 to 18446744073709551615";
        self.parsed(entry, SIZE, "PAX size", reason, number::decimal)
    }

    pub(super) fn uid(&self, entry: &[u8]) -> Result<Option<i64>> {
        self.owner(entry, UID, "PAX uid")
    }

    pub(super) fn gid(&self, entry: &[u8]) -> Result<Option<i64>> {
        self.owner(entry, GID, "PAX gid")
    }

    fn owner(&self, entry: &[u8], keyword: &[u8], field: &'static str) -> Result<Option<i64>> {
        let reason = "not a decimal number of 64 bits with a sign";
        self.parsed(entry, keyword, field, reason, number::integer)
    }

    pub(super) fn mtime(&self, entry: &[u8]) -> Result<Option<Timestamp>> {
        let reason = "not a decimal number of seconds, or out of range";
        self.parsed(entry, MTIME, "PAX mtime", reason, number::time)
    }

    /// The value of a keyword; `None` if there is none. `reason` tells what is wrong with one that is not understood.
    fn parsed<T>(
        &self,
        entry: &[u8],
        keyword: &[u8],
        field: &'static str,
        reason: &'static str,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(keyword) else {
            return Ok(None);
        };
        let wrong = || Error::Field {
            entry: EntryName::new(entry),
            field,
            value: EntryName::new(value),
            reason,
        };
        parse(value).ok_or_else(wrong).map(Some)
    }

    /// The record with the keyword `GNU.sparse.` and `name`; for `map` in the form of version 0.1, even if
    /// the tar has version 0.0. Empty values count here: a file may be a single hole.
    pub(super) fn sparse(&self, name: &str) -> Option<&[u8]> {
        self.0.get(&[SPARSE, name.as_bytes()].concat()).map(Vec::as_slice)
    }

    /// The extended attributes that an image may set, see [`Metadata`](super::Metadata). An empty value
    /// counts, as in GNU tar and containerd.
    pub(super) fn xattrs(&self, entry: &[u8]) -> Result<Xattrs> {
        let mut xattrs = Xattrs::new();
        for (keyword, value) in self.0.range(XATTR.to_vec()..) {
            let Some(name) = keyword.strip_prefix(XATTR) else {
                break;
            };
            let reject = |reason| Error::Field {
                entry: EntryName::new(entry),
                field: "extended attribute",
                value: EntryName::new(name),
                reason,
            };
            if name.contains(&0) {
                return Err(reject("NUL in a name"));
            }
            let storable = XATTR_NAMESPACES.iter().any(|space| name.starts_with(space));
            let private = PRIVATE_XATTR_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            if !storable || private {
                continue;
            }
            if name.len() > XATTR_NAME_MAX || value.len() > XATTR_VALUE_MAX {
                return Err(reject("the name or the value is too long for Linux"));
            }
            xattrs.insert(name.to_vec(), value.clone());
        }
        Ok(xattrs)
    }
}

fn is_known(keyword: &[u8]) -> bool {
    KNOWN.contains(&keyword) || keyword.starts_with(XATTR) || keyword.starts_with(SPARSE)
}

/// One record.
struct Record<'a> {
    keyword: &'a [u8],
    value: &'a [u8],
    /// What follows it.
    rest: &'a [u8],
}

/// Splits off the first record.
fn split_record(content: &[u8]) -> Result<Record<'_>, &'static str> {
    let space = content.iter().position(|&b| b == b' ').ok_or("no space behind the length")?;
    let length = number::decimal(&content[..space])
        .and_then(|length| usize::try_from(length).ok())
        .ok_or("the length is no decimal number")?;
    if length > content.len() {
        return Err("the length leads beyond the header's end");
    }
    let record = content.get(space + 1..length).ok_or("the length is too short")?;
    let record = record.strip_suffix(b"\n").ok_or("the record does not end with a newline")?;
    let equals = record.iter().position(|&b| b == b'=').ok_or("no `=` behind the keyword")?;
    if equals == 0 {
        return Err("the keyword is empty");
    }
    Ok(Record {
        keyword: &record[..equals],
        value: &record[equals + 1..],
        rest: &content[length..],
    })
}
