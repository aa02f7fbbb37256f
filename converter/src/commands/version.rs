//! `ducc version`.

/// Prints the version alone, as DUCC does.
pub(crate) fn run() -> anyhow::Result<()> {
    println!("{}", env!("CARGO_PKG_VERSION"));
    Ok(())
}
