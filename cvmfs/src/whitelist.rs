//! The whitelist, `.cvmfswhitelist`: which certificates may sign manifests, and until when.
//!
//! Lines, and a signature (`signed_file.rs`) made with the master key: RSA PKCS#1 v1.5 over the printed
//! hash itself, with no digest in between.
//!
//! | line | content |
//! |---|---|
//! | 1 | when it was signed, `YYYYMMDDhhmmss` in UTC |
//! | 2 | `E` and when it expires, in the same form |
//! | 3 | `N` and the repository |
//! | 4 … | optional `Vpkcs7` and `Wcachain`: other ways of verifying |
//! | … | one [`Fingerprint`] a line, and optionally a comment |

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::fqrn::Fqrn;
use crate::hash::Algorithm;
use crate::keys::{Certificate, Fingerprint, MasterKey, PublicKeys};
use crate::signed_file::SignedFile;
use crate::{Distrust, Error, Result};

/// The whitelist's name in a repository's storage.
pub const NAME: &str = ".cvmfswhitelist";

/// How long the stock server makes a whitelist valid.
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Digits of a time.
const TIME_LENGTH: usize = 14;

/// What a whitelist says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whitelist {
    /// The repository.
    pub name: Fqrn,
    /// To the second, as it is written; clients use only the hour ([`Self::has_expired`]).
    expires: DateTime,
    /// Everything after the name as it was found, so that signing again keeps it.
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Fingerprint(Fingerprint, Vec<u8>),
    /// A comment, or nothing.
    Other(Vec<u8>),
}

/// A whitelist as it was found. Its signature has not been verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedWhitelist {
    whitelist: Whitelist,
    file: SignedFile,
}

impl SignedWhitelist {
    /// What it says; anybody may have written it.
    pub fn unverified(&self) -> &Whitelist {
        &self.whitelist
    }

    /// What it says, if it is the whitelist of repository `name`, signed with one of `keys`, and has not expired.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if its hash is wrong, else [`Error::Untrusted`].
    pub fn verify(&self, name: &Fqrn, keys: &PublicKeys, now: SystemTime) -> Result<&Whitelist> {
        let whitelist = self.verify_signature(name, keys)?;
        if whitelist.has_expired(now) {
            return Err(untrusted(Distrust::Expired(whitelist.expires.to_string())));
        }
        Ok(whitelist)
    }

    /// As [`Self::verify`], but it may have expired: for signing it again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if its hash is wrong, else [`Error::Untrusted`].
    pub fn verify_signature(&self, name: &Fqrn, keys: &PublicKeys) -> Result<&Whitelist> {
        if self.whitelist.name != *name {
            let (found, expected) = (self.whitelist.name.clone(), name.clone());
            return Err(untrusted(Distrust::OtherRepository { found, expected }));
        }
        self.file.check_hash(&what())?;
        let (message, signature) = self.file.message_and_signature();
        if !keys.verify(message, signature) {
            return Err(untrusted(Distrust::NoMasterKey));
        }
        Ok(&self.whitelist)
    }
}

impl Whitelist {
    /// A whitelist of certificates that is valid until `expires`.
    ///
    /// # Errors
    /// If the date cannot be written with four digits for the year.
    pub fn new(name: Fqrn, expires: SystemTime) -> Result<Self> {
        Ok(Self { name, expires: utc(expires)?, lines: Vec::new() })
    }

    /// Reads a whitelist.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the number of the line, [`Error::Unsupported`] if it wants to be verified in
    /// another way.
    pub fn parse(file: &[u8]) -> Result<SignedWhitelist> {
        let file = SignedFile::parse(file, &what())?;
        let whitelist = Self::from_lines(file.lines())?;
        Ok(SignedWhitelist { whitelist, file })
    }

