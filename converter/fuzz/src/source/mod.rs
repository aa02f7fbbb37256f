//! What registries answer, read as the converter reads it, and what must be true of whatever comes out.

#[path = "../../../src/source/image.rs"]
#[allow(dead_code, reason = "the converter uses more of it")]
mod image;
#[path = "../../../src/source/manifest/mod.rs"]
#[allow(dead_code, reason = "the converter uses more of it")]
mod manifest;
#[path = "../../../src/source/media_type.rs"]
#[allow(dead_code, reason = "the converter uses more of it")]
mod media_type;

mod hosts;

use bytes::Bytes;
use layer_layout::{Digest, Platform};

pub use hosts::{check_challenges, check_token};
use manifest::{CONFIG_LIMIT, Choice, Index, Nest, Parsed};

/// What a registry or an index may say that a document is.
const DECLARED: [Option<&str>; 7] = [
    None,
    Some(media_type::OCI_INDEX),
    Some(media_type::OCI_MANIFEST),
    Some(media_type::DOCKER_LIST),
    Some(media_type::DOCKER_MANIFEST),
    Some("application/octet-stream; charset=utf-8"),
    Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
];

/// Reads a document. Its first byte chooses what it is said to be.
pub fn check_document(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let declared = DECLARED[usize::from(*choice) % DECLARED.len()];
    let document = match manifest::document(declared, Bytes::copy_from_slice(bytes)) {
        Ok(document) => document,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(document.bytes, bytes);
    assert_eq!(document.digest, Digest::of(bytes));
    match manifest::parse(&document) {
        Err(unfit) => assert!(!format!("{unfit:?}").is_empty()),
        Ok(Parsed::Index(index)) => check_index(index, bytes),
        Ok(Parsed::Manifest(manifest)) => {
            assert!(manifest.config.size <= CONFIG_LIMIT);
            assert!(manifest.doubt.is_some() || manifest.is_image(b""));
            for layer in &manifest.layers {
                assert_eq!(media_type::layer_refusal(&layer.media_type), None);
            }
        }
    }
}

fn check_index(index: Index, bytes: &[u8]) {
    let wanted: Platform = "linux/amd64".parse().expect("a platform");
    let is_wanted = |platform: &Platform| wanted.accepts(platform);
    for entry in &index.entries {
        assert!(manifest::lists(bytes, &entry.digest));
    }
    match manifest::choose(&index.entries, &wanted) {
        Choice::Entry(entry) => assert!(entry.platform.as_ref().is_some_and(is_wanted)),
        Choice::OneOf(entries) => {
            assert!(entries.iter().all(|entry| entry.platform.is_none()));
            assert!(!index.platforms().iter().any(is_wanted));
        }
    }
    let obstacles = index.obstacles(is_wanted).inspect(|it| assert!(!it.to_string().is_empty()));
    assert!(obstacles.count() <= index.unusable.len());
    // Every index in it leads to itself again.
    let again = index.entries.clone();
    let mut nest = Nest::new(index);
    for read in 0.. {
        match nest.next(is_wanted) {
            Ok(Some(_)) => {
                let entries = again.clone();
                let nested = Index { entries, unusable: Vec::new() };
                nest.put(Parsed::Index(nested), media_type::OCI_INDEX);
            }
            Ok(None) => {
                nest.finish();
                break;
            }
            Err(error) => return assert!(!error.to_string().is_empty()),
        }
        assert!(read <= 64, "more indexes are read than may be");
    }
}
