//! Why keys could not be read, and why an image is refused.

use std::path::PathBuf;

use layer_layout::Digest;

/// Why the keys of a policy could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read the key {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// A file is not a public key in PEM form.
    #[error("{name} is not a public key: {reason}; cosign writes one into cosign.pub")]
    NotAKey {
        /// The file.
        name: String,
        /// What it is instead.
        reason: String,
    },
    /// A key is of a kind that is not supported.
    #[error(
        "{name} holds a key of an unsupported kind ({kind}); usable are ECDSA P-256 and P-384, Ed25519, and RSA with 2048 to 8192 bits"
    )]
    Kind {
        /// The file.
        name: String,
        /// Its kind, as an object identifier.
        kind: String,
    },
    /// No key was given.
    #[error("a policy needs at least one public key")]
    NoKeys,
}

/// Why an image does not meet the policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody has signed it.
    #[error("there is no signature for {digest}; sign it with `cosign sign --key`")]
    NoSignature {
        /// The manifest, or the index that it was found in.
        digest: Digest,
    },
    /// Only others have signed it.
    #[error("none of the {signatures} signatures for {digest} is by {}", keys.join(" or "))]
    WrongKey {
        /// The manifest, or the index that it was found in.
        digest: Digest,
        /// How many signatures there are.
        signatures: usize,
        /// The files with the keys that would do.
        keys: Vec<String>,
    },
    /// A signature by one of the keys was put at an image that it is not for.
    #[error("the signature at {digest} is for {signed}")]
    OtherDigest {
        /// The manifest, or the index that it was found in.
        digest: Digest,
        /// What was signed.
        signed: String,
    },
    /// There are no signatures in files.
    #[error(
        "a layout or archive holds no signature that could be checked; publish it from a registry"
    )]
    NotInARegistry,
}