    fn from_lines<'a>(mut lines: impl Iterator<Item = (usize, &'a [u8])>) -> Result<Self> {
        let mut head = |what| {
            lines.next().ok_or_else(|| corrupt(format!("it ends before the line with {what}")))
        };
        let (_, created) = head("the time of signing")?;
        if created.len() != TIME_LENGTH {
            return Err(damaged(1, "it is no time (14 digits)"));
        }
        let (_, expires) = head("the time of expiry")?;
        let expires = expires
            .strip_prefix(b"E")
            .and_then(parse_time)
            .ok_or_else(|| damaged(2, "it is no `E` with a time (14 digits)"))?;
        let (_, name) = head("the name")?;
        let name = name
            .strip_prefix(b"N")
            .ok_or_else(|| damaged(3, "it is no `N` with a name"))
            .map(String::from_utf8_lossy)?
            .parse()
            .map_err(|error| damaged(3, &format!("{error}")))?;
        let mut rest = Vec::new();
        for (_, line) in lines {
            let feature = match line {
                b"Vpkcs7" => "verification by a PKCS#7 envelope (`Vpkcs7`)",
                b"Wcachain" => "verification by certificate authorities (`Wcachain`)",
                _ => {
                    rest.push(Line::new(line));
                    continue;
                }
            };
            return Err(Error::Unsupported { what: format!("{} of {name}", what()), feature });
        }
        Ok(Self { name, expires, lines: rest })
    }

    /// The file, signed.
    ///
    /// # Errors
    /// If the key cannot sign, or the date cannot be written with four digits for the year.
    pub fn sign(&self, now: SystemTime, algorithm: Algorithm, key: &MasterKey) -> Result<Vec<u8>> {
        SignedFile::seal(self.text(now)?, algorithm, |message| key.sign(message))
    }

    /// The lines that are signed.
    ///
    /// # Errors
    /// If the date cannot be written with four digits for the year.
    pub fn text(&self, now: SystemTime) -> Result<Vec<u8>> {
        let head = format!("{}\nE{}\nN{}\n", time(utc(now)?), time(self.expires), self.name);
        let mut text = head.into_bytes();
        for line in &self.lines {
            let (Line::Fingerprint(_, bytes) | Line::Other(bytes)) = line;
            text.extend_from_slice(bytes);
            text.push(b'\n');
        }
        Ok(text)
    }

    /// Sets when it expires. Everything else stays.
    ///
    /// # Errors
    /// If the date cannot be written with four digits for the year.
    pub fn set_expiry(&mut self, expires: SystemTime) -> Result<()> {
        self.expires = utc(expires)?;
        Ok(())
    }

    /// When it expires, as far as clients are concerned: at the beginning of the hour that it gives.
    pub fn expires(&self) -> SystemTime {
        hour(self.expires)
            .to_zoned(TimeZone::UTC)
            .map_or_else(|_| Timestamp::MAX.into(), |time| time.timestamp().into())
    }

    /// Whether it has expired: from the beginning of the hour that it gives, as in stock clients.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        utc(now).is_ok_and(|now| hour(now) >= hour(self.expires))
    }

    /// Whether it lists the certificate. Every fingerprint is compared in its own algorithm.
    pub fn lists(&self, certificate: &Certificate) -> bool {
        self.fingerprints().any(|known| certificate.fingerprint(known.algorithm()) == *known)
    }

    /// All fingerprints.
    pub fn fingerprints(&self) -> impl Iterator<Item = &Fingerprint> {
        self.lines.iter().filter_map(|line| match line {
            Line::Fingerprint(fingerprint, _) => Some(fingerprint),
            Line::Other(_) => None,
        })
    }

    /// Lists a certificate, unless it is listed already.
    pub fn add(&mut self, certificate: &Certificate, algorithm: Algorithm) {
        if !self.lists(certificate) {
            let fingerprint = certificate.fingerprint(algorithm);
            self.lines.push(Line::Fingerprint(fingerprint, fingerprint.to_string().into_bytes()));
        }
    }
}

impl Line {
    fn new(line: &[u8]) -> Self {
        match Fingerprint::from_line(line) {
            Some(fingerprint) => Self::Fingerprint(fingerprint, line.to_vec()),
            None => Self::Other(line.to_vec()),
        }
    }
}

fn parse_time(digits: &[u8]) -> Option<DateTime> {
    if digits.len() != TIME_LENGTH || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<i16> {
        std::str::from_utf8(digits.get(range)?).ok()?.parse().ok()
    };
    let small = |start: usize| number(start..start + 2).and_then(|value| i8::try_from(value).ok());
    DateTime::new(number(0..4)?, small(4)?, small(6)?, small(8)?, small(10)?, small(12)?, 0).ok()
}

fn time(time: DateTime) -> String {
    time.strftime("%Y%m%d%H%M%S").to_string()
}

fn hour(time: DateTime) -> DateTime {
    time.date().at(time.hour(), 0, 0, 0)
}

fn utc(time: SystemTime) -> Result<DateTime> {
    Timestamp::try_from(time)
        .ok()
        .map(|time| TimeZone::UTC.to_datetime(time))
        .filter(|time| time.year() >= 0)
        .ok_or_else(|| Error::InvalidDate)
}

/// What errors call it.
pub(crate) fn what() -> String {
    format!("the whitelist ({NAME})")
}

fn corrupt(reason: String) -> Error {
    Error::Corrupt { what: what(), reason }
}

fn damaged(line: usize, reason: &str) -> Error {
    corrupt(format!("line {line}: {reason}"))
}

fn untrusted(reason: Distrust) -> Error {
    Error::Untrusted { what: what(), reason }
}

#[cfg(test)]
mod tests;
