//! What is mended stays what it was.

use std::path::Path;

use jiff::Timestamp;
use layer_layout::path::{self, ImageMetadata, LayerMetadata, Unit};
use layer_layout::{Architecture, ChainId, Digest, ImagePlace, Platform, RepositoryPath};

use super::served::{
    Image, Registry, ask, directory, native, plan, publish, repair, republish, request, settings,
    verdict, verdicts,
};
use crate::convert::{At, Request};
use crate::inventory::{Inventory, schedule};
use crate::removal::Platforms::Only;
use crate::removal::{Stop, Unknown, Wanted, keep_books, unwanted};
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

/// Notes that nobody wants an image any more, except for those of its platforms that are named.
fn only(repository: &dyn Repository, registry: &Registry, wanted: Option<&[&str]>) {
    let platforms = |names: &[&str]| Only(names.iter().map(|name| name.parse().unwrap()).collect());
    let names = wanted.map(|wanted| (registry.place().name, platforms(wanted)));
    let wanted = Wanted { names: names.into_iter().collect(), unknown: Unknown::None };
    let prune = |view: &dyn Repository| unwanted::prune(view, &wanted, Timestamp::now());
    keep_books(repository, &mut |text| panic!("{text}"), &Stop::default(), prune).unwrap();
    repository.refresh().unwrap();
}

/// Such links were left by repairs that did not ask whose image is public, or whether a platform stays.
#[tokio::test]
async fn a_public_path_that_leads_other_clients_to_the_wrong_platform() {
    let (image, other) = (Image::new("1"), Image::new("2"));
    let registry = Registry::with(&image).await;
    let (_place, repository) = native(&registry).await;
    let all = Request { platforms: Some(Platforms::All), ..request(&registry) };
    publish(&repository, &all).await;
    let public = registry.place();
    let (host, foreign) = (Architecture::of(&Platform::host()).unwrap(), "s390x".parse().unwrap());
    registry.push(&other);
    let at = ImagePlace { architecture: Some(Architecture::clone(&foreign)), ..public.clone() };
    let at = At { place: at, link: None, identity: None };
    publish(&repository, &Request { at: Some(at), ..request(&registry) }).await;
    registry.push(&image);

    let own = host.to_string();
    let [of_host, of_foreign] = [&host, &foreign].map(|it| it.public_link_target(&public.name));
    let flat = public.link().link_to(&path::flat(&image.config_digest()));
    let both: &[&str] = &[&own, "s390x"];
    for (wanted, found, expected) in [
        // The platform whose image is at the public place is the one for all other clients.
        (Some(both), &of_host, &of_host),
        (Some(both), &of_foreign, &of_host),
        (Some(&[&*own][..]), &of_foreign, &of_host),
        // It goes, and another stays.
        (Some(&["s390x"][..]), &of_host, &of_foreign),
        // There will be no platform to lead to.
        (Some(&["riscv64"][..]), &of_host, &flat),
        (Some(&["riscv64"][..]), &of_foreign, &flat),
        (Some(&["riscv64"][..]), &flat, &flat),
        // As long as it waits for its removal, it is what it was.
        (None, &of_host, &of_host),
    ] {
        only(&*repository, &registry, wanted);
        link(&*repository, &public.link(), found);
        let verdicts = verdicts(&repository, &settings(false, false)).await;
        let verdict = verdicts.iter().find(|verdict| verdict.place == public).unwrap();
        if found == expected {
            assert_eq!(verdict.faults, [], "{wanted:?}");
            continue;
        }
        let (found, expected) = (found.clone(), expected.clone());
        let fault = Fault::Link { path: public.link(), found, expected: expected.clone() };
        assert_eq!(verdict.faults, [fault], "{wanted:?}");
        repair(&repository, &registry, std::slice::from_ref(verdict)).await;
        let there = repository.lookup(&public.link()).unwrap();
        assert_eq!(there, Some(Published::Symlink(expected)), "{wanted:?}");
    }
}

