//! Flat roots that other programs have damaged, and what is told of layers that engines make something else of.

use std::sync::Arc;

use ducc::convert::{Again, Request, convert};
use ducc::report::{Report, Status};
use ducc::repository::Repository;
use ducc::singularity::{self, FlatFault};
use layer_layout::{ChainId, Digest, LayerPath, RepositoryPath, path};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::image::{directory, file, layer, link, request, settings};
use crate::place::{Kind, Place};

async fn run(request: &Request, repository: &Arc<dyn Repository>) -> Report {
    let mut report = Report::new("image".to_owned());
    let cancel = CancellationToken::new();
    repository.refresh().unwrap();
    convert(request, Arc::clone(repository), &settings(), &cancel, &mut report).await.unwrap();
    repository.refresh().unwrap();
    report
}

fn root_mode(repository: &dyn Repository, tree: &RepositoryPath) -> u32 {
    let root = repository.read_directory(tree, &LayerPath::ROOT).unwrap().unwrap();
    root.metadata.mode
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flat_root_without_its_files_is_made_again_when_somebody_looks() {
    let closed = layer(|tar| {
        directory(tar, "./", 0o700);
        file(tar, "f", "content");
    });
    for kind in [Kind::Directory, Kind::Native] {
        let (place, layout) = (Place::new(kind), TempDir::new().unwrap());
        let repository = place.open();
        let unseen = request(layout.path(), "r.io/t:1", &[&closed]);
        let again = Again { unfit_flat: true, ..Again::default() };
        let looking = Request { again, ..unseen.clone() };

        let report = run(&looking, &repository).await;
        assert_eq!(report.status, Status::Converted, "{kind:?}");
        let flat = path::flat(&report.config_digest.unwrap());
        let chain = ChainId::of_layers(&[Digest::of(&closed).into()]).pop().unwrap();
        let rootfs = path::chain_rootfs(&chain);
        assert_eq!(root_mode(&*repository, &rootfs), 0o700, "{kind:?}: the image's own");
        assert_eq!(root_mode(&*repository, &flat), 0o755, "{kind:?}: everybody's");
        assert_eq!(run(&looking, &repository).await.status, Status::UpToDate, "{kind:?}");

        for (is_open, fault) in
            [(true, FlatFault::Lacks(singularity::CONTRACT[0])), (false, FlatFault::Closed)]
        {
            let transaction = repository.begin(&mut |text| panic!("{text}")).unwrap();
            transaction.replace(&flat).unwrap();
            let mut tree = transaction.share(&flat, Some(&rootfs)).unwrap();
            if is_open {
                tree.open_root().unwrap();
            }
            drop(tree);
            transaction.commit().unwrap();
            repository.refresh().unwrap();
            assert_eq!(singularity::fault(&*repository, &flat).unwrap(), Some(fault), "{kind:?}");

            assert_eq!(run(&unseen, &repository).await.status, Status::UpToDate, "{kind:?}");
            let report = run(&looking, &repository).await;
            assert_eq!((report.status, report.layers_fetched), (Status::Converted, 0), "{kind:?}");
            assert_eq!(singularity::fault(&*repository, &flat).unwrap(), None, "{kind:?}");
            assert!(singularity::has_file(&*repository, &flat, "f").unwrap(), "{kind:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_which_engines_make_something_else_are_remarked_on() {
    let base = layer(|tar| {
        directory(tar, "usr/lib", 0o711);
        file(tar, "f", "low");
        link(tar, tar::EntryType::Symlink, "lib", "usr/lib");
    });
    let upper = layer(|tar| {
        link(tar, tar::EntryType::Link, "usr/linked", "f");
        file(tar, "lib/own", "x");
    });
    let expected = [
        "has hard links to files of lower layers (/usr/linked to /f): containerd's overlayfs",
        "has names below a symlink of a lower layer, and no entry for the directory itself (/lib)",
    ];
    for kind in [Kind::Directory, Kind::Native] {
        let place = Place::new(kind);
        let repository = place.open();
        let below = layer(|tar| file(tar, "other", ""));
        for (at, layers) in
            [vec![&base[..], &upper], vec![&below, &base, &upper]].iter().enumerate()
        {
            let layout = TempDir::new().unwrap();
            let request = request(layout.path(), &format!("r.io/t:{at}"), layers);
            let remarks = run(&request, &repository).await.remarks;
            assert_eq!(remarks.len(), expected.len(), "{kind:?}: {remarks:?}");
            for (remark, expected) in remarks.iter().zip(expected) {
                let layer = Digest::of(&upper);
                assert!(remark.starts_with(&format!("layer {layer} ")), "{kind:?}: {remark}");
                assert!(remark.contains(expected), "{kind:?}: {remark}");
            }
        }
    }
}
