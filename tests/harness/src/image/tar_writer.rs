//! Writes entries as a tar stream: POSIX.1-2001 (PAX) with GNU's forms for sparse files and, on request, long names.
//!
//! The `tar` crate refuses to write the paths, records and types of hostile images, so headers are laid out here; the
//! crate still provides the field formats and the checksum.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::entry::{Content, Entry, Kind, Sparse};

/// The size of a tar block in bytes.
const BLOCK: usize = 512;
/// Longest name that fits into the header's own field.
const NAME_FIELD: usize = 100;
/// Largest id that seven octal digits can represent.
const MAX_ID: u64 = 0o777_7777;
/// Largest size and time that eleven octal digits can represent.
const MAX_NUMBER: u64 = 0o777_7777_7777;

/// How names longer than the header's field are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LongNames {
    /// PAX records `path` and `linkpath`.
    #[default]
    Pax,
    /// GNU tar's entries of type `L` and `K`.
    Gnu,
}

/// A tar stream that is being written.
#[derive(Debug)]
pub struct TarWriter<W: Write> {
    out: W,
    long_names: LongNames,
}

impl<W: Write> TarWriter<W> {
    /// Starts a stream.
    pub fn new(out: W, long_names: LongNames) -> Self {
        Self { out, long_names }
    }

    /// Appends one entry with its data.
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if let Kind::Raw(bytes) = &entry.kind {
            return self.out.write_all(bytes);
        }
        let mut path = entry.path.clone();
        if matches!(entry.kind, Kind::Dir) && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let link = match &entry.kind {
            Kind::Symlink(target) | Kind::HardLink(target) => target.as_slice(),
            _ => b"",
        };
        let body = Body::of(entry);
        let mut records = self.records(entry, &path, link, &body);
        records.extend(entry.records.iter().cloned());
        if self.long_names == LongNames::Gnu {
            self.gnu_long(b'L', &path)?;
            self.gnu_long(b'K', link)?;
        }
        if !records.is_empty() {
            let data: Vec<u8> =
                records.iter().flat_map(|(key, value)| record(key, value)).collect();
            let mut header = Header::new_ustar();
            set_name(&mut header, b"PaxHeaders/entry");
            header.set_entry_type(EntryType::XHeader);
            header.set_mode(0o644);
            header.set_size(data.len() as u64);
            self.header(&mut header)?;
            self.data(&data)?;
        }
        self.header(&mut body.header(entry, &path, link))?;
        for block in &body.extended {
            self.out.write_all(block)?;
        }
        match &body.data {
            Data::Bytes(bytes) => self.data(bytes),
            Data::Content(content) => self.content(content),
        }
    }

    /// Ends the stream with two empty blocks and returns the underlying writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn records(
        &self,
        entry: &Entry,
        path: &[u8],
        link: &[u8],
        body: &Body,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut records = Vec::new();
        let mut add = |key: &[u8], value: Vec<u8>| records.push((key.to_vec(), value));
        let pax_names = self.long_names == LongNames::Pax;
        if pax_names && path.len() > NAME_FIELD && !body.names_itself {
            add(b"path", path.to_vec());
        }
        if pax_names && link.len() > NAME_FIELD {
            add(b"linkpath", link.to_vec());
        }
        if body.size() > MAX_NUMBER {
            add(b"size", body.size().to_string().into_bytes());
        }
        if entry.uid > MAX_ID {
            add(b"uid", entry.uid.to_string().into_bytes());
        }
        if entry.gid > MAX_ID {
            add(b"gid", entry.gid.to_string().into_bytes());
        }
        if entry.mtime.nanos != 0 || entry.mtime.seconds < 0 {
            add(b"mtime", decimal_time(entry).into_bytes());
        }
        for (name, value) in &entry.xattrs {
            add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value.clone());
        }
        for (key, value) in &body.records {
            add(key.as_bytes(), value.clone());
        }
        records
    }

    fn gnu_long(&mut self, kind: u8, name: &[u8]) -> io::Result<()> {
        if name.len() <= NAME_FIELD {
            return Ok(());
        }
        let mut header = Header::new_gnu();
        set_name(&mut header, b"././@LongLink");
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0);
        header.set_size(name.len() as u64 + 1);
        self.header(&mut header)?;
        self.data(&[name, b"\0"].concat())
    }

    fn header(&mut self, header: &mut Header) -> io::Result<()> {
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn content(&mut self, content: &Content) -> io::Result<()> {
        const CHUNK: usize = 64 * 1024;
        let mut left = content.size();
        let mut state = match content {
            Content::Bytes(bytes) => return self.data(bytes),
            Content::Noise { seed, .. } => Some(seed.wrapping_mul(2).wrapping_add(1)),
            Content::Zeros(_) => None,
        };
        let mut chunk = vec![0; CHUNK];
        while left > 0 {
            if let Some(state) = &mut state {
                noise(state, &mut chunk);
            }
            let take = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            self.out.write_all(&chunk[..take])?;
            left -= take as u64;
        }
        self.pad(content.size())
    }

    fn pad(&mut self, written: u64) -> io::Result<()> {
        let rest = (written % BLOCK as u64) as usize;
        if rest == 0 { Ok(()) } else { self.out.write_all(&[0; BLOCK][rest..]) }
    }
}

