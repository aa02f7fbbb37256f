//! Keys, and what they have signed.

use super::{Error, Policy, key};
use crate::source::tests::signer::Signer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Made with `openssl genpkey`, `openssl pkey -pubout` and `openssl dgst -sha256 -sign` of `payload`.
const RSA: (&str, &str) = (
    "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEApqzHj3bkVOc+yvhHQIxT
8Ll567WuOf/cmfTq0zWEju9XraGvGp8Dcfom7RgfTlYr8JQdfvUk7l4EHMRIllNA
mrut+a8PwRk3RU+jmaTBhlIoYq7v/LpmVNgbFl4gmRRG2ioyLGM5cd8L2vrb8ayK
5lhFQxPmjmKpYTKOlLHBMg2J3O4s/ZrpOJm9ZUzHTJLI3PzhPLodtXbv5Wg3v9eI
VXWlrISNJzwXahDGP1O52IT+zrM/i6uDdPsLhYbf6CFrrHFLBrEG5LdAOjMSCEPo
WNirVt1VZJJFoVJ/6RyMs5iIRVKqNzoW2O1GjtGaJQobltTGLQv5DE4ZBQdGmkQh
zwIDAQAB
-----END PUBLIC KEY-----
",
    "c5F6uNiwwB/Fmmj9cev/cJJxRPnzktZwVqx030m12nmcisanIm0bY6oY10CClNWGcb1NC6mJKIJCLgGkhsps07TF2jVxtEdy\
     219qymQwiK1TSKW/7Q3stTVbCui1fPSeVPt01lc+5jGXa0YJpQMHARmUBnd89az9W2wQxwEJB9fl4HNBN9CWB46ryuvtSzcX\
     A4rXhAy2jgESitiochZZGLAcOAtoj4gALBuL+lxq08dtxvExsvSmQPTzcf5nUf+TNwN/MYhX1mPMuH55rIo52HUZmHrLgM2i\
     JTwu+G4EUUKHFH77zESDcTMuyPO8vL+O7Kml9usszv4Gk31u9dulOA==",
);
const P384: (&str, &str) = (
    "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEt2IShiMSuEAsuAgcKnT9zhCuDstCLBiR
rgkBkDNslwMvzjOvCch1eE9nKa2vuH0JryeU8kb2sEiTFFVNvj9gLo3Y0Etvngjv
ETjgb/dr1Vj1t3AWU4asGr2A3al8mfN5
-----END PUBLIC KEY-----
",
    "MGUCMCz4P/qd7XZHyf7YV4a9JpKZXqN1b10iE/5tTW54cMHvyxA+sEvyx8ST6Am9z99AlQIxANWwIOw9+jtN9zihksKDETrQ\
     r65tQBKi07vdQCRZ3pCVh6Eb1ci0OtUDdRax4LsEdw==",
);

#[test]
fn all_kinds_of_keys() {
    let decoded =
        |(pem, signature): (&str, &str)| (pem.to_owned(), STANDARD.decode(signature).unwrap());
    let generated = |signer: Signer| (signer.public_pem(), signer.sign(b"payload"));
    for (pem, signature) in
        [decoded(RSA), decoded(P384), generated(Signer::ecdsa()), generated(Signer::ed25519())]
    {
        let keys = key::parse("cosign.pub", pem.as_bytes()).unwrap();
        assert_eq!(keys.len(), 1);
        assert!(keys[0].signed(b"payload", &signature), "{pem}");
        assert!(!keys[0].signed(b"Payload", &signature), "{pem}");
        let mut broken = signature.clone();
        let middle = broken.len() / 2;
        broken[middle] ^= 1;
        for broken in [&broken[..], &signature[1..], b""] {
            assert!(!keys[0].signed(b"payload", broken), "{pem}");
        }
    }
}

#[test]
fn what_is_no_key() {
    let p521 = "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAjxwjZrCrdV8yz7ubwtdgqBLlKaAd
cmP9wY8U6EPmlh4pb4cbMP4Qpq/Rk6/s0YtHkx5k735CkGErvCMPUOHwf6MBjubh
M3mGWWt9XNdLGsbT8+zwgF2QChNWf7XMEfJqQOwQn9W6FATP/gFJ4HxhYdknR53H
08GdTtRC6SmwYaGazZA=
-----END PUBLIC KEY-----
";
    let certificate = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
    for (text, part) in [
        ("", "not in PEM form"),
        ("ssh-ed25519 AAAA", "not in PEM form"),
        (p521, "unsupported kind (1.2.840.10045.2.1, 1.3.132.0.35)"),
        (&certificate.cert.pem(), "it is a CERTIFICATE"),
        (&certificate.signing_key.serialize_pem(), "it is a PRIVATE KEY"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is not a public key"),
    ] {
        let message = key::parse("/keys/cosign.pub", text.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("/keys/cosign.pub"), "{message}");
    }
    assert!(matches!(Policy::from_files(Vec::<&str>::new()), Err(Error::NoKeys)));
    assert!(matches!(Policy::from_files(["/nowhere/cosign.pub"]), Err(Error::Read { .. })));
}
