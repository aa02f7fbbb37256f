//! A repository that is used from a directory on: everything is below it, and what else the repository holds stays.

use std::collections::BTreeSet;

use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::native::{Native, read_in};
use e2e::registry::Registry;
use e2e::rounds::Publisher;
use e2e::{Result, ensure};
use tempfile::TempDir;

/// The names in the root, without the format's own.
fn names(native: &Native) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    native.snapshot()?.root()?.for_each(&mut |child| {
        if !child.marker {
            names.insert(String::from_utf8_lossy(&child.name).into_owned());
        }
        Ok(())
    })?;
    Ok(names)
}

#[test]
fn holds_everything() -> Result<()> {
    let (work, native, registry) = (TempDir::new()?, Native::create()?, Registry::start()?);
    for n in 0..2 {
        let layers = [
            Layer::build(
                work.path(),
                Compression::Gzip,
                &[Entry::dir("d"), Entry::file("d/a", "a")],
            )?,
            Layer::build(work.path(), Compression::Gzip, &[Entry::file("number", n.to_string())])?,
        ];
        let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?;
        push(&registry, &format!("org/tool:{n}"), &image)?;
    }
    let image = |n: usize| registry.source(&format!("org/tool:{n}"));
    let publisher = |name: &str, locator: String| -> Result<Publisher> {
        let dir = work.path().join(name);
        std::fs::create_dir(&dir)?;
        Ok(Publisher::new(&dir, locator)
            .env("DUCC_KEYS", native.keys())
            .env("DUCC_CACHE", work.path().join("cache"))
            .env("DUCC_STATE", work.path().join("state")))
    };
    let below = publisher("below", format!("{}#sub/dir", native.locator()))?;
    below.wish([image(0), image(1)])?;
    let round = below.round(&[])?;
    ensure!(round.status == Some(0) && round.count("converted") == 2, "{}", round.output.both());
    ensure!(names(&native)? == BTreeSet::from(["sub".to_owned()]), "{:?}", names(&native)?);
    let number = |home: &str, n: usize| {
        let path = format!("{home}{}", registry.reference(&format!("org/tool:{n}")));
        read_in(&native.snapshot()?, &path, "number")
    };
    ensure!(number("sub/dir/", 1)?.as_deref() == Some("1"), "an image is not there");
    let again = below.round(&[])?;
    ensure!(again.count("unchanged") == 2, "{}", again.report);
    let verified = below.on_repository("verify", &["--data"])?;
    ensure!(verified.status.success(), "{}", verified.both());

    // The root is another repository to those who publish there, and neither removes anything of the other.
    let root = publisher("root", native.locator())?;
    root.wish([image(0)])?;
    ensure!(root.round(&[])?.status == Some(0), "the root cannot be published into");
    below.wish([image(1)])?;
    ensure!(below.round(&[])?.status == Some(0), "the second round");
    for publisher in [&root, &below] {
        let collected = publisher.on_repository("gc", &["--grace-period", "0"])?;
        ensure!(collected.status.success(), "{}", collected.both());
        let verified = publisher.on_repository("verify", &["--data"])?;
        ensure!(verified.status.success(), "{}", verified.both());
    }
    ensure!(number("", 0)?.is_some() && number("sub/dir/", 0)?.is_none(), "the wrong one is gone");
    ensure!(number("sub/dir/", 1)?.is_some(), "too much is gone");
    native.check()
}