/// xorshift64*: fast and incompressible.
fn noise(state: &mut u64, chunk: &mut [u8]) {
    for word in chunk.chunks_mut(8) {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        let bytes = state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
        word.copy_from_slice(&bytes[..word.len()]);
    }
}

enum Data<'a> {
    Bytes(Vec<u8>),
    Content(&'a Content),
}

/// The data that follows an entry's header, and what the header must say about it.
struct Body<'a> {
    kind: u8,
    device: Option<(u32, u32)>,
    /// Whether the PAX records carry the name themselves.
    names_itself: bool,
    records: Vec<(&'static str, Vec<u8>)>,
    /// For the old GNU form of sparse files: the real size and the map.
    sparse: Option<(u64, Vec<(u64, u64)>)>,
    /// Extension blocks of the header.
    extended: Vec<[u8; BLOCK]>,
    data: Data<'a>,
}

impl<'a> Body<'a> {
    fn of(entry: &'a Entry) -> Self {
        let plain = |kind: u8, device| Body {
            kind,
            device,
            names_itself: false,
            records: Vec::new(),
            sparse: None,
            extended: Vec::new(),
            data: Data::Bytes(Vec::new()),
        };
        match &entry.kind {
            Kind::Dir => plain(b'5', None),
            Kind::File(content) => Body { data: Data::Content(content), ..plain(b'0', None) },
            Kind::Symlink(_) => plain(b'2', None),
            Kind::HardLink(_) => plain(b'1', None),
            Kind::CharDevice(major, minor) => plain(b'3', Some((*major, *minor))),
            Kind::BlockDevice(major, minor) => plain(b'4', Some((*major, *minor))),
            Kind::Fifo => plain(b'6', None),
            Kind::Other(kind, data) => {
                Body { data: Data::Bytes(data.clone()), ..plain(*kind, None) }
            }
            // Written as it is, before a body is needed.
            Kind::Raw(bytes) => Body { data: Data::Bytes(bytes.clone()), ..plain(b'0', None) },
            Kind::SparseFile { size, data, form: Sparse::OldGnu } => {
                let map = sparse_map(*size, data);
                let runs = data.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
                let extended = map.get(4..).unwrap_or_default().chunks(21);
                let count = extended.len();
                let extended = extended
                    .enumerate()
                    .map(|(i, runs)| extended_header(runs, i + 1 < count))
                    .collect();
                Body {
                    sparse: Some((*size, map)),
                    extended,
                    data: Data::Bytes(runs),
                    ..plain(b'S', None)
                }
            }
            Kind::SparseFile { size, data, form: Sparse::Pax } => {
                let map = sparse_map(*size, data);
                let numbers = map.iter().map(|(offset, length)| format!("{offset}\n{length}\n"));
                let mut bytes =
                    format!("{}\n{}", map.len(), numbers.collect::<String>()).into_bytes();
                bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
                bytes.extend(data.iter().flat_map(|(_, run)| run.iter().copied()));
                let records = vec![
                    ("GNU.sparse.major", b"1".to_vec()),
                    ("GNU.sparse.minor", b"0".to_vec()),
                    ("GNU.sparse.name", entry.path.clone()),
                    ("GNU.sparse.realsize", size.to_string().into_bytes()),
                ];
                Body { names_itself: true, records, data: Data::Bytes(bytes), ..plain(b'0', None) }
            }
        }
    }

