//! Builds tars byte by byte, so that they can contain what no tool would write.

/// The size of a header in bytes, and the unit to which content is padded.
pub(crate) const BLOCK: usize = 512;

/// The 512 bytes of a header. It starts as that of a file: mode 0644, owner 0:0, time 0.
#[derive(Clone)]
pub(crate) struct Header([u8; BLOCK]);

impl Header {
    /// A header of the given type, in the POSIX format. Names over 100 bytes are cut.
    pub(crate) fn new(flag: u8, name: impl AsRef<[u8]>) -> Self {
        Self([0; BLOCK])
            .bytes(0, &name.as_ref()[..name.as_ref().len().min(100)])
            .octal(100, 8, 0o644)
            .octal(108, 8, 0)
            .octal(116, 8, 0)
            .octal(124, 12, 0)
            .octal(136, 12, 0)
            .bytes(156, &[flag])
            .bytes(257, b"ustar\x0000")
            .octal(329, 8, 0)
            .octal(337, 8, 0)
    }

    /// Changes it to the GNU format.
    pub(crate) fn gnu(self) -> Self {
        self.bytes(257, b"ustar  \0")
    }

    /// Changes it to the Unix V7 format.
    pub(crate) fn v7(self) -> Self {
        self.bytes(257, &[0; 8]).bytes(329, &[0; 16])
    }

    /// Writes bytes at an offset.
    pub(crate) fn bytes(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn octal(self, at: usize, width: usize, value: u64) -> Self {
        let digits = width - 1;
        self.bytes(at, format!("{value:0digits$o}\0").as_bytes())
    }

    /// The target of a link.
    pub(crate) fn link(self, target: impl AsRef<[u8]>) -> Self {
        self.bytes(157, target.as_ref())
    }

    /// Permissions.
    pub(crate) fn mode(self, mode: u64) -> Self {
        self.octal(100, 8, mode)
    }

    /// Owner and group.
    pub(crate) fn owner(self, uid: u64, gid: u64) -> Self {
        self.octal(108, 8, uid).octal(116, 8, gid)
    }

    /// Seconds since 1970.
    pub(crate) fn mtime(self, seconds: u64) -> Self {
        self.octal(136, 12, seconds)
    }

    /// The size field, true or not.
    pub(crate) fn size(self, size: u64) -> Self {
        self.octal(124, 12, size)
    }

    /// Major and minor number.
    pub(crate) fn device(self, major: u64, minor: u64) -> Self {
        self.octal(329, 8, major).octal(337, 8, minor)
    }

    /// The field before the name.
    pub(crate) fn prefix(self, prefix: impl AsRef<[u8]>) -> Self {
        self.bytes(345, prefix.as_ref())
    }

    /// The bytes, with the right checksum.
    pub(crate) fn finish(mut self) -> [u8; BLOCK] {
        fix_checksum(&mut self.0);
        self.0
    }
}

/// Gives a header the right checksum.
pub(crate) fn fix_checksum(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A tar that is being built.
#[derive(Clone, Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    /// An empty tar.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends bytes as they are.
    pub(crate) fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    /// Fills up to a full block.
    pub(crate) fn pad(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    /// A header alone, with the right checksum.
    pub(crate) fn header(self, header: Header) -> Self {
        self.raw(header.finish())
    }

    /// A header, with the size of the content, and the content.
    pub(crate) fn member(self, header: Header, content: impl AsRef<[u8]>) -> Self {
        let size = content.as_ref().len() as u64;
        self.header(header.size(size)).raw(content).pad()
    }

    /// A regular file.
    pub(crate) fn file(self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.member(Header::new(b'0', name), content)
    }

    /// A directory with mode 0755.
    pub(crate) fn directory(self, name: impl AsRef<[u8]>) -> Self {
        self.header(Header::new(b'5', name).mode(0o755))
    }

    /// A symbolic link.
    pub(crate) fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.with_link(b'2', name, target)
    }

    /// A hard link.
    pub(crate) fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.with_link(b'1', name, target)
    }

    fn with_link(self, flag: u8, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let target = target.as_ref();
        let tar = if target.len() > 100 { self.pax(&[("linkpath", target)]) } else { self };
        tar.header(Header::new(flag, name).link(&target[..target.len().min(100)]))
    }

    /// A PAX header for the next member.
    pub(crate) fn pax<V: AsRef<[u8]>>(self, records: &[(&str, V)]) -> Self {
        let content: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.member(Header::new(b'x', "PaxHeaders/next"), content)
    }

    /// A PAX header for all members that follow.
    pub(crate) fn global<V: AsRef<[u8]>>(self, records: &[(&str, V)]) -> Self {
        let content: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.member(Header::new(b'g', "pax_global_header"), content)
    }

    /// A GNU long name for the next member.
    pub(crate) fn long_name(self, name: impl AsRef<[u8]>) -> Self {
        self.long(b'L', name)
    }

    /// A GNU long link target for the next member.
    pub(crate) fn long_link(self, target: impl AsRef<[u8]>) -> Self {
        self.long(b'K', target)
    }

    fn long(self, flag: u8, text: impl AsRef<[u8]>) -> Self {
        self.member(Header::new(flag, "././@LongLink").gnu(), [text.as_ref(), b"\0"].concat())
    }

    /// The two blocks of zeros that end a tar.
    pub(crate) fn end(self) -> Vec<u8> {
        self.raw([0; 2 * BLOCK]).0
    }

    /// The bytes so far, without an end.
    pub(crate) fn open(self) -> Vec<u8> {
        self.0
    }
}

/// A PAX record: `<length> <key>=<value>\n`, the length counting itself.
pub(crate) fn record(key: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value.as_ref(), b"\n"].concat();
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &rest].concat()
}
