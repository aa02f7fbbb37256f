use std::time::UNIX_EPOCH;

use super::*;
use crate::keys::tests::{KEYS, OTHERS, fqrn};

/// 2026-11-22 06:14:53 UTC.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_328_093)
}

fn certificate() -> &'static Certificate {
    &KEYS.publisher().unwrap().certificate
}

fn whitelist() -> Whitelist {
    let mut whitelist = Whitelist::new(fqrn(), now() + DEFAULT_VALIDITY).unwrap();
    whitelist.add(certificate(), Algorithm::Sha1);
    whitelist
}

fn sign(whitelist: &Whitelist) -> Vec<u8> {
    whitelist.sign(now(), Algorithm::Sha1, KEYS.master().unwrap()).unwrap()
}

/// The text, signed with the master key.
fn signed(text: &str) -> Result<SignedWhitelist> {
    let file = SignedFile::seal(text.into(), Algorithm::Sha1, |text| KEYS.master()?.sign(text))?;
    Whitelist::parse(&file)
}

#[test]
fn the_text_is_that_of_the_format() {
    for algorithm in [Algorithm::Sha1, Algorithm::Rmd160, Algorithm::Shake128] {
        let mut whitelist = Whitelist::new(fqrn(), now() + DEFAULT_VALIDITY).unwrap();
        whitelist.add(certificate(), algorithm);
        let file = whitelist.sign(now(), algorithm, KEYS.master().unwrap()).unwrap();
        let text = format!(
            "20261122061453\nE20261222061453\nN{}\n{}\n",
            fqrn(),
            certificate().fingerprint(algorithm)
        );
        let printed = format!("{text}--\n{}\n", algorithm.hash(text.as_bytes()));
        assert!(file.starts_with(printed.as_bytes()), "{}", String::from_utf8_lossy(&file));
        assert_eq!(file.len(), printed.len() + 256);

        let signed = Whitelist::parse(&file).unwrap();
        let verified = signed.verify(&fqrn(), KEYS.public().unwrap(), now()).unwrap();
        assert_eq!(verified, &whitelist);
        assert!(verified.lists(certificate()));
        assert!(!verified.lists(&OTHERS.publisher().unwrap().certificate));
    }
}

#[test]
fn the_last_hour_is_over_when_it_begins() {
    let hour = Duration::from_secs(3600);
    for (expiry, now, expired) in [
        ("20261122061453", 1_795_328_093, true),
        ("20261122065959", 1_795_328_093, true),
        ("20261122070000", 1_795_328_093, false),
        ("20261122070000", 1_795_330_799, false),
        ("20261122070000", 1_795_330_800, true),
        ("20251122235959", 1_795_328_093, true),
        ("20270101000000", 1_795_328_093, false),
        ("99991231235959", 1_795_328_093, false),
        ("00000101000000", 0, true),
    ] {
        let text = format!("20261122061453\nE{expiry}\nN{}\n", fqrn());
        let signed = signed(&text).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(now);
        let verdict = signed.verify(&fqrn(), KEYS.public().unwrap(), now);
        assert_eq!(verdict.is_err(), expired, "{expiry}");
        if let Err(error) = verdict {
            assert!(error.to_string().contains("it expired on"), "{error}");
        }
        let whitelist = signed.verify_signature(&fqrn(), KEYS.public().unwrap()).unwrap();
        assert_eq!(whitelist.expires() <= now, expired, "{expiry}");
        assert_eq!(whitelist.has_expired(whitelist.expires()), expiry < "9999");
        assert!(expiry < "1970" || !whitelist.has_expired(whitelist.expires() - hour / 60));
    }
}

