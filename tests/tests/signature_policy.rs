//! A policy that begins to hold after images were published.

use e2e::ducc::closed_dir;
use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::registry::Registry;
use e2e::rounds::Publisher;
use e2e::{Result, ensure};
use tempfile::TempDir;

const NAME: &str = "org/tool:1";

/// A public key that has signed nothing (RFC 8410, section 10.1).
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";

#[test]
fn applies_to_unchanged_images_which_stay() -> Result<()> {
    let (work, repository, registry) = (TempDir::new()?, closed_dir()?, Registry::start()?);
    let layer = Layer::build(work.path(), Compression::Gzip, &[Entry::file("tool", "1")])?;
    push(&registry, NAME, &Image::new(Format::Oci, Config::with_cmd(["true"]), &[layer])?)?;
    let publisher = Publisher::new(work.path(), repository.path().display().to_string());
    publisher.wish([registry.source(NAME)])?;
    let key = work.path().join("cosign.pub");
    std::fs::write(&key, KEY)?;
    let published = repository.path().join(registry.reference(NAME)).join("tool");

    let first = publisher.round(&[])?;
    ensure!(first.status == Some(0) && first.count("converted") == 1, "{}", first.output.both());
    for _ in 0..2 {
        let refused = publisher.round(&["--signature-key", &key.display().to_string()])?;
        ensure!(refused.status == Some(3) && refused.count("failed") == 1, "{}", refused.report);
        let reason = refused.report["failed"][0]["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("is refused: there is no signature"), "{reason}");
        ensure!(published.exists(), "a refused image is not removed");
    }
    let state = publisher.ducc()?.arg("status").status()?;
    ensure!(state.code() == Some(3), "{state}");

    // Without the policy it is as it was, and nothing is remembered against it.
    let (last, traffic) = registry.watch(|| publisher.round(&[]))?;
    ensure!(last.status == Some(0) && last.count("unchanged") == 1, "{}", last.report);
    ensure!(traffic.requests.len() == 1, "{:?}", traffic.requests);
    let state = publisher.ducc()?.arg("status").status()?;
    ensure!(state.code() == Some(0), "{state}");
    Ok(())
}
