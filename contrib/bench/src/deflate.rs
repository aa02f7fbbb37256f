//! Which library compresses the content of files: zlib-rs or libdeflate, at which level.
//!
//! Both get whole files in memory and keep their state from one to the next, as the converter's workers do. What
//! counts is processor time, because all processors are kept busy, and the bytes that clients will fetch.

use std::path::{Path, PathBuf};
use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use flate2::{Compress, Compression, FlushCompress, Status};
use libdeflater::{CompressionLvl, Compressor};
use rustix::time::{ClockId, clock_gettime};

use crate::{measure, table};

/// Content of each kind that is compressed, in bytes.
const CORPUS: usize = 24 << 20;

/// The largest content that is compressed at once: the largest chunk of a file.
const LARGEST: usize = 16 << 20;

const SMALL: usize = 4 << 10;

/// Compresses content into a buffer; returns its compressed size in bytes.
type Deflate = dyn FnMut(&[u8], &mut Vec<u8>) -> Result<usize>;

#[derive(Debug, Clone, Copy)]
enum Contender {
    ZlibRs(u32),
    Libdeflate(i32),
}

const CONTENDERS: [Contender; 11] = [
    Contender::ZlibRs(1),
    Contender::ZlibRs(4),
    Contender::ZlibRs(6),
    Contender::ZlibRs(9),
    Contender::Libdeflate(1),
    Contender::Libdeflate(3),
    Contender::Libdeflate(4),
    Contender::Libdeflate(5),
    Contender::Libdeflate(6),
    Contender::Libdeflate(7),
    Contender::Libdeflate(9),
];

/// Compares the libraries on files of this machine.
pub(crate) fn run(rounds: usize) -> Result<()> {
    let text = files(&["/usr/include", "/usr/lib/python3", "/usr/share/perl"], is_text)?;
    let binaries = files(&["/usr/bin", "/usr/lib/x86_64-linux-gnu"], is_elf)?;
    let small = |contents: &[Vec<u8>]| {
        let pieces = contents.iter().flat_map(|content| content.chunks_exact(SMALL));
        pieces.map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    for (name, contents) in [
        ("source text", &text),
        ("ELF files", &binaries),
        ("4 KiB of source text", &small(&text)),
        ("4 KiB of ELF files", &small(&binaries)),
    ] {
        compare(name, contents, rounds)?;
    }
    Ok(())
}

fn compare(name: &str, contents: &[Vec<u8>], rounds: usize) -> Result<()> {
    let bytes = contents.iter().map(Vec::len).sum::<usize>();
    let results =
        measure::in_turn(rounds, CONTENDERS.len(), |side| CONTENDERS[side].compress(contents))?;
    let rows: Vec<_> = CONTENDERS
        .iter()
        .zip(results)
        .map(|(contender, results)| {
            let stored = results.first().map_or(0, |(stored, _)| *stored);
            let seconds = measure::median(results.iter().map(|(_, time)| time.as_secs_f64()));
            vec![
                contender.to_string(),
                format!("{:.2} %", 100.0 * stored as f64 / bytes as f64),
                format!("{:.0}", bytes as f64 / 1e6 / seconds),
            ]
        })
        .collect();
    let headline =
        format!("Deflate: {name}, {} contents, {:.0} MB", contents.len(), bytes as f64 / 1e6);
    table::print(&headline, &["library and level", "stored", "MB/s per processor"], &rows);
    Ok(())
}

impl Contender {
    /// Compresses everything; returns the total compressed size in bytes and the processor time.
    fn compress(self, contents: &[Vec<u8>]) -> Result<(usize, Duration)> {
        let mut compress: Box<Deflate> = match self {
            Self::ZlibRs(level) => {
                let mut state = Compress::new(Compression::new(level), true);
                Box::new(move |content, stored| {
                    state.reset();
                    let status = state.compress(content, stored, FlushCompress::Finish)?;
                    ensure!(status == Status::StreamEnd, "the buffer is too small");
                    Ok(usize::try_from(state.total_out())?)
                })
            }
            Self::Libdeflate(level) => {
                let level = CompressionLvl::new(level).ok().context("no such level")?;
                let mut state = Compressor::new(level);
                Box::new(move |content, stored| Ok(state.zlib_compress(content, stored)?))
            }
        };
        let mut stored = vec![0; LARGEST + LARGEST / 8];
        let begin = processor_time();
        let mut sum = 0;
        for content in contents {
            sum += compress(content, &mut stored)?;
        }
        Ok((sum, processor_time() - begin))
    }
}

impl std::fmt::Display for Contender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ZlibRs(level) => write!(f, "zlib-rs {level}"),
            Self::Libdeflate(level) => write!(f, "libdeflate {level}"),
        }
    }
}

/// The processor time that this thread has used so far.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// The wanted files below `directories`, in the order of their paths, until there are [`CORPUS`] bytes.
fn files(directories: &[&str], wanted: fn(&[u8]) -> bool) -> Result<Vec<Vec<u8>>> {
    let mut contents = Vec::new();
    let mut bytes = 0;
    for directory in directories {
        add(Path::new(directory), wanted, &mut contents, &mut bytes)
            .with_context(|| format!("cannot read {directory}"))?;
    }
    ensure!(!contents.is_empty(), "nothing to compress in {directories:?}");
    Ok(contents)
}

fn add(
    directory: &Path,
    wanted: fn(&[u8]) -> bool,
    contents: &mut Vec<Vec<u8>>,
    bytes: &mut usize,
) -> Result<()> {
    let mut paths = fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<PathBuf>, _>>()?;
    paths.sort_unstable();
    for path in paths {
        let metadata = fs::symlink_metadata(&path)?;
        if *bytes >= CORPUS {
            break;
        }
        if metadata.is_dir() {
            add(&path, wanted, contents, bytes)?;
        } else if metadata.is_file() && (1..=LARGEST as u64).contains(&metadata.len()) {
            let content = fs::read(&path)?;
            if wanted(&content) {
                *bytes += content.len();
                contents.push(content);
            }
        }
    }
    Ok(())
}

fn is_elf(content: &[u8]) -> bool {
    content.starts_with(b"\x7fELF")
}

fn is_text(content: &[u8]) -> bool {
    str::from_utf8(content).is_ok()
}