    /// Bytes of data after the header.
    fn size(&self) -> u64 {
        match &self.data {
            Data::Bytes(bytes) => bytes.len() as u64,
            Data::Content(content) => content.size(),
        }
    }

    fn header(&self, entry: &Entry, path: &[u8], link: &[u8]) -> Header {
        let mut header =
            if self.sparse.is_some() { Header::new_gnu() } else { Header::new_ustar() };
        set_name(&mut header, path);
        let old = header.as_old_mut();
        let length = link.len().min(NAME_FIELD);
        old.linkname[..length].copy_from_slice(&link[..length]);
        header.set_entry_type(EntryType::new(self.kind));
        header.set_mode(entry.mode);
        header.set_uid(entry.uid.min(MAX_ID));
        header.set_gid(entry.gid.min(MAX_ID));
        header.set_mtime(u64::try_from(entry.mtime.seconds).unwrap_or_default());
        header.set_size(self.size().min(MAX_NUMBER));
        if let (Some((major, minor)), Some(ustar)) = (self.device, header.as_ustar_mut()) {
            ustar.set_device_major(major);
            ustar.set_device_minor(minor);
        }
        if let (Some((size, map)), Some(gnu)) = (&self.sparse, header.as_gnu_mut()) {
            for (field, (offset, length)) in gnu.sparse.iter_mut().zip(map) {
                field.offset.copy_from_slice(&octal(*offset));
                field.numbytes.copy_from_slice(&octal(*length));
            }
            gnu.set_real_size(*size);
            gnu.set_is_extended(!self.extended.is_empty());
        }
        header
    }
}

/// Runs of data; a run of length 0 marks the end of the file.
fn sparse_map(size: u64, data: &[(u64, Vec<u8>)]) -> Vec<(u64, u64)> {
    data.iter().map(|(offset, bytes)| (*offset, bytes.len() as u64)).chain([(size, 0)]).collect()
}

/// A block of up to 21 runs; the byte after them says whether another block follows.
fn extended_header(runs: &[(u64, u64)], more: bool) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    for (field, (offset, length)) in block.chunks_exact_mut(24).zip(runs) {
        field[..12].copy_from_slice(&octal(*offset));
        field[12..].copy_from_slice(&octal(*length));
    }
    block[504] = u8::from(more);
    block
}

fn octal(number: u64) -> [u8; 12] {
    let mut field = [0; 12];
    field[..11].copy_from_slice(format!("{number:011o}").as_bytes());
    field
}

fn set_name(header: &mut Header, path: &[u8]) {
    let length = path.len().min(NAME_FIELD);
    header.as_old_mut().name[..length].copy_from_slice(&path[..length]);
}

/// One PAX record, `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} ").as_bytes(), key, b"=", value, b"\n"].concat()
}

fn decimal_time(entry: &Entry) -> String {
    let total = i128::from(entry.mtime.seconds) * 1_000_000_000 + i128::from(entry.mtime.nanos);
    let sign = if total < 0 { "-" } else { "" };
    let total = total.unsigned_abs();
    format!("{sign}{}.{:09}", total / 1_000_000_000, total % 1_000_000_000)
}
