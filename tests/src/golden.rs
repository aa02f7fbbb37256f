//! A repository that DUCC itself has filled, and a registry with the image in it; see `tests/golden`.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use crate::check_out::check_out;
use crate::ducc::closed_dir;
use crate::image::{Image, push, read_layout};
use crate::native::Native;
use crate::registry::Registry;

/// The repository's name.
pub const FQRN: &str = "ducc.golden.test";
/// The public name of the image in it.
pub const NAME: &str = "localhost:5015/library/golden:v1";
/// The registry in that name.
const REGISTRY: &str = "localhost:5015";
/// What the image is called in its registry.
const IN_REGISTRY: &str = "library/golden:v1";

/// The image in a registry. To its users the registry has the name that DUCC knew it by: `registries.conf` says where it
/// really is.
pub struct Golden {
    /// The registry.
    pub registry: Registry,
    /// The image.
    pub image: Image,
    registries_conf: PathBuf,
    dir: TempDir,
}

impl Golden {
    /// Starts the registry.
    pub fn new() -> Result<Self> {
        let (registry, dir) = (Registry::start()?, closed_dir()?);
        let image = read_layout(&data("image"), "v1")?;
        push(&registry, IN_REGISTRY, &image)?;
        let registries_conf = dir.path().join("registries.conf");
        let text = format!(
            "[[registry]]\nprefix = \"{REGISTRY}\"\nlocation = \"{}\"\ninsecure = true\n",
            registry.host()
        );
        fs::write(&registries_conf, text)?;
        Ok(Self { registry, image, registries_conf, dir })
    }

    /// The image as wish lists name it.
    pub fn source(&self) -> String {
        format!("http://{NAME}")
    }

    /// The file for `CONTAINERS_REGISTRIES_CONF`.
    pub fn registries_conf(&self) -> &Path {
        &self.registries_conf
    }

    /// A directory for files of a test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// A copy of the repository, to publish into.
pub fn native() -> Result<Native> {
    let native = Native::empty(FQRN)?;
    for (archive, to) in
        [("storage.tar.zst", native.storage()), ("keys.tar.zst", native.dir().to_owned())]
    {
        let archive = zstd::Decoder::new(File::open(data(archive))?)?;
        tar::Archive::new(archive).unpack(to)?;
    }
    Ok(native)
}

/// The repository as a plain directory, the way a client shows it.
pub fn directory() -> Result<TempDir> {
    let directory = TempDir::new_in("/dev/shm")?;
    check_out(&native()?.snapshot()?, "x86_64", directory.path())?;
    // Its images have set-id programs.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
    Ok(directory)
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/ducc").join(name)
}
