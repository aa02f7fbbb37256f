//! The format of `docker save`: a tar of `manifest.json`, the config and the uncompressed layers.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use serde_json::json;
use tar::{Builder, Header};

use super::layer::{Compression, Layer};
use super::manifest::Image;

/// Writes `image` to `file` under the reference `name` (`repository:tag`).
pub fn write_docker_archive(file: &Path, name: &str, image: &Image) -> Result<()> {
    let out = File::create(file).with_context(|| format!("making {}", file.display()))?;
    let mut archive = Builder::new(BufWriter::new(out));
    let config_name = format!("{}.json", image.config.hex());
    let mut layer_names = Vec::new();
    for layer in &image.layers {
        let name = format!("{}/layer.tar", layer.diff_id.trim_start_matches("sha256:"));
        if !layer_names.contains(&name) {
            let mut tar = tempfile::tempfile()?;
            let size = io::copy(&mut uncompressed(layer)?, &mut tar)?;
            io::Seek::rewind(&mut tar)?;
            append(&mut archive, &name, size, &mut tar)?;
        }
        layer_names.push(name);
    }
    let config = image.config.bytes()?;
    append(&mut archive, &config_name, config.len() as u64, &mut config.as_slice())?;
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": layer_names}]);
    let manifest = serde_json::to_vec(&manifest)?;
    append(&mut archive, "manifest.json", manifest.len() as u64, &mut manifest.as_slice())?;
    archive.into_inner()?.flush()?;
    Ok(())
}

fn uncompressed(layer: &Layer) -> Result<Box<dyn Read>> {
    let blob = layer.blob.open()?;
    Ok(match layer.compression {
        Compression::Gzip => Box::new(GzDecoder::new(blob)),
        Compression::Zstd => Box::new(zstd::Decoder::new(blob)?),
        Compression::None => blob,
    })
}

fn append(
    archive: &mut Builder<BufWriter<File>>,
    name: &str,
    size: u64,
    data: &mut dyn Read,
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive
        .append_data(&mut header, name, data)
        .with_context(|| format!("adding {name} to a docker-archive"))
}