#[test]
fn signing_again_keeps_everybody_else() {
    let others = OTHERS.publisher().unwrap().certificate.fingerprint(Algorithm::Shake128);
    let lines = format!(
        "{others} # a colleague\n\n# Remember: ask before removing\n{}\tus\n",
        certificate().fingerprint(Algorithm::Rmd160)
    );
    let text = format!("20200101000000\nE20200131000000\nN{}\n{lines}", fqrn());
    let expired = signed(&text).unwrap();
    let mut whitelist = expired.verify_signature(&fqrn(), KEYS.public().unwrap()).unwrap().clone();
    assert_eq!(whitelist.fingerprints().count(), 2);

    whitelist.set_expiry(now() + DEFAULT_VALIDITY).unwrap();
    whitelist.add(certificate(), Algorithm::Sha1);
    let file = sign(&whitelist);
    let expected = format!("20261122061453\nE20261222061453\nN{}\n{lines}--\n", fqrn());
    assert!(file.starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&file));
    let signed = Whitelist::parse(&file).unwrap();
    let verified = signed.verify(&fqrn(), KEYS.public().unwrap(), now()).unwrap();
    assert!(
        verified.lists(certificate()) && verified.lists(&OTHERS.publisher().unwrap().certificate)
    );
}

#[test]
fn damage_is_named() {
    let text = format!("20261122061453\nE20361119061453\nN{}\n", fqrn());
    for (from, to, reason) in [
        ("20261122061453\n", "2026112206145\n", "line 1: "),
        ("E20", "F20", "line 2: "),
        ("E2036111906", "E2036111924", "line 2: "),
        ("E203611", "E203613", "line 2: "),
        ("E20361119061453", "E", "line 2: "),
        ("E2036", "E+036", "line 2: "),
        ("\nN", "\nn", "line 3: "),
        ("\nN", "\nN/", "line 3: "),
    ] {
        let error = signed(&text.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(reason), "{from:?} -> {to:?}: {error}");
    }
    for lines in 0..3 {
        let short: String = text.split_inclusive('\n').take(lines).collect();
        let short = if short.is_empty() { "\n".to_owned() } else { short };
        assert!(signed(&short).is_err(), "{lines} lines");
    }
    for line in ["Vpkcs7", "Wcachain"] {
        let error = signed(&format!("{text}{line}\n")).unwrap_err().to_string();
        assert!(error.contains(line) && error.contains("not supported"), "{error}");
    }
}

#[test]
fn only_the_right_signature_is_trusted() {
    let file = sign(&whitelist());
    let signed = Whitelist::parse(&file).unwrap();
    let both = [&OTHERS, &KEYS].map(|keys| keys.master().unwrap().public().clone());
    signed.verify(&fqrn(), &both.into_iter().collect(), now()).unwrap();

    let nobody = std::iter::empty().collect();
    let other = "other.example.org".parse().unwrap();
    for (name, keys) in
        [(fqrn(), OTHERS.public().unwrap()), (fqrn(), &nobody), (other, KEYS.public().unwrap())]
    {
        let error = signed.verify(&name, keys, now()).unwrap_err().to_string();
        assert!(error.contains("cannot be trusted"), "{error}");
    }
    // Signed as a manifest is: with a digest between.
    let text = format!("20261122061453\nE20361119061453\nN{}\n", fqrn());
    let file = SignedFile::seal(text.into(), Algorithm::Sha1, |text| {
        let pem = KEYS.master().unwrap().pem();
        crate::keys::SigningKey::from_pem(pem).unwrap().sign(text)
    });
    let signed = Whitelist::parse(&file.unwrap()).unwrap();
    assert!(signed.verify(&fqrn(), KEYS.public().unwrap(), now()).is_err());
}

#[test]
fn no_byte_can_be_changed() {
    let file = sign(&whitelist());
    for at in 0..file.len() {
        for bit in [0x01, 0x20] {
            let mut changed = file.clone();
            changed[at] ^= bit;
            let trusted = Whitelist::parse(&changed)
                .is_ok_and(|signed| signed.verify(&fqrn(), KEYS.public().unwrap(), now()).is_ok());
            assert!(!trusted, "byte {at} with bit {bit:#x} flipped");
        }
    }
}
