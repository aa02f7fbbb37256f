//! Registries with users and certificates admit those they should, and report their traffic.

use std::fs;
use std::rc::Rc;

use e2e::Result;
use e2e::busybox;
use e2e::containerd::{Settings, Version};
use e2e::cri::{self, Cri};
use e2e::image::{
    Compression, Config, Entry, Format, Image, Index, Layer, host_architecture, push,
};
use e2e::node::Node;
use e2e::registry::{Access, PASSWORD, Registry, USER};
use tempfile::TempDir;

#[test]
fn users_and_certificates() -> Result<()> {
    let cases = [
        (Access::Anonymous, false),
        (Access::Anonymous, true),
        (Access::Basic, false),
        (Access::Basic, true),
        (Access::Token, false),
        (Access::Token, true),
    ];
    let blobs = TempDir::new()?;
    let sandboxes = Registry::start()?;
    let sandbox = busybox::push_sandbox(&sandboxes, blobs.path())?;
    let layer = Layer::build(blobs.path(), Compression::Gzip, &[Entry::file("a", "b")])?;
    let image = Image::new(Format::Docker, Config::default(), &[layer])?;
    for (access, tls) in cases {
        let what = format!("{access:?}, TLS {tls}");
        let registry = Registry::start_with(access, tls)?;
        push(&registry, "private/image:1", &image)?;
        let node = Rc::new(Node::new()?);
        let settings =
            Settings::new(Version::newest()?).with_registry(&sandboxes).with_registry(&registry);
        let containerd = cri::start(&node, settings.with_sandbox(&sandbox))?;
        let cri = Cri::of(&containerd)?;
        let reference = registry.reference("private/image:1");
        assert_eq!(
            cri.pull(&reference, None).is_ok(),
            access == Access::Anonymous,
            "{what}, without a user"
        );
        if access != Access::Anonymous {
            assert!(
                cri.pull(&reference, Some((USER, "wrong"))).is_err(),
                "{what}, with a wrong password"
            );
        }
        cri.pull(&reference, Some((USER, PASSWORD)))?;
        let fetched = registry.requests()?;
        let fetched: Vec<_> = fetched.iter().filter_map(|request| request.fetched_blob()).collect();
        for digest in [&image.config.digest, &image.layers[0].blob.digest] {
            assert!(
                fetched.contains(&("private/image", digest)),
                "{what}: {digest} not among {fetched:?}"
            );
        }
        assert_eq!(
            registry.tokens().is_some_and(|tokens| tokens.issued() > 1),
            access == Access::Token,
            "{what}"
        );
    }
    Ok(())
}

#[test]
fn traffic_is_counted_and_blobs_are_where_they_are_said_to_be() -> Result<()> {
    let registry = Registry::start()?;
    let blobs = TempDir::new()?;
    let layer =
        Layer::build(blobs.path(), Compression::Gzip, &[Entry::noise("noise", 100_000, 1)])?;
    let layer_blob = layer.blob.clone();
    let native = Image::new(Format::Oci, Config::default(), std::slice::from_ref(&layer))?;
    let other = if host_architecture() == "arm64" { "amd64" } else { "arm64" };
    let foreign = Config { architecture: other.to_owned(), ..Config::default() };
    let index = Index::new(Format::Oci, vec![Image::new(Format::Oci, foreign, &[layer])?, native])?;
    push(&registry, "multi:1", &index)?;
    assert_eq!(fs::read(registry.blob_file(&layer_blob.digest)?)?, layer_blob.bytes()?);
    let url = format!("{}/v2/multi/blobs/{}", registry.url(), layer_blob.digest);
    let (body, traffic) = registry.watch(|| Ok(reqwest::blocking::get(&url)?.bytes()?))?;
    assert_eq!(body.len() as u64, layer_blob.size);
    assert_eq!(
        (traffic.bytes(), traffic.blobs()),
        (layer_blob.size, vec![layer_blob.digest.as_str()])
    );
    Ok(())
}
