//! What a repository holds by digest, and how it is found again in a path or a link.

use std::fmt;

use super::{CHAINS, FLAT, LAYERS, RepositoryPath};
use crate::{ChainId, ConfigDigest, Digest, LayerDigest};

/// A directory that is named by a digest, and appears and disappears as a whole.
///
/// The order is that in which units are removed: a flat root refers to nothing, a chain to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// `.flat/<hh>/<config digest>`.
    Flat(ConfigDigest),
    /// `.chains/<hh>/<ChainID>`. DUCC's chains have this form, too, and another meaning.
    Chain(ChainId),
    /// `.layers/<hh>/<layer digest>`.
    Layer(LayerDigest),
}

impl Unit {
    /// Where it is.
    pub fn path(&self) -> RepositoryPath {
        match self {
            Self::Flat(config) => super::flat(config),
            Self::Chain(chain) => super::chain(chain),
            Self::Layer(layer) => super::layer(layer),
        }
    }

    /// The unit that a path is, or is in.
    pub fn of_path(path: &RepositoryPath) -> Option<Self> {
        let mut names = path.0.split('/');
        Self::from_names(names.next()?, names.next()?, names.next()?)
    }

    /// The unit that a symlink leads to, or into, whether the target is relative or begins at the root of some mount
    /// (`/cvmfs/…/.flat/…`). Where the link itself is does not matter.
    pub fn of_link_target(target: &str) -> Option<Self> {
        let mut names: Vec<&str> = Vec::new();
        for name in target.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop();
                }
                name => names.push(name),
            }
        }
        names.windows(3).find_map(|window| match window {
            [root, shard, id] => Self::from_names(root, shard, id),
            _ => None,
        })
    }

    fn from_names(root: &str, shard: &str, id: &str) -> Option<Self> {
        let digest = Digest::from_hex(id).ok().filter(|_| id.starts_with(shard))?;
        match root {
            FLAT if shard.len() == 2 => Some(Self::Flat(digest.into())),
            CHAINS if shard.len() == 2 => Some(Self::Chain(digest.into())),
            LAYERS if shard.len() == 2 => Some(Self::Layer(digest.into())),
            _ => None,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path;

    #[test]
    fn paths_and_links_lead_to_their_unit() {
        let digest = Digest::of(b"");
        let hex = digest.hex();
        let (flat, chain, layer): (Unit, Unit, Unit) =
            (Unit::Flat(digest.into()), Unit::Chain(digest.into()), Unit::Layer(digest.into()));
        for unit in [flat, chain, layer] {
            assert_eq!(Unit::of_path(&unit.path()), Some(unit));
            assert_eq!(Unit::of_link_target(&format!("../../{unit}")), Some(unit));
            assert_eq!(
                Unit::of_link_target(&format!("/cvmfs/r.example.org/{unit}/bin")),
                Some(unit)
            );
        }
        assert_eq!(Unit::of_path(&path::chain_rootfs(&digest.into())), Some(chain));
        assert_eq!(Unit::of_path(&path::layerfs(&digest.into())), Some(layer));
        assert_eq!(
            Unit::of_link_target(&format!("../x/.flat/ff/../e3/./{hex}")),
            Some(flat),
            "detours are followed"
        );
    }

    #[test]
    fn nothing_else_is_a_unit() {
        let hex = Digest::of(b"").hex();
        for text in [
            ".flat".to_owned(),
            ".flat/e3".to_owned(),
            format!(".flat/ff/{hex}"),
            format!(".flat/e3b/{hex}"),
            format!(".flat/{hex}/{hex}"),
            format!(".flat/e3/{}", &hex[..63]),
            format!(".other/e3/{hex}"),
            format!(".flat/e3/../e3{hex}"),
        ] {
            assert_eq!(Unit::of_link_target(&text), None, "{text}");
        }
    }

    #[test]
    fn what_refers_to_others_is_removed_before_them() {
        let digest = Digest::of(b"");
        let mut units =
            [Unit::Layer(digest.into()), Unit::Chain(digest.into()), Unit::Flat(digest.into())];
        units.sort();
        assert!(matches!(units, [Unit::Flat(_), Unit::Chain(_), Unit::Layer(_)]));
    }
}
