//! The inventory of a repository that the stock DUCC has filled.
//!
//! The data is that of the end-to-end tests (`tests/golden`).

use std::path::Path;
use std::str::FromStr;

use layer_layout::path::Unit;

use super::place;
use crate::inventory::{Inventory, is_ducc_chain};
use crate::repository::{Access, Locator, Repository};

/// The repository, unpacked into a private directory, as one to publish into.
pub(crate) fn open() -> (tempfile::TempDir, std::sync::Arc<dyn Repository>) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/ducc");
    let place = tempfile::tempdir().unwrap();
    let (storage, keys) = (place.path().join("storage"), place.path().join("unpacked"));
    for (archive, to) in [("storage.tar.zst", &storage), ("keys.tar.zst", &keys)] {
        let archive = std::fs::File::open(golden.join(archive)).unwrap();
        let archive = zstd::Decoder::new(archive).unwrap();
        tar::Archive::new(archive).unpack(to).unwrap();
    }
    let access = Access {
        keys: Some(keys.join("keys")),
        cache: Some(place.path().join("cache")),
        state: Some(place.path().join("state")),
        ..Access::default()
    };
    let locator = Locator::from_str(&format!("cvmfs+file://{}", storage.display())).unwrap();
    let repository = locator.open(None, &access).unwrap();
    (place, repository)
}

#[test]
fn a_repository_of_ducc_is_understood() {
    let (_place, repository) = open();
    let inventory = Inventory::take(&*repository).unwrap();
    assert_eq!(inventory.broken, []);
    let [image] = &inventory.images[..] else { panic!("{:?}", inventory.images) };
    assert_eq!(image.place, Some(place("localhost:5015/library/golden:v1")));
    let config = "ce2e11990887b4bd14d427345c617cfd59c7ff93ad1b3844afeddd7e89daae7f";
    assert_eq!(image.config.hex(), config);
    assert_eq!((image.layers.len(), image.diff_ids.len()), (3, 3));

    let kinds = inventory.content.iter().fold([0; 3], |mut kinds, unit| {
        kinds[match unit {
            Unit::Flat(_) => 0,
            Unit::Chain(_) => 1,
            Unit::Layer(_) => 2,
        }] += 1;
        kinds
    });
    assert_eq!(kinds, [1, 3, 3]);
    for unit in &inventory.content {
        if let Unit::Chain(chain) = unit {
            assert!(is_ducc_chain(&*repository, chain).unwrap(), "{unit}");
        }
    }
    let link = format!("../../.flat/ce/{config}");
    assert_eq!(inventory.links.of_images[&place("localhost:5015/library/golden:v1")], link);
    let podman = inventory.links.others.iter().map(|(path, _)| path.to_string());
    let podman: Vec<_> = podman.filter(|path| path.starts_with("podmanStore/overlay/")).collect();
    assert_eq!(podman.len(), 3, "{podman:?}");
}
