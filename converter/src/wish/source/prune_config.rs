//! The file that says where `prune-images` learns what is wished for.

use std::path::{Path, PathBuf};

use super::{ListSource, LocationError};
use crate::wish::fault::Fault;
use crate::wish::list;
use crate::wish::yaml;

/// Sources of wishes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PruneSources {
    /// Wish lists.
    pub wish_lists: Vec<ListSource>,
    /// Files with the names of images that are wished for.
    pub expanded_images: Vec<PathBuf>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PruneConfigError {
    /// It could not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// Something in it is wrong. Nothing of it may be left out, because what it leaves out would be unwanted.
    #[error("{}:{fault}", path.display())]
    Broken {
        /// Which.
        path: PathBuf,
        /// The first thing that is wrong.
        fault: Box<Fault>,
    },
    /// One of the lists has no place.
    #[error("{}", path.display())]
    Location {
        /// The file.
        path: PathBuf,
        /// What is wrong with the place.
        #[source]
        cause: LocationError,
    },
}

/// Reads the file: YAML with the keys `wishlists` and `expanded_images`. Relative paths begin in the current directory.
///
/// # Errors
/// If it cannot be read, or anything in it is not understood.
pub fn prune_config(path: &Path) -> Result<PruneSources, PruneConfigError> {
    let failed = |cause| PruneConfigError::Unreadable { path: path.to_owned(), cause };
    let bytes = yaml::read(path).map_err(failed)?;
    let (wish_lists, expanded_images) = match list::parse_prune_config(&bytes) {
        Ok(parsed) => parsed,
        Err(fault) => {
            return Err(PruneConfigError::Broken { path: path.to_owned(), fault });
        }
    };
    let source = |text: String| {
        let location = |cause| PruneConfigError::Location { path: path.to_owned(), cause };
        text.parse().map_err(location)
    };
    Ok(PruneSources {
        wish_lists: wish_lists.into_iter().map(source).collect::<Result<_, _>>()?,
        expanded_images: expanded_images.into_iter().map(PathBuf::from).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_ducc_s() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ducc-prune.yaml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            prune_config(&path)
        };
        let text =
            "wishlists:\n- a.yaml\n- git+https://h/r.git//b@main\nexpanded_images: [c.yaml]\n";
        let sources = read(text).unwrap();
        let lists: Vec<_> = sources.wish_lists.iter().map(ToString::to_string).collect();
        assert_eq!(lists, ["a.yaml", "git+https://h/r.git//b@main"]);
        assert_eq!(sources.expanded_images, [Path::new("c.yaml")]);
        assert_eq!(read("wishlists:\n").unwrap(), PruneSources::default());
        for (text, part) in [
            ("wishlist: [a]\n", "1:1: unknown key \"wishlist\"; did you mean \"wishlists\""),
            ("wishlists: {a: b}\n", "1:12"),
            ("wishlists: ['ftp://x']\n", "ftp"),
            ("- a\n", "1:1"),
            ("", "empty"),
        ] {
            let error = read(text).unwrap_err();
            let text = format!("{:#}", anyhow::Error::from(error));
            assert!(text.contains(part) && text.contains("ducc-prune.yaml"), "{text}");
        }
    }
}
