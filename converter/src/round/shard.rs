//! Sharing the images of a list among several publishers.

use std::fmt;
use std::str::FromStr;

use layer_layout::Digest;

/// The part of the images that this publisher takes: those whose names' hash, modulo `of`, is `index`.
///
/// The hash of a name never changes, so publishers agree without talking to each other: it is the first eight bytes of
/// the SHA-256 of the public name, as a big-endian number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    of: u64,
}

/// Stands for the index of a pod of a StatefulSet.
const POD: &str = "pod";

/// Why a text is no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// It is not of this form.
    #[error("expected INDEX/COUNT with INDEX from 0 to COUNT - 1, or pod/COUNT")]
    Form,
    /// The host's name does not end with the index of a pod.
    #[error(
        "the host's name {0:?} does not end with the index of a StatefulSet's pod, as in publisher-2; give the \
         index itself"
    )]
    HostName(String),
    /// There are more pods than shards.
    #[error(
        "this is pod {index}, but there are only {of} shards: set the number to that of the replicas"
    )]
    TooMany {
        /// From the host's name.
        index: u64,
        /// As given.
        of: u64,
    },
}

impl Shard {
    /// Whether the image of a public name is in this part.
    pub fn takes(&self, name: &str) -> bool {
        let digest = Digest::of(name.as_bytes());
        let first = u64::from_str_radix(&digest.hex()[..16], 16).expect("digests are hex digits");
        first % self.of == self.index
    }

    fn parse(text: &str, host_name: impl FnOnce() -> String) -> Result<Self, ShardError> {
        let (index, of) = text.split_once('/').ok_or(ShardError::Form)?;
        let of: u64 = of.parse().map_err(|_| ShardError::Form)?;
        if index == POD {
            let host = host_name();
            let index = host.rsplit_once('-').and_then(|(_, index)| index.parse().ok());
            let index = index.ok_or(ShardError::HostName(host))?;
            return if index < of {
                Ok(Self { index, of })
            } else {
                Err(ShardError::TooMany { index, of })
            };
        }
        match index.parse() {
            Ok(index) if index < of => Ok(Self { index, of }),
            _ => Err(ShardError::Form),
        }
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        Self::parse(text, || rustix::system::uname().nodename().to_string_lossy().into_owned())
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_parsed() {
        let parse = |text: &str| Shard::parse(text, || "publisher-2".to_owned());
        for (text, index, of) in [("0/1", 0, 1), ("3/8", 3, 8), ("pod/3", 2, 3)] {
            assert_eq!(parse(text), Ok(Shard { index, of }));
        }
        for text in ["", "1", "1/1", "8/8", "0/0", "-1/2", "a/2", "1/2/3", "Pod/3"] {
            assert_eq!(parse(text), Err(ShardError::Form), "{text}");
        }
        assert_eq!(parse("pod/2"), Err(ShardError::TooMany { index: 2, of: 2 }));
        for host in ["laptop", "a-b", "a-"] {
            let error = Shard::parse("pod/2", || host.to_owned()).unwrap_err();
            assert_eq!(error, ShardError::HostName(host.to_owned()));
        }
    }

    #[test]
    fn each_image_is_in_one_shard() {
        let shards = [0, 1, 2].map(|index| Shard { index, of: 3 });
        let mut counts = [0; 3];
        for image in 0..3000 {
            let name = format!("r.io/images/i{image}:1");
            let takers: Vec<_> = (0..3).filter(|at| shards[*at].takes(&name)).collect();
            let [taker] = takers[..] else { panic!("{name}: {takers:?}") };
            counts[taker] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    /// Publishers of different versions must agree.
    #[test]
    fn the_hash_stays() {
        let shard = Shard { index: 0, of: 1 << 16 };
        let of =
            |name: &str| (0..1 << 16).find(|&index| Shard { index, ..shard }.takes(name)).unwrap();
        // printf %s NAME | sha256sum, the sixteenth digit backwards four.
        let hex = |name: &str| u64::from_str_radix(&Digest::of(name.as_bytes()).hex()[12..16], 16);
        for name in ["r.io/a:1", "registry.hub.docker.com/library/debian:12"] {
            assert_eq!(Ok(of(name)), hex(name));
        }
    }
}
