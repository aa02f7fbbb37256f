//! Any bytes as the extended attributes of a catalog's row: what is unpacked can be packed again.
#![no_main]

use cvmfs_repository::xattr::Xattrs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|blob: &[u8]| {
    if let Some(attributes) = Xattrs::from_blob(Some(blob.to_vec())).unpack() {
        let (again, refused) = Xattrs::pack(&attributes);
        assert_eq!(refused, Vec::<Vec<u8>>::new());
        assert_eq!(again.unpack(), Some(attributes));
    }
});
