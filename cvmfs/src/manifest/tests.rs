use proptest::prelude::*;

use super::*;
use crate::hash::Algorithm;
use crate::keys::tests::{KEYS, OTHERS};

const TEXT: &str = "C1111111111111111111111111111111111111111\nB4096\nRd41d8cd98f00b204e9800998ecf8427e\nD240\n\
                    S1\nGyes\nAno\nNtest.example.org\n";

fn key() -> &'static SigningKey {
    &KEYS.publisher().unwrap().key
}

fn certificate() -> &'static Certificate {
    &KEYS.publisher().unwrap().certificate
}

fn fqrn() -> Fqrn {
    "test.example.org".parse().unwrap()
}

/// The text with a hash that is right and a signature that is not.
fn unsigned(text: &str) -> Vec<u8> {
    SignedFile::seal(text.into(), Algorithm::Sha1, |_| Ok(b"signature".to_vec())).unwrap()
}

fn manifest() -> Manifest {
    Manifest::parse(&unsigned(TEXT)).unwrap().manifest
}

#[test]
fn the_text_is_that_of_the_format() {
    assert_eq!(manifest().text(), TEXT);
    let file = manifest().sign(key()).unwrap();
    let printed = [TEXT, "--\n0c627e1a61f371923dde9703c0922716b8d1a166\n"].concat();
    assert!(file.starts_with(printed.as_bytes()));
    assert_eq!(file.len(), printed.len() + 256);

    let hash = |digit: &str| Some(format!("{}-shake128", digit.repeat(40)).parse().unwrap());
    let full = Manifest {
        root: hash("0").unwrap(),
        alternative_paths: true,
        garbage_collectable: false,
        certificate: hash("2"),
        history: hash("3"),
        timestamp: Some(1_795_328_025),
        metainfo: hash("4"),
        reflog: hash("5"),
        ..manifest()
    };
    let letters: String = full.text().lines().map(|line| &line[..1]).collect();
    assert_eq!(letters, "CBRDSGANXHTMY");
    let file = full.sign(key()).unwrap();
    let printed = file.split(|&byte| byte == b'\n').nth(14).unwrap();
    assert!(printed.ends_with(b"-shake128"), "the hash is of the root catalog's algorithm");
}

#[test]
fn what_readers_tolerate() {
    for (case, text) in [
        ("another order", TEXT.split_inclusive('\n').rev().collect::<String>()),
        ("letters of the future", format!("{TEXT}Zchannel\nZanother\nQ\nL{}\n", "0".repeat(40))),
        ("empty lines", TEXT.replace('\n', "\n\n")),
        ("no text in an unknown line", format!("{TEXT}?\u{fc}\n")),
    ] {
        assert_eq!(Manifest::parse(&unsigned(&text)).unwrap().manifest, manifest(), "{case}");
    }
    for (text, flag) in [("Gyes", true), ("GYES", false), ("G", false), ("Gno", false)] {
        let text = TEXT.replace("Gyes", text);
        assert_eq!(Manifest::parse(&unsigned(&text)).unwrap().manifest.garbage_collectable, flag);
    }
}

#[test]
fn damage_is_named() {
    for (from, to, reason) in [
        ("C1", "C", "line 1: `C` holds"),
        ("C1", "c1", "no line `C`"),
        ("B4096", "B-1", "line 2: `B` holds \"-1\""),
        ("Rd4", "Re4", "`R` is not"),
        ("D240", "D", "line 4: `D` holds \"\""),
        ("D240\n", "", "no line `D`"),
        ("S1", "S18446744073709551616", "line 5: `S` holds"),
        ("Gyes", "S1", "line 6: `S` is in line 5 already"),
        ("Ntest", "N../test", "line 8: `N` holds"),
        ("Ntest.example.org\n", "", "no line `N`"),
        ("Ano\n", "Xyz\n", "line 7: `X` holds"),
        ("Ano\n", "H\n", "line 7: `H` holds"),
        ("Ano\n", "T1.5\n", "line 7: `T` holds"),
    ] {
        let error = Manifest::parse(&unsigned(&TEXT.replace(from, to))).unwrap_err().to_string();
        assert!(error.contains(reason), "{from:?} -> {to:?}: {error}");
        assert!(error.starts_with("the manifest (.cvmfspublished) is damaged: "), "{error}");
    }
    for file in [b"".as_slice(), TEXT.as_bytes(), b"--\n", b"\n--\n\n", b"C\xff\n--\n\n"] {
        assert!(Manifest::parse(file).is_err());
    }
}

