//! `ducc create-podman-store`: DUCC's, which says what to use instead.

use anyhow::bail;

/// Refuses.
pub(crate) fn run() -> anyhow::Result<()> {
    bail!(
        "this version makes no Podman store, so nothing was done: run an image's flat root directly (podman run --rootfs \
         --read-only /cvmfs/REPOSITORY/IMAGE, or apptainer exec /cvmfs/REPOSITORY/IMAGE)"
    )
}
