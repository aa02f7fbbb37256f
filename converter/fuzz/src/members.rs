//! Members of a tar as bytes: a form in which a change of any byte is a change of what a member says.

use crate::tar::{BLOCK, Header, Tar};

/// Keywords that the reader knows; one more byte of input than there are stands for one of the input's own.
const KEYWORDS: [&str; 17] = [
    "path",
    "linkpath",
    "size",
    "uid",
    "gid",
    "mtime",
    "SCHILY.xattr.user.a",
    "SCHILY.xattr.trusted.overlay.opaque",
    "GNU.sparse.major",
    "GNU.sparse.minor",
    "GNU.sparse.name",
    "GNU.sparse.realsize",
    "GNU.sparse.size",
    "GNU.sparse.numblocks",
    "GNU.sparse.map",
    "GNU.sparse.offset",
    "GNU.sparse.numbytes",
];

/// Most members that an input stands for.
const MOST: usize = 40;
/// Contents that are not the input's own are shorter.
const LONGEST: usize = 4096;

// Bits of a member's first byte.
const GNU: u8 = 1;
const V7: u8 = 2;
const LONG_NAME: u8 = 4;
const LONG_LINK: u8 = 8;
const RECORDS: u8 = 16;
/// The input says what the size field says.
const SIZE: u8 = 32;
/// The input has bytes for somewhere in the header.
const FIELD: u8 = 64;
/// The content is the input's own; else it is as long as the input says.
const CONTENT: u8 = 128;

/// The tar that any bytes stand for; what is missing at their end is zero or empty.
pub fn tar(bytes: &[u8]) -> Vec<u8> {
    let mut rest = Cursor(bytes);
    let mut tar = Tar::new();
    let mut members = 0;
    while !rest.0.is_empty() && members < MOST {
        tar = member(&mut rest, tar);
        members += 1;
    }
    tar.end()
}

fn member(rest: &mut Cursor<'_>, mut tar: Tar) -> Tar {
    let says = rest.byte();
    let flag = rest.byte();
    let (name, link) = (rest.bytes(), rest.bytes());
    if says & RECORDS != 0 {
        let records = (0..rest.byte() % 8).map(|_| rest.record()).collect::<Vec<_>>();
        let records: Vec<_> = records.iter().map(|(key, value)| (key.as_str(), value)).collect();
        tar = tar.pax(&records);
    }
    if says & LONG_NAME != 0 {
        tar = tar.long_name(name);
    }
    if says & LONG_LINK != 0 {
        tar = tar.long_link(link);
    }
    let mut header = Header::new(flag, name).link(&link[..link.len().min(100)]);
    if says & GNU != 0 {
        header = header.gnu();
    }
    if says & V7 != 0 {
        header = header.v7();
    }
    if says & FIELD != 0 {
        let (at, field) = (usize::from(rest.number()) % BLOCK, rest.bytes());
        header = header.bytes(at, &field[..field.len().min(BLOCK - at)]);
    }
    let content = if says & CONTENT != 0 {
        rest.bytes().to_vec()
    } else {
        vec![b'c'; usize::from(rest.number()) % LONGEST]
    };
    if says & SIZE == 0 {
        return tar.member(header, content);
    }
    let size = rest.number().into();
    tar.header(header.size(size)).raw(content).pad()
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// As many bytes as the next one says, or two if it says 255.
    fn bytes(&mut self) -> &'a [u8] {
        let length = match self.byte() {
            u8::MAX => self.number().into(),
            length => usize::from(length),
        };
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn record(&mut self) -> (String, Vec<u8>) {
        let keyword = match KEYWORDS.get(usize::from(self.byte()) % (KEYWORDS.len() + 1)) {
            Some(keyword) => (*keyword).to_owned(),
            None => self.bytes().iter().copied().map(char::from).collect(),
        };
        (keyword, self.bytes().to_vec())
    }
}

/// Writes the bytes that stand for members.
#[derive(Default)]
pub(crate) struct Members(Vec<u8>);

impl Members {
    /// A member as simple as its type.
    pub(crate) fn plain(self, flag: u8, name: &str, link: &str, content: u16) -> Self {
        self.start(0, flag, name, link).number(content)
    }

    /// A member with a PAX header; records are those of the keywords' numbers.
    pub(crate) fn with_records(self, name: &str, records: &[(&str, &str)], content: &[u8]) -> Self {
        let mut members = self.start(RECORDS | CONTENT, b'0', name, "");
        members.0.push(u8::try_from(records.len()).expect("few records"));
        for (key, value) in records {
            let number = KEYWORDS.iter().position(|keyword| keyword == key);
            members.0.push(number.and_then(|number| u8::try_from(number).ok()).expect("a keyword"));
            members = members.bytes(value.as_bytes());
        }
        members.bytes(content)
    }

    /// A member with a long name and a long link target in the GNU format.
    pub(crate) fn long(self, flag: u8, name: &str, link: &str) -> Self {
        self.start(GNU | LONG_NAME | LONG_LINK, flag, name, link).number(0)
    }

    /// A member with bytes at an offset of its GNU header.
    pub(crate) fn with_field(
        self,
        flag: u8,
        name: &str,
        at: u16,
        field: &[u8],
        content: u16,
    ) -> Self {
        self.start(GNU | FIELD, flag, name, "").number(at).bytes(field).number(content)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn start(mut self, says: u8, flag: u8, name: &str, link: &str) -> Self {
        self.0.extend([says, flag]);
        self.bytes(name.as_bytes()).bytes(link.as_bytes())
    }

    fn number(mut self, number: u16) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        if bytes.len() < usize::from(u8::MAX) {
            self.0.push(bytes.len() as u8);
        } else {
            self.0.push(u8::MAX);
            self = self.number(u16::try_from(bytes.len()).expect("a short text"));
        }
        self.0.extend_from_slice(bytes);
        self
    }
}
