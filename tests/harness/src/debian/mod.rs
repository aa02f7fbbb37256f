//! The realistic image: Debian with Python and numpy from its packages, in eight layers that contain what real images
//! contain (whiteouts, an opaque directory, hard links within a layer and to a lower one, a file capability, setuid
//! programs, devices, a layer that occurs twice).
//!
//! It is built once from the machine's Debian mirror and kept below cargo's target directory as an OCI layout.

mod layers;
mod packages;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::image::{Config, Format, Image, read_layout, write_layout};
use crate::tools;

/// Raised when the recipe changes, so that images made by an older one are not used.
const RECIPE: u32 = 1;
/// The image's tag in its layout.
pub const TAG: &str = "numpy";
/// What the image's own command prints, without the line feed at the end.
pub const GREETING: &str = "numpy sums to 4950 in a Debian image";
/// A program for `python3 -c` that prints numpy's version.
pub const PRINT_VERSION: &str = "import numpy; print(numpy.__version__)";

/// The built image.
#[derive(Debug, Clone)]
pub struct Debian {
    /// The OCI layout that contains it under [`TAG`].
    pub layout: PathBuf,
    /// The image in OCI format.
    pub image: Image,
    /// numpy's version, as numpy reports it.
    pub numpy: String,
}

impl Debian {
    /// The image, built if it does not exist. Several processes may call this at once.
    pub fn get() -> Result<Self> {
        tools::require_root()?;
        let base = tools::target_dir()?.join("e2e");
        fs::create_dir_all(&base)?;
        let lock = File::create(base.join("debian.lock"))?;
        lock.lock().context("waiting for another build of the Debian image")?;
        let dir = base.join(format!("debian-{RECIPE}"));
        if !dir.is_dir() {
            let making = base.join("debian.tmp");
            if making.exists() {
                fs::remove_dir_all(&making)?;
            }
            build(&making).context("building the Debian image")?;
            fs::rename(&making, &dir)?;
        }
        Self::open(&dir)
    }

    /// The same image with Docker's media types.
    pub fn docker_image(&self) -> Result<Image> {
        Image::new(Format::Docker, self.image.settings.clone(), &self.image.layers)
    }

    fn open(dir: &Path) -> Result<Self> {
        let layout = dir.join("layout");
        let image = read_layout(&layout, TAG)?;
        let numpy = fs::read_to_string(dir.join("numpy-version"))?;
        Ok(Self { layout, image, numpy })
    }
}

fn build(dir: &Path) -> Result<()> {
    let work = dir.join("work");
    let packages = packages::download(&work)?;
    let layers = layers::build(&work, &packages)?;
    let settings = Config {
        cmd: ["python3", "/usr/local/bin/greet.py"].map(str::to_owned).to_vec(),
        env: vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            "LANG=C.UTF-8".to_owned(),
            "GREETING=it's \"quoted\" $(id) `id` \\ $HOME".to_owned(),
        ],
        ..Config::default()
    };
    let image = Image::new(Format::Oci, settings, &layers)?;
    write_layout(&dir.join("layout"), TAG, &image)?;
    let numpy = packages
        .iter()
        .find(|package| package.name == "python3-numpy")
        .context("numpy was not downloaded")?;
    fs::write(dir.join("numpy-version"), numpy.upstream_version())?;
    fs::remove_dir_all(&work)?;
    Ok(())
}
