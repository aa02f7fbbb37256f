//! The files that Apptainer and Singularity look for in a root file system.
//!
//! Contract: current runtimes source `/.singularity.d/env/*.sh` in order, treat `10-docker2singularity.sh`,
//! `90-environment.sh` and `99-base.sh` specially, and run `/.singularity.d/runscript`, `startscript` or
//! `test`; older ones run `/.singularity.d/actions/*`. The names are those of DUCC. The quoting differs from
//! DUCC's: the image's values stay literal, whatever they contain, and arguments are never evaluated.

mod labels;
mod quote;
mod scripts;

use std::path::Path;

use layer_layout::{LayerPath, RepositoryPath};

use crate::image_config::ImageConfig;
use crate::repository::{OPEN_ROOT, Repository, Result, TreeEditor};

/// Mount points and directories that the runtimes need in a read-only root.
const DIRECTORIES: [&str; 11] = [
    ".singularity.d/libs",
    ".singularity.d/actions",
    ".singularity.d/env",
    "dev",
    "proc",
    "root",
    "var/tmp",
    "tmp",
    "etc",
    "sys",
    "home",
];

/// Files over which the runtimes mount others: they have to exist.
const MOUNT_POINTS: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];

/// Links that older versions and users expect. Each is made only if nothing else is there.
const LINKS: [(&str, &str); 6] = [
    ("singularity", ".singularity.d/runscript"),
    (".run", ".singularity.d/actions/run"),
    (".exec", ".singularity.d/actions/exec"),
    (".test", ".singularity.d/actions/test"),
    (".shell", ".singularity.d/actions/shell"),
    ("environment", ".singularity.d/env/90-environment.sh"),
];

/// The directory of these files.
pub const DIRECTORY: &str = ".singularity.d";

/// The names by which current runtimes find what they need; without them an image has no environment and does not run.
pub const CONTRACT: [&str; 5] = [
    ".singularity.d/env/10-docker2singularity.sh",
    ".singularity.d/env/90-environment.sh",
    ".singularity.d/env/99-base.sh",
    ".singularity.d/runscript",
    ".singularity.d/startscript",
];

/// The files and links that [`add_files`] may add to a root, apart from what is below [`DIRECTORY`].
pub fn added_files() -> impl Iterator<Item = &'static str> {
    MOUNT_POINTS.into_iter().chain(LINKS.map(|(link, _)| link))
}

/// The directories that [`add_files`] may add to a root. An image may have them, too, with what it has in them.
pub fn added_directories() -> impl Iterator<Item = &'static str> {
    DIRECTORIES.into_iter()
}

/// Why a published flat root does not serve its users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlatFault {
    /// A file of the [`CONTRACT`] is missing.
    Lacks(&'static str),
    /// Not everybody may read and enter the root: Apptainer then fails, except for the owner.
    Closed,
}

/// What is wrong first with the flat root that is published at a path; `None` if nothing is, or nothing is there.
///
/// # Errors
/// If it cannot be read.
pub fn fault(repository: &dyn Repository, flat: &RepositoryPath) -> Result<Option<FlatFault>> {
    let Some(root) = repository.read_directory(flat, &LayerPath::ROOT)? else { return Ok(None) };
    if root.metadata.mode & OPEN_ROOT != OPEN_ROOT {
        return Ok(Some(FlatFault::Closed));
    }
    for file in CONTRACT {
        if !has_file(repository, flat, file)? {
            return Ok(Some(FlatFault::Lacks(file)));
        }
    }
    Ok(None)
}

/// Whether the tree that is published at a path has a name.
///
/// # Errors
/// If it cannot be read.
pub fn has_file(repository: &dyn Repository, tree: &RepositoryPath, file: &str) -> Result<bool> {
    let path = LayerPath::clean(file.as_bytes()).unwrap_or_default();
    let Some((directory, name)) = path.split() else { return Ok(false) };
    let directory = repository.read_directory(tree, &directory)?;
    Ok(directory.is_some_and(|directory| directory.entries.iter().any(|entry| entry.name == name)))
}

const SCRIPT_MODE: u32 = 0o755;
const DATA_MODE: u32 = 0o644;

/// Adds the files for an image with this configuration to the tree of its flat root.
///
/// Returns remarks for the report: names of environment variables that no shell can set.
///
/// # Errors
/// If the tree cannot be written.
pub fn add_files(tree: &mut dyn TreeEditor, image: &ImageConfig) -> Result<Vec<String>> {
    tree.open_root()?;
    for directory in DIRECTORIES {
        tree.ensure_directory(Path::new(directory))?;
    }
    for (name, content) in scripts::FIXED {
        let path = Path::new(".singularity.d").join(name);
        tree.write_file(&path, SCRIPT_MODE, content.as_bytes())?;
    }
    let environment = scripts::environment(&image.env);
    let generated = [
        ("env/10-docker2singularity.sh", SCRIPT_MODE, environment.script),
        ("runscript", SCRIPT_MODE, scripts::runscript(&image.entrypoint, &image.cmd)),
        ("labels.json", DATA_MODE, labels::json(&image.labels)),
    ];
    for (name, mode, content) in generated {
        tree.write_file(&Path::new(".singularity.d").join(name), mode, content.as_bytes())?;
    }
    for path in MOUNT_POINTS {
        tree.ensure_file(Path::new(path), DATA_MODE)?;
    }
    for (path, target) in LINKS {
        tree.ensure_symlink(Path::new(path), target)?;
    }
    Ok(environment.remarks)
}
