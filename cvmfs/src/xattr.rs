//! Extended attributes as catalogs hold them.
//!
//! Blob: version byte 1, number of attributes, then for each the length of its name, the length of its value,
//! name, value. All lengths are single bytes.

use std::collections::BTreeMap;

/// The extended attributes of an entry in the form of a catalog's blob. Kept packed, because most are only
/// carried from catalog to catalog.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Xattrs(Option<Box<[u8]>>);

const VERSION: u8 = 1;

impl Xattrs {
    /// Packs attributes. What the format cannot hold is left out and returned: names over 255 bytes, empty,
    /// or with a NUL; values over 255 bytes; all attributes beyond 255.
    pub fn pack(attributes: &BTreeMap<Vec<u8>, Vec<u8>>) -> (Self, Vec<Vec<u8>>) {
        let mut refused = Vec::new();
        let mut blob = vec![VERSION, 0];
        for (name, value) in attributes {
            let (Ok(name_length), Ok(value_length)) =
                (u8::try_from(name.len()), u8::try_from(value.len()))
            else {
                refused.push(name.clone());
                continue;
            };
            if blob[1] == u8::MAX || name_length == 0 || name.contains(&0) {
                refused.push(name.clone());
                continue;
            }
            blob[1] += 1;
            blob.extend_from_slice(&[name_length, value_length]);
            blob.extend_from_slice(name);
            blob.extend_from_slice(value);
        }
        (Self((blob[1] > 0).then(|| blob.into_boxed_slice())), refused)
    }

    /// Takes a blob as a catalog holds it; only [`Self::unpack`] checks it.
    pub fn from_blob(blob: Option<Vec<u8>>) -> Self {
        Self(blob.map(Vec::into_boxed_slice))
    }

    /// The blob, `None` if there are no attributes.
    pub fn blob(&self) -> Option<&[u8]> {
        self.0.as_deref()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The attributes by name; of two with one name the last counts. `None` if the blob is damaged.
    pub fn unpack(&self) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
        let Some(blob) = self.blob() else { return Some(BTreeMap::new()) };
        let (&[version, count], mut rest) = blob.split_first_chunk()?;
        if version != VERSION {
            return None;
        }
        let mut attributes = BTreeMap::new();
        for _ in 0..count {
            let (&[name_length, value_length], data) = rest.split_first_chunk()?;
            let (name, data) = data.split_at_checked(usize::from(name_length))?;
            let (value, data) = data.split_at_checked(usize::from(value_length))?;
            if name.is_empty() || name.contains(&0) {
                return None;
            }
            attributes.insert(name.to_vec(), value.to_vec());
            rest = data;
        }
        Some(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(list: &[(&[u8], &[u8])]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        list.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    }

    #[test]
    fn the_blob_is_that_of_the_format() {
        let list = attributes(&[(b"trusted.overlay.opaque", b"y"), (b"user.a", b"b")]);
        let (xattrs, refused) = Xattrs::pack(&list);
        let expected = "01021601747275737465642e6f7665726c61792e6f7061717565790601757365722e6162";
        assert_eq!(hex::encode(xattrs.blob().unwrap()), expected);
        assert_eq!(refused, Vec::<Vec<u8>>::new());
        assert_eq!(xattrs.unpack().unwrap(), list);
        assert!(Xattrs::pack(&BTreeMap::new()).0.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let long = vec![b'x'; 256];
        let list = attributes(&[
            (b"user.long", &long),
            (&long, b""),
            (b"nul\0", b""),
            (b"", b"v"),
            (b"user.ok", &long[1..]),
        ]);
        let (xattrs, refused) = Xattrs::pack(&list);
        assert_eq!(xattrs.unpack().unwrap(), attributes(&[(b"user.ok", &long[1..])]));
        assert_eq!(refused, [b"".to_vec(), b"nul\0".to_vec(), b"user.long".to_vec(), long]);

        let many: BTreeMap<_, _> =
            (0..300).map(|n| (format!("user.{n:03}").into_bytes(), Vec::new())).collect();
        let (xattrs, refused) = Xattrs::pack(&many);
        assert_eq!((xattrs.unpack().unwrap().len(), refused.len()), (255, 45));
    }

    #[test]
    fn damaged_blobs_are_told() {
        for blob in ["", "01", "0201", "0101", "01010105", "0101010061", "0101000076"] {
            let blob = hex::decode(blob).unwrap();
            let expected = (blob == [1, 1, 1, 0, b'a']).then(|| attributes(&[(b"a", b"")]));
            assert_eq!(Xattrs::from_blob(Some(blob.clone())).unpack(), expected, "{blob:?}");
        }
    }
}
