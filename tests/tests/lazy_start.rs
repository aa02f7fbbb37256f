//! A published image starts without a download of its layers, with every client, from the full and the thin image.

use std::collections::BTreeSet;
use std::fs;

use e2e::containerd::{Client, Version};
use e2e::cri::Cri;
use e2e::debian::{Debian, GREETING};
use e2e::ducc::Convert;
use e2e::image::Image;
use e2e::registry::Traffic;
use e2e::site::{Site, thin_name};
use e2e::{Result, ensure};

const NAME: &str = "lazy/debian:numpy";
/// The most that may be transferred to start an image, in bytes: manifest and configuration.
const MAX_BYTES: u64 = 64 * 1024;

/// A site with the Debian image, and the references of the full and the thin image.
fn published() -> Result<(Site, Image, [String; 2])> {
    let site = Site::new()?;
    let image = Debian::get()?.docker_image()?;
    site.publish(NAME, &image)?;
    let references = [NAME.to_owned(), thin_name(NAME)].map(|name| site.registry.reference(&name));
    Ok((site, image, references))
}

fn assert_lazy(what: &str, image: &Image, printed: &str, traffic: &Traffic) {
    assert_eq!(printed, format!("{GREETING}\n"), "{what}");
    let fetched: BTreeSet<&str> = traffic.blobs().into_iter().collect();
    assert_eq!(fetched, BTreeSet::from([image.config.digest.as_str()]), "{what}: blobs fetched");
    assert!(traffic.bytes() < MAX_BYTES, "{what}: {} bytes", traffic.bytes());
}

#[test]
fn cri() -> Result<()> {
    let (site, image, references) = published()?;
    for version in Version::all()? {
        for reference in &references {
            let worker = site.worker(version)?;
            let cri = Cri::of(&worker.containerd)?.with_retries(3);
            let (ended, traffic) = site.registry.watch(|| {
                cri.pull(reference, None)?;
                cri.run("greeting", reference, &[])
            })?;
            assert_lazy(&format!("CRI {version}, {reference}"), &image, &ended.stdout, &traffic);
        }
    }
    Ok(())
}

#[test]
fn cri_without_any_label_but_the_chain() -> Result<()> {
    let (site, image, [full, _]) = published()?;
    for version in Version::all()? {
        let settings = site.settings(version).without_labels();
        let worker = site.worker_with(settings, &[&site.repository()])?;
        let cri = Cri::of(&worker.containerd)?.with_retries(3);
        let (ended, traffic) = site.registry.watch(|| {
            cri.pull(&full, None)?;
            cri.run("greeting", &full, &[])
        })?;
        assert_lazy(&format!("CRI {version} without labels"), &image, &ended.stdout, &traffic);
    }
    Ok(())
}

#[test]
fn ctr_and_ctr_remote() -> Result<()> {
    let (site, image, references) = published()?;
    let mut clients = vec![(Client::Ctr, Version::newest()?)];
    clients.extend(Version::all()?.into_iter().map(|version| (Client::CtrRemote, version)));
    for (client, version) in clients {
        for reference in &references {
            let worker = site.worker(version)?;
            let (output, traffic) = site.registry.watch(|| {
                worker.containerd.pull(client, reference)?;
                worker.containerd.run(reference, "greeting", &[])
            })?;
            assert_lazy(
                &format!("{client:?} {version}, {reference}"),
                &image,
                &output.stdout,
                &traffic,
            );
        }
    }
    Ok(())
}

#[test]
fn docker() -> Result<()> {
    let (site, image, references) = published()?;
    for reference in &references {
        let (docker, _snapshotter) = site.docker()?;
        let (output, traffic) = site.registry.watch(|| {
            docker.docker(&["pull", reference])?;
            docker.run(reference, &[])
        })?;
        assert_lazy(&format!("Docker, {reference}"), &image, &output.stdout, &traffic);
    }
    Ok(())
}

/// Docker does not say that it saves an image whose layers it has never had; the archive is of no use, and `ducc` says so.
#[test]
fn what_docker_saves_of_a_lazy_image_is_recognized() -> Result<()> {
    let (site, _, [reference, _]) = published()?;
    let (docker, _snapshotter) = site.docker()?;
    docker.docker(&["pull", &reference])?;
    let work = tempfile::tempdir()?;
    let archive = work.path().join("saved.tar").display().to_string();
    docker.docker(&["save", "--output", &archive, &reference])?;
    let repository = work.path().join("repository");
    fs::create_dir(&repository)?;
    let output = Convert::new(&format!("docker-archive:{archive}"), &repository).run_any()?;
    ensure!(output.status.code() == Some(1), "status {}\n{}", output.status, output.both());
    let advice = format!("skopeo copy docker://{reference} docker-archive:");
    ensure!(output.stderr.contains(&advice), "{}", output.both());
    Ok(())
}
