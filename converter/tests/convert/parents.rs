//! Layers that need their parents, in images that give them different ones.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use ducc::convert::convert;
use ducc::report::{Report, Status};
use ducc::repository::Directory;
use layer_layout::{ChainId, DiffId, Digest, path};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::image::{directory, file, layer, request, settings};

fn chains(layers: &[&[u8]]) -> Vec<ChainId> {
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| Digest::of(layer).into()).collect();
    ChainId::of_layers(&diff_ids)
}

async fn publish(repository: &Path, name: &str, layers: &[&[u8]]) -> Report {
    let layout = TempDir::new().unwrap();
    let request = request(layout.path(), name, layers);
    let mut report = Report::new(name.to_owned());
    let target = Arc::new(Directory::open(repository, None).unwrap());
    let cancel = CancellationToken::new();
    convert(&request, target, &settings(), &cancel, &mut report).await.unwrap();
    assert_eq!(report.status, Status::Converted);
    report
}

/// The mode of `d`.
fn mode(tree: &Path) -> u32 {
    fs::metadata(tree.join("d")).unwrap().permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_above_other_parents_is_unpacked_again_layer_by_layer() {
    let repository = TempDir::new().unwrap();
    let here = repository.path();
    let base = |mode, name: &str| {
        layer(|tar| {
            directory(tar, "d", mode);
            file(tar, name, "");
        })
    };
    let [narrow, alike, wide] = [base(0o700, "a"), base(0o700, "b"), base(0o755, "c")];
    // Neither says what `d` is: the upper one takes it from the lower one, and that from the base.
    let lower = layer(|tar| file(tar, "d/lower", "1"));
    let upper = layer(|tar| file(tar, "d/upper", "2"));

    let first = [&narrow[..], &lower, &upper];
    publish(here, "r.io/first:1", &first).await;
    let shared = [&lower, &upper].map(|layer| here.join(path::layerfs(&Digest::of(layer).into())));
    assert_eq!(shared.each_ref().map(|tree| mode(tree)), [0o700; 2]);

    // Other parents that make no difference.
    let same = [&alike[..], &lower, &upper];
    assert_eq!(publish(here, "r.io/same:1", &same).await.layers_fetched, 1);
    for (chain, shared) in chains(&same)[1..].iter().zip(&shared) {
        let linked = fs::canonicalize(here.join(path::chain_layer(chain))).unwrap();
        assert_eq!(linked, fs::canonicalize(shared).unwrap());
        assert!(!here.join(path::chain_layerfs(chain)).exists());
    }

    // Whether the upper layer differs here is known when the lower one is completed.
    let other = [&wide[..], &lower, &upper];
    publish(here, "r.io/other:1", &other).await;
    let other = chains(&other);
    for (chain, name) in other[1..].iter().zip(["lower", "upper"]) {
        let own = here.join(path::chain_layerfs(chain));
        assert_eq!(mode(&own), 0o755);
        assert!(own.join("d").join(name).exists());
        let linked = fs::canonicalize(here.join(path::chain_layer(chain))).unwrap();
        assert_eq!(linked, fs::canonicalize(own).unwrap());
    }
    let rootfs = here.join(path::chain_rootfs(&other[2]));
    assert_eq!(mode(&rootfs), 0o755);
    assert!(rootfs.join("d/lower").exists() && rootfs.join("d/upper").exists());
    assert_eq!(shared.each_ref().map(|tree| mode(tree)), [0o700; 2]);

    // An image above that one uses what is there.
    let inode = |chain| fs::metadata(here.join(path::chain_layerfs(chain))).unwrap().ino();
    let before = [inode(&other[1]), inode(&other[2])];
    let top = layer(|tar| file(tar, "top", ""));
    publish(here, "r.io/derived:1", &[&wide, &lower, &upper, &top]).await;
    assert_eq!([inode(&other[1]), inode(&other[2])], before);
}
