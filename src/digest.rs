//! Content digests, and the identities that are digests.
//!
//! Rules: OCI image-spec, `descriptor.md` ("Digests") for the text form and `config.md` ("Layer DiffID",
//! "Layer ChainID") for the two layer identities. Only SHA-256 is accepted: it is what every registry
//! serves, and what the paths of a repository are made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

const ALGORITHM: &str = "sha256";
const HEX_LENGTH: usize = 64;

/// A SHA-256 content digest.
///
/// Text form (`Display`, `FromStr`, serde): `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// A digest from the 32 raw bytes of a finished SHA-256.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hex digits, without `sha256:`, as paths of a repository use them.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Parses the 64 lower-case hex digits of a repository path or of `thin.json`, without `sha256:`.
    ///
    /// # Errors
    /// If the text is anything else.
    pub fn from_hex(text: &str) -> Result<Self> {
        parse_hex("digest", text, text, 0)
    }
}

fn parse_hex(what: &'static str, input: &str, hex: &str, offset: usize) -> Result<Digest> {
    if let Some(at) = hex.bytes().position(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(Error::syntax(what, input, offset + at, "expected a lower-case hex digit"));
    }
    if hex.len() != HEX_LENGTH {
        let reason = format!("expected {HEX_LENGTH} hex digits, found {}", hex.len());
        return Err(Error::syntax(what, input, offset + hex.len().min(HEX_LENGTH), reason));
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(hex, &mut bytes)
        .map_err(|error| Error::syntax(what, input, offset, error.to_string()))?;
    Ok(Digest(bytes))
}

fn parse(what: &'static str, text: &str) -> Result<Digest> {
    let Some((algorithm, hex)) = text.split_once(':') else {
        let reason = "expected `sha256:` and 64 hex digits";
        return Err(Error::syntax(what, text, 0, reason));
    };
    if algorithm != ALGORITHM {
        let reason = format!("algorithm {algorithm:?} is not supported, only {ALGORITHM}");
        return Err(Error::syntax(what, text, 0, reason));
    }
    parse_hex(what, text, hex, ALGORITHM.len() + 1)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse("digest", text)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Declares a digest that identifies one kind of thing, so that it cannot be used for another kind by mistake.
///
/// Text form (`Display`, `FromStr`, serde): that of [`Digest`], with `sha256:`.
macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Digest);

        impl $name {
            /// The digest itself.
            pub fn digest(&self) -> &Digest {
                &self.0
            }

            /// 64 lower-case hex digits, without `sha256:`.
            pub fn hex(&self) -> String {
                self.0.hex()
            }
        }

        impl From<Digest> for $name {
            fn from(digest: Digest) -> Self {
                Self(digest)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                parse($what, text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

identity!(
    /// The digest of a layer blob as the registry serves it, usually compressed: the `digest` of a layer
    /// descriptor. Names `.layers/<hh>/<hex>`.
    LayerDigest, "layer digest"
);
identity!(
    /// The digest of an image's configuration, which is the image ID. Names `.flat/<hh>/<hex>`.
    ConfigDigest, "config digest"
);
identity!(
    /// The digest of a layer's uncompressed tar (OCI image-spec, `config.md`, "Layer DiffID").
    DiffId, "DiffID"
);
identity!(
    /// The identity of a stack of layers (OCI image-spec, `config.md`, "Layer ChainID"). Names
    /// `.chains/<hh>/<hex>`, and the snapshot that containerd unpacks the stack into.
    ChainId, "ChainID"
);

impl ChainId {
    /// The ChainID of the bottom layer, which equals its DiffID.
    pub fn base(layer: DiffId) -> Self {
        Self(layer.0)
    }

    /// The ChainID of `layer` on top of this chain: the digest of the text `<this> <layer>`.
    pub fn child(&self, layer: DiffId) -> Self {
        Self(Digest::of(format!("{self} {layer}").as_bytes()))
    }

    /// The ChainIDs of all stacks of an image, bottom first: one for each of `layers`, whose order is that
    /// of the configuration's `rootfs.diff_ids` (base layer first).
    pub fn of_layers(layers: &[DiffId]) -> Vec<Self> {
        let mut chains: Vec<Self> = Vec::with_capacity(layers.len());
        for &layer in layers {
            chains.push(chains.last().map_or(Self::base(layer), |parent| parent.child(layer)));
        }
        chains
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_form_round_trips() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), format!("sha256:{HEX}"));
        assert_eq!(format!("sha256:{HEX}").parse(), Ok(digest));
        assert_eq!(Digest::from_hex(HEX), Ok(digest));
        let json = serde_json::to_string(&DiffId::from(digest)).unwrap();
        assert_eq!(json, format!("\"sha256:{HEX}\""));
        assert_eq!(serde_json::from_str::<DiffId>(&json).unwrap().digest(), &digest);
    }

    #[test]
    fn errors_show_where() {
        let upper = format!("sha256:{}", HEX.to_uppercase());
        let long = format!("sha256:{HEX}00");
        let cases = [
            ("", 0),
            (HEX, 0),
            ("sha512:00", 0),
            ("md5:d41d8cd98f00b204e9800998ecf8427e", 0),
            ("sha256:", 7),
            ("sha256:e3b0", 11),
            ("sha256:../../../../etc/passwd", 7),
            (upper.as_str(), 7),
            (long.as_str(), 71),
            ("sha256:e3\0", 9),
        ];
        for (text, at) in cases {
            match text.parse::<Digest>() {
                Err(Error::Syntax { position, .. }) => assert_eq!(position, at, "{text:?}"),
                other => panic!("{text:?} gave {other:?}"),
            }
        }
        assert!(Digest::from_hex(&format!("sha256:{HEX}")).is_err());
    }

    /// The published example is the expansion in `config.md` of the image-spec:
    /// `ChainID(A|B|C) = Digest(Digest(DiffID(A) + " " + DiffID(B)) + " " + DiffID(C))`. The number was
    /// computed from it with `sha256sum`.
    #[test]
    fn chain_id_is_that_of_the_image_spec() {
        let layer = |text: &str| DiffId::from(Digest::of(text.as_bytes()));
        let (a, b, c) = (layer("a"), layer("b"), layer("c"));
        let ab = Digest::of(format!("{a} {b}").as_bytes());
        let abc = Digest::of(format!("{ab} {c}").as_bytes());
        let chains = ChainId::of_layers(&[a, b, c]);
        assert_eq!(chains, [ChainId(a.0), ChainId(ab), ChainId(abc)]);
        assert_eq!(
            chains[2].hex(),
            "2fce7f8ce91bcf0a1428b36e1024639fdbd9469eea762dba98aa749631885106"
        );
        assert_eq!(ChainId::of_layers(&[]), []);
    }
}
