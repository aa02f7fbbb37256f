//! What is mended stays what it was.

use layer_layout::path::{self, ImageMetadata, LayerMetadata, Unit};
use layer_layout::{Architecture, ChainId, Digest, ImagePlace, Platform, RepositoryPath};

use super::served::{
    Image, Registry, directory, native, publish, repair, request, settings, verdict, verdicts,
};
use crate::convert::Request;
use crate::inventory::{Inventory, schedule};
use crate::repository::{Published, Repository};
use crate::source::Platforms;
use crate::verify::{Comparison, Fault, RepairPlan, chain_faults};

/// Puts a link where another is.
fn link(repository: &dyn Repository, at: &RepositoryPath, target: &str) {
    let transaction = repository.begin(&mut |text| panic!("{text}")).unwrap();
    transaction.symlink(at, target).unwrap();
    transaction.commit().unwrap();
    repository.refresh().unwrap();
}

#[tokio::test]
async fn an_image_whose_name_leads_to_another_by_now() {
    let (image, newer) = (Image::new("1"), Image::new("2"));
    let registry = Registry::with(&image).await;
    let (_place, repository) = directory(&registry).await;
    registry.push(&newer);
    let (published, now) = (Digest::of(&image.manifest), Digest::of(&newer.manifest));
    link(&*repository, &registry.place().link(), "nowhere");
    let found = verdict(&repository, &settings(true, false)).await;
    let kinds: Vec<_> = found.faults.iter().map(Fault::kind).collect();
    assert_eq!(kinds, ["link"]);
    repair(&repository, &registry, &[found]).await;
    let found = verdict(&repository, &settings(true, true)).await;
    assert_eq!(found.faults, []);
    assert_eq!(found.comparison, Some(Comparison::Moved { published, now }));
    assert_eq!(schedule(&*repository).unwrap().entries, []);
}

#[tokio::test]
async fn an_image_without_a_flat_root() {
    let image = Image::new("1");
    let registry = Registry::with(&image).await;
    let (place, repository) = directory(&registry).await;
    let (flat, public) = (path::flat(&image.config_digest()), registry.place().link());
    std::fs::remove_dir_all(place.path().join(flat.as_str())).unwrap();
    std::fs::remove_file(place.path().join(public.as_str())).unwrap();
    let record = path::layer_metadata(&image.layer(0), LayerMetadata::Layers);
    let layer = Unit::Layer(image.layer(0)).path();
    std::fs::remove_dir_all(place.path().join(layer.as_str())).unwrap();
    assert_eq!(repository.lookup(&record).unwrap(), None);
    let found = verdict(&repository, &settings(true, false)).await;
    let inventory = Inventory::take(&*repository).unwrap();
    let plan = RepairPlan::new(&inventory, std::slice::from_ref(&found));
    let planned = plan.images[&registry.place()];
    assert!(planned.rootfs && !planned.flat, "{planned:?}");
    repair(&repository, &registry, &[found]).await;
    assert_eq!(verdict(&repository, &settings(true, true)).await.faults, []);
    assert_eq!(repository.lookup(&flat).unwrap(), None);
    assert_eq!(repository.lookup(&public).unwrap(), None);
}

/// Only the public place is wrong, or only that of the platform.
#[tokio::test]
async fn a_public_path_that_leads_all_clients_to_their_platforms() {
    let image = Image::new("1");
    let registry = Registry::with(&image).await;
    let (_place, repository) = native(&registry).await;
    let all = Request { platforms: Some(Platforms::All), ..request(&registry) };
    publish(&repository, &all).await;
    let public = registry.place();
    let architecture = Architecture::of(&Platform::host());
    let own = ImagePlace { architecture: architecture.clone(), ..public.clone() };
    let target = architecture.unwrap().public_link_target(&public.name);
    let flat = path::flat(&image.config_digest());
    for (damaged, wrong) in [
        (&public, "nowhere"),
        (&own, "nowhere"),
        // What a publication for one platform would say.
        (&public, &*public.link().link_to(&flat)),
    ] {
        link(&*repository, &damaged.link(), wrong);
        let found = verdicts(&repository, &settings(true, false)).await;
        let faulty: Vec<_> = found.iter().filter(|it| !it.faults.is_empty()).collect();
        assert!(matches!(&faulty[..], [it] if it.place == *damaged), "{faulty:?}");
        repair(&repository, &registry, &found).await;
        let found = verdicts(&repository, &settings(true, false)).await;
        assert!(found.iter().all(|it| it.faults.is_empty()), "{found:?}");
        let there = repository.lookup(&public.link()).unwrap();
        assert_eq!(there, Some(Published::Symlink(target.clone())));
        let config = own.metadata(ImageMetadata::Config);
        assert!(repository.read(&config).unwrap().is_some());
    }
}

/// Chains that lead nowhere, and merged roots that somebody has damaged.
#[tokio::test]
async fn damaged_chains_are_mended() {
    let image = Image::new("1");
    let registry = Registry::with(&image).await;
    let own = |at: usize| path::layerfs(&image.layer(at));
    for damage in 0..4 {
        let (place, repository) = directory(&registry).await;
        let chains = Inventory::take(&*repository).unwrap().content.into_iter();
        let chains: Vec<_> = chains
            .filter_map(|unit| match unit {
                Unit::Chain(chain) => Some(chain),
                _ => None,
            })
            .collect();
        let leads = |chain: &ChainId, to: &RepositoryPath| {
            let link = path::chain_layer(chain);
            repository.lookup(&link).unwrap() == Some(Published::Symlink(link.link_to(to)))
        };
        let top = chains.iter().find(|chain| leads(chain, &own(1))).unwrap();
        let at = |path: &RepositoryPath| place.path().join(path.as_str());
        let kind = match damage {
            0 => {
                link(&*repository, &path::chain_layer(top), "nowhere");
                "dangling"
            }
            1 => {
                std::fs::remove_dir_all(at(&Unit::Layer(image.layer(1)).path())).unwrap();
                "missing"
            }
            2 => {
                std::fs::remove_file(at(&path::chain_rootfs(top)).join("bin/tool")).unwrap();
                "tree"
            }
            _ => {
                std::fs::remove_dir_all(at(&path::chain_rootfs(top))).unwrap();
                "missing"
            }
        };
        let found = verdict(&repository, &settings(true, false)).await;
        assert!(found.faults.iter().any(|it| it.kind() == kind), "{damage}: {found:?}");
        assert_ne!(chain_faults(&*repository).unwrap(), [], "{damage}");
        // A conversion looks at links and trees, and not at what is in them.
        if kind != "tree" {
            publish(&repository, &request(&registry)).await;
        } else {
            repair(&repository, &registry, &[found]).await;
        }
        assert_eq!(verdict(&repository, &settings(true, true)).await.faults, [], "{damage}");
        assert_eq!(chain_faults(&*repository).unwrap(), [], "{damage}");
    }
}