/// A registry changes what it has while an image with a wrong link is being published again.
#[tokio::test]
async fn whatever_the_name_leads_to_an_image_is_published_as_it_was_or_not_at_all() {
    type Change<'a> = &'a dyn Fn(&Registry);
    let (image, newer) = (Image::new("1"), Image::new("2"));
    let digest = Digest::of(&image.manifest).to_string();
    let nothing: Change<'_> = &|_| {};
    let tag_moves: Change<'_> = &|registry| registry.push(&newer);
    let tag_goes: Change<'_> = &|registry| registry.remove("1");
    let image_goes: Change<'_> = &|registry| {
        registry.push(&newer);
        registry.remove(&digest);
    };
    let comes_back: Change<'_> = &|registry| registry.push(&image);
    for (case, before, meanwhile, is_mended) in [
        ("it moves before", tag_moves, nothing, true),
        ("it moves meanwhile", nothing, tag_moves, false),
        ("it cannot be compared", tag_goes, nothing, true),
        ("it cannot be compared, and has moved", tag_goes, tag_moves, true),
        ("it is there no longer", image_goes, nothing, false),
        ("it is there again", image_goes, comes_back, true),
    ] {
        let registry = Registry::with(&image).await;
        let (_place, repository) = directory(&registry).await;
        let public = registry.place();
        link(&*repository, &public.link(), "nowhere");
        before(&registry);
        let found = verdict(&repository, &settings(true, false)).await;
        let plan = plan(&*repository, &[found]);
        let [again] = ask(&repository, &plan).await.images.try_into().unwrap();
        assert_eq!(
            again.not_compared.is_some(),
            case.starts_with("it cannot") || case.contains("there")
        );
        meanwhile(&registry);
        let result = republish(&repository, &registry, &plan, again).await;
        let manifest = repository.read(&public.metadata(ImageMetadata::Manifest)).unwrap();
        assert_eq!(manifest.as_ref(), Some(&image.manifest), "{case}: another image was published");
        let there = repository.lookup(&public.link()).unwrap();
        match result {
            Ok(()) => {
                assert!(is_mended, "{case}");
                let flat = public.link().link_to(&path::flat(&image.config_digest()));
                assert_eq!(there, Some(Published::Symlink(flat)), "{case}");
            }
            Err(error) => {
                assert!(!is_mended, "{case}: {error:?}");
                let text = format!("{:#}", anyhow::Error::from(error));
                assert!(text.contains(&digest), "{case}: {text}");
                assert_eq!(there, Some(Published::Symlink("nowhere".to_owned())), "{case}");
            }
        }
    }
}

/// The configuration, by the public link or itself, tells which image it was.
#[tokio::test]
async fn an_image_whose_manifest_cannot_be_read() {
    let (image, newer) = (Image::new("1"), Image::new("2"));
    let registry = Registry::with(&image).await;
    let public = registry.place();
    let [manifest, config] =
        [ImageMetadata::Manifest, ImageMetadata::Config].map(|file| public.metadata(file));
    let damage = |place: &Path, lost: &[&RepositoryPath]| {
        std::fs::write(place.join(manifest.as_str()), "{").unwrap();
        lost.iter().for_each(|path| std::fs::remove_file(place.join(path.as_str())).unwrap());
    };
    let link = public.link();
    for (lost, moves, is_mended) in [
        (&[][..], false, true),
        (&[&config], false, true),
        (&[&link], false, true),
        (&[], true, false),
        (&[&link], true, false),
    ] {
        registry.push(&image);
        let (place, repository) = directory(&registry).await;
        damage(place.path(), lost);
        if moves {
            registry.push(&newer);
        }
        let found = verdict(&repository, &settings(true, false)).await;
        assert_eq!(found.faults.first().map(Fault::kind), Some("document"), "{found:?}");
        let plan = plan(&*repository, &[found]);
        let [again] = ask(&repository, &plan).await.images.try_into().unwrap();
        let result = republish(&repository, &registry, &plan, again).await;
        assert_eq!(result.is_ok(), is_mended, "{lost:?}: {result:?}");
        let there = repository.read(&manifest).unwrap().unwrap();
        assert_eq!(there == image.manifest, is_mended, "{lost:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains(&image.config_digest().to_string()), "{error}");
        }
    }
    registry.push(&image);
    let (place, repository) = directory(&registry).await;
    damage(place.path(), &[&config, &link]);
    let found = verdict(&repository, &settings(true, false)).await;
    let again = ask(&repository, &plan(&*repository, &[found])).await;
    let [(place, reason)] = &again.unknown[..] else { panic!("{again:?}") };
    assert!(again.images.is_empty() && *place == public && reason.contains("delete-image"));
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
