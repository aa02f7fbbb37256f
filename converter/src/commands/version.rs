//! `ducc version`.

/// Prints the version alone, as DUCC does.
pub(crate) fn run() -> anyhow::Result<()> {
    crate::screen::say(env!("CARGO_PKG_VERSION"));
    Ok(())
}
