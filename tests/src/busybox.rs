//! The smallest image that runs: a static busybox. It is also the sandbox image, which only has to sleep.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::image::{Compression, Config, Entry, Format, Image, Layer, push};
use crate::registry::Registry;
use crate::tools;

/// Commands that tests call by their own names.
const APPLETS: [&str; 17] = [
    "sh", "cat", "echo", "ls", "sleep", "stat", "touch", "rm", "mkdir", "find", "id", "env",
    "readlink", "sync", "true", "false", "wc",
];

/// A root file system with busybox and a link for each of some of its commands.
pub fn entries() -> Result<Vec<Entry>> {
    let program = fs::read(tools::host("busybox")?)?;
    let mut entries = vec![
        Entry::dir("bin"),
        Entry::program("bin/busybox", program),
        Entry::dir("dev"),
        Entry::dir("etc"),
        Entry::file("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"),
        Entry::file("etc/group", "root:x:0:\n"),
        Entry::dir("proc"),
        Entry::dir("sys"),
        Entry::dir("tmp").mode(0o1777),
    ];
    entries.extend(APPLETS.map(|applet| Entry::symlink(format!("bin/{applet}"), "busybox")));
    Ok(entries)
}

/// A layer of [`entries`].
pub fn layer(dir: &Path) -> Result<Layer> {
    Layer::build(dir, Compression::Gzip, &entries()?)
}

/// Pushes a sandbox image; returns its reference.
pub fn push_sandbox(registry: &Registry, dir: &Path) -> Result<String> {
    let image =
        Image::new(Format::Oci, Config::with_cmd(["/bin/sleep", "2147483647"]), &[layer(dir)?])?;
    push(registry, "sandbox:1", &image)?;
    Ok(registry.reference("sandbox:1"))
}
