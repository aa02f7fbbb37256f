//! What can be wrong with a layer's content.

/// The result of this room's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A layer that cannot or must not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream ended early or could not be read or decompressed.
    #[error("cannot read the layer's tar")]
    Read(#[from] std::io::Error),
}
