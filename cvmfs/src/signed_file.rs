//! The form that manifest and whitelist share: lines of text, a line `--`, a line with the hash of the text, and
//! then a signature of that hash, up to the end of the file.
//!
//! The hash covers everything before the line `--`, including the line feed that ends the last line. What is signed
//! are the characters of the hash (without a line feed), so a signature is only as strong as the hash. How they are
//! signed differs between the two files.

use crate::hash::{Algorithm, ContentHash};
use crate::{Error, Result};

/// What separates the text from its hash.
const MARK: &[u8] = b"\n--\n";

/// A signed file, taken apart. Nothing is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedFile {
    /// The lines, every one with its line feed.
    text: Vec<u8>,
    /// The hash of the text as it is printed in the file: this is the message that is signed.
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl SignedFile {
    /// Takes a file apart; `what` is named in errors.
    pub(crate) fn parse(file: &[u8], what: &str) -> Result<Self> {
        let corrupt =
            |reason: &str| Error::Corrupt { what: what.to_owned(), reason: reason.to_owned() };
        let end =
            find(file, MARK).ok_or_else(|| corrupt("it has no line `--`: it is not signed"))?;
        let (text, rest) = file.split_at(end + 1);
        let rest = &rest[MARK.len() - 1..];
        let end =
            find(rest, b"\n").ok_or_else(|| corrupt("there is no signature behind its hash"))?;
        let (message, signature) = (&rest[..end], &rest[end + 1..]);
        Ok(Self { text: text.to_vec(), message: message.to_vec(), signature: signature.to_vec() })
    }

    /// The lines without line feeds, with the numbers that people count them by.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let text = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        (1..).zip(text.split(|&byte| byte == b'\n'))
    }

    /// The printed hash, if it is that of the text.
    pub(crate) fn check_hash(&self, what: &str) -> Result<ContentHash> {
        let corrupt = |reason: String| Error::Corrupt { what: what.to_owned(), reason };
        let printed: ContentHash = String::from_utf8_lossy(&self.message)
            .parse()
            .map_err(|error| corrupt(format!("the line behind `--`: {error}")))?;
        let computed = printed.algorithm.hash(&self.text);
        if computed != printed {
            return Err(corrupt(format!("it says its hash is {printed}, but it is {computed}")));
        }
        Ok(printed)
    }

    /// What is signed, and the signature.
    pub(crate) fn message_and_signature(&self) -> (&[u8], &[u8]) {
        (&self.message, &self.signature)
    }

    /// Makes a signed file of lines that all end in a line feed.
    pub(crate) fn seal(
        mut text: Vec<u8>,
        algorithm: Algorithm,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let message = algorithm.hash(&text).to_string().into_bytes();
        let signature = sign(&message)?;
        text.extend_from_slice(&MARK[1..]);
        text.extend_from_slice(&message);
        text.push(b'\n');
        text.extend_from_slice(&signature);
        Ok(text)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_apart_as_it_was_sealed() {
        for (text, signature) in
            [("one\ntwo\n", b"\n--\n".as_slice()), ("one\n\n-\n--- \n", b""), ("\n", b"\0\xff")]
        {
            let sealed =
                SignedFile::seal(text.into(), Algorithm::Shake128, |_| Ok(signature.to_vec()))
                    .unwrap();
            let file = SignedFile::parse(&sealed, "it").unwrap();
            assert_eq!(file.text, text.as_bytes());
            assert_eq!(file.message_and_signature().1, signature);
            let hash = file.check_hash("it").unwrap();
            assert_eq!(
                (hash.algorithm, file.message_and_signature().0),
                (Algorithm::Shake128, hash.to_string().as_bytes())
            );
            let lines: Vec<_> = file.lines().map(|(_, line)| [line, b"\n"].concat()).collect();
            assert_eq!(lines.concat(), text.as_bytes());
        }
    }

    #[test]
    fn other_files_are_refused() {
        for file in ["", "--\n", "a\n", "a\n--", "a\n--\nhash", "a--\nb\n"] {
            assert!(SignedFile::parse(file.as_bytes(), "it").is_err(), "{file:?}");
        }
        for hash in ["", "x", &"0".repeat(40)] {
            let text = format!("a\n--\n{hash}\nsignature");
            let file = SignedFile::parse(text.as_bytes(), "it").unwrap();
            assert!(file.check_hash("it").is_err(), "{hash:?}");
        }
    }
}
