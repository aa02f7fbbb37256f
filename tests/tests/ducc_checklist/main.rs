//! What people, scripts and nodes rely on in DUCC, point by point: `row_01` to `row_12` are the points of the list that a
//! successor has to fulfil, the modules below say which. `opportunities` is what it can do better.
//!
//! The program is called by its old name wherever it concerns those who have called DUCC.

mod commands;
mod layout;
mod life;
mod opportunities;

use std::path::Path;

use e2e::Result;
use e2e::cvmfs_ducc::CvmfsDucc;
use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::native::Native;
use e2e::registry::Registry;

/// A registry with an image, and the installed program.
struct Scene {
    registry: Registry,
    ducc: CvmfsDucc,
    image: Image,
}

impl Scene {
    fn new() -> Result<Self> {
        let (registry, ducc) = (Registry::start()?, CvmfsDucc::install()?);
        let image = image(ducc.dir(), "1")?;
        push(&registry, NAME, &image)?;
        Ok(Self { registry, ducc, image })
    }

    /// With a repository in a directory, and its path.
    fn with_directory() -> Result<(Self, String)> {
        let scene = Self::new()?;
        let repository = scene.ducc.make_dir("unpacked.example.org")?.display().to_string();
        Ok((scene, repository))
    }

    /// With a native repository.
    fn with_native() -> Result<(Self, Native)> {
        let (mut scene, native) = (Self::new()?, Native::create()?);
        scene.ducc = scene.ducc.env("DUCC_KEYS", native.keys());
        Ok((scene, native))
    }

    /// The image as lists name it.
    fn source(&self) -> String {
        self.registry.source(NAME)
    }

    /// The image's public name.
    fn name(&self) -> String {
        self.registry.reference(NAME)
    }
}

const NAME: &str = "org/tool:1";

/// Two layers: a file that the second deletes, a directory that it replaces, owners, a set-id bit.
fn image(dir: &Path, version: &str) -> Result<Image> {
    let blobs = dir.join("blobs");
    let layers = [
        Layer::build(
            &blobs,
            Compression::Gzip,
            &[
                Entry::dir("bin"),
                Entry::program("bin/su", "su").mode(0o4755),
                Entry::dir("etc"),
                Entry::file("etc/gone", "gone"),
                Entry::dir("opq"),
                Entry::file("opq/old", "old"),
            ],
        )?,
        Layer::build(
            &blobs,
            Compression::Gzip,
            &[
                Entry::dir("etc"),
                Entry::whiteout("etc/gone"),
                Entry::file("etc/version", version).owner(1000, 42),
                Entry::dir("opq"),
                Entry::opaque("opq"),
                Entry::file("opq/new", "new"),
            ],
        )?,
    ];
    let settings = Config {
        entrypoint: vec!["/bin/tool".to_owned()],
        env: vec!["PATH=/bin".to_owned(), "GREETING=a$b \"c\" it's".to_owned()],
        ..Config::with_cmd(["--serve"])
    };
    Image::new(Format::Docker, settings, &layers)
}
