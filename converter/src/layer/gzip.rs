//! gzip: members one after another, and what may stand behind the last one.
//!
//! Rules: RFC 1952, 2.2, for the members. gzip itself and pigz, with which containerd decompresses layers where it finds
//! it, take NUL bytes up to the end of a file for the padding of a tape or a block device. Whatever else follows a member
//! is an error.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The first byte of every member.
const FIRST: u8 = 0x1f;

/// Reads the content of all members.
pub(super) struct Members<R: BufRead> {
    /// The member that is being read, or the last one. `None` only while it is exchanged for the next.
    member: Option<GzDecoder<R>>,
    ended: bool,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(input: R) -> Self {
        Self { member: Some(GzDecoder::new(input)), ended: false }
    }

    /// Where the members come from.
    pub(super) fn get_mut(&mut self) -> Option<&mut R> {
        self.member.as_mut().map(GzDecoder::get_mut)
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = self.member.as_mut().filter(|_| !self.ended) {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match next_byte(member.get_mut())? {
                Some(FIRST) => {
                    let member = self.member.take();
                    self.member = member.map(|member| GzDecoder::new(member.into_inner()));
                }
                Some(0) => {
                    skip_padding(member.get_mut())?;
                    self.ended = true;
                }
                Some(_) => return Err(broken("something that is not gzip follows its end")),
                None => self.ended = true,
            }
        }
        Ok(0)
    }
}

/// The next byte, which stays there; `None` at the end.
fn next_byte(input: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        match input.fill_buf() {
            Ok(bytes) => return Ok(bytes.first().copied()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads to the end, where only NUL bytes may be.
fn skip_padding(input: &mut impl BufRead) -> io::Result<()> {
    while next_byte(input)?.is_some() {
        let bytes = input.fill_buf()?;
        if bytes.iter().any(|&byte| byte != 0) {
            return Err(broken("something follows the padding behind its end"));
        }
        let count = bytes.len();
        input.consume(count);
    }
    Ok(())
}

fn broken(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