#[test]
fn only_the_right_signature_is_trusted() {
    let file = manifest().sign(key()).unwrap();
    let signed = Manifest::parse(&file).unwrap();
    assert_eq!(signed.verify(&fqrn(), certificate()).unwrap(), &manifest());

    let other_name = "other.example.org".parse().unwrap();
    let other_certificate = &OTHERS.publisher().unwrap().certificate;
    for (case, verdict) in [
        ("of another repository", signed.verify(&other_name, certificate())),
        ("not signed", signed.verify(&fqrn(), other_certificate)),
    ] {
        let error = verdict.unwrap_err().to_string();
        assert!(error.contains("cannot be trusted"), "{case}: {error}");
    }
    for file in [
        [file.as_slice(), b"\n"].concat(),
        file[..file.len() - 1].to_vec(),
        file[..file.len() - 256].to_vec(),
        unsigned(TEXT),
        // Signed as a whitelist is: the message without a digest.
        SignedFile::seal(TEXT.into(), Algorithm::Sha1, |text| KEYS.master().unwrap().sign(text))
            .unwrap(),
    ] {
        let signed = Manifest::parse(&file).unwrap();
        assert!(signed.verify(&fqrn(), certificate()).is_err());
    }
}

#[test]
fn no_byte_can_be_changed() {
    let file = manifest().sign(key()).unwrap();
    for at in 0..file.len() {
        for bit in [0x01, 0x20] {
            let mut changed = file.clone();
            changed[at] ^= bit;
            let trusted = Manifest::parse(&changed)
                .is_ok_and(|signed| signed.verify(&fqrn(), certificate()).is_ok());
            assert!(!trusted, "byte {at} with bit {bit:#x} flipped");
        }
    }
}

fn hashes() -> impl Strategy<Value = ContentHash> {
    let algorithm =
        prop::sample::select(vec![Algorithm::Sha1, Algorithm::Rmd160, Algorithm::Shake128]);
    (algorithm, any::<[u8; 20]>()).prop_map(|(algorithm, digest)| ContentHash { algorithm, digest })
}

prop_compose! {
    fn manifests()(
        root in hashes(),
        (certificate, history, metainfo, reflog) in (
            prop::option::of(hashes()),
            prop::option::of(hashes()),
            prop::option::of(hashes()),
            prop::option::of(hashes()),
        ),
        (root_size, timestamp) in any::<(Option<u64>, Option<u64>)>(),
        (ttl, revision) in any::<(u64, u64)>(),
        (garbage_collectable, alternative_paths) in any::<(bool, bool)>(),
        name in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,59}",
    ) -> Manifest {
        Manifest {
            root, root_size, ttl, revision, garbage_collectable, alternative_paths,
            name: name.parse().unwrap(),
            certificate, history, timestamp, metainfo, reflog,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(manifest in manifests()) {
        let signed = Manifest::parse(&manifest.sign(key()).unwrap()).unwrap();
        prop_assert_eq!(signed.verify(&manifest.name, certificate()).unwrap(), &manifest);
    }

    #[test]
    fn nothing_makes_the_parser_panic(file in "([A-Z]{1,2}[0-9a-z-]{0,42}\n){0,8}(--\n.*\n)?") {
        if let Ok(signed) = Manifest::parse(file.as_bytes()) {
            prop_assert!(signed.verify(&fqrn(), certificate()).is_err());
        }
    }
}
