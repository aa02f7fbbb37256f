//! The least that publishing new content can cost: the layers are decompressed, and on all processors their files are
//! deflated as objects are, hashed with SHA-1, and written as files named by their hash.
//!
//! The tar is parsed only to find the content of its files. There are no names, attributes, layer digests or catalogs,
//! and no care is taken for the case that it is killed.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow};
use flate2::bufread::MultiGzDecoder;
use libdeflater::{CompressionLvl, Compressor};
use sha1::{Digest, Sha1};

/// As in `cvmfs_repository::objects`.
const LEVEL: i32 = 6;
/// Larger files are cut into pieces of this many bytes.
const PIECE: u64 = 1 << 20;
/// How many pieces may wait for a processor.
const WAITING: usize = 128;

/// Stores the content of all files in gzip-compressed layers below `out`.
pub(crate) fn run(out: &Path, layers: &[PathBuf]) -> Result<()> {
    for prefix in 0..=u8::MAX {
        fs::create_dir_all(out.join(hex::encode([prefix])))?;
    }
    let processors = thread::available_parallelism()?.get();
    let (sender, pieces) = sync_channel(WAITING);
    let pieces = Mutex::new(pieces);
    let layers = Mutex::new(layers.iter());
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..processors {
            threads.push(scope.spawn(|| store(&pieces, out)));
            let sender = sender.clone();
            let layers = &layers;
            threads.push(scope.spawn(move || {
                loop {
                    let layer = layers.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(layer) = layer else { return Ok(()) };
                    read(layer, &sender).with_context(|| format!("reading {}", layer.display()))?;
                }
            }));
        }
        drop(sender);
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })
}

fn read(layer: &Path, pieces: &SyncSender<Vec<u8>>) -> Result<()> {
    let blob = BufReader::with_capacity(1 << 16, File::open(layer)?);
    let mut tar = tar::Archive::new(MultiGzDecoder::new(blob));
    for entry in tar.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let mut rest = entry.size();
        loop {
            let size = rest.min(PIECE);
            let mut piece = vec![0; usize::try_from(size)?];
            entry.read_exact(&mut piece)?;
            pieces.send(piece)?;
            rest -= size;
            if rest == 0 {
                break;
            }
        }
    }
    Ok(())
}

fn store(pieces: &Mutex<Receiver<Vec<u8>>>, out: &Path) -> Result<()> {
    let level = CompressionLvl::new(LEVEL).map_err(|error| anyhow!("level {LEVEL}: {error:?}"))?;
    let mut compressor = Compressor::new(level);
    let mut stored = Vec::new();
    loop {
        let piece = pieces.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(piece) = piece else { return Ok(()) };
        let bound = compressor.zlib_compress_bound(piece.len());
        if stored.len() < bound {
            stored.resize(bound, 0);
        }
        let size = compressor.zlib_compress(&piece, &mut stored)?;
        let hash = hex::encode(Sha1::digest(&stored[..size]));
        let (prefix, name) = hash.split_at(2);
        fs::write(out.join(prefix).join(name), &stored[..size])?;
    }
}
