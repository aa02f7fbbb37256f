//! Tests of key files, and keys for the tests of other rooms.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::LazyLock;

use super::*;
use crate::hash::Algorithm;

/// Keys of `fqrn()`, made once.
pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::generate(&fqrn()).unwrap());
/// Keys of somebody else.
pub(crate) static OTHERS: LazyLock<Keys> = LazyLock::new(|| Keys::generate(&fqrn()).unwrap());

pub(crate) fn fqrn() -> Fqrn {
    "a-name-that-needs-more.than.thirty.example.org".parse().unwrap()
}

/// `directory/….extension`.
fn file(directory: &Path, extension: &str) -> std::path::PathBuf {
    directory.join(format!("{}.{extension}", fqrn()))
}

/// Replaces a key file of the set, in spite of its mode.
fn replace(path: &Path, content: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn saved_keys_are_loaded() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("etc/keys");
    KEYS.save(&directory, &fqrn()).unwrap();
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o7777, 0o700);
    for (extension, mode) in [("pub", 0o444), ("crt", 0o444), ("key", 0o400), ("masterkey", 0o400)]
    {
        let metadata = fs::metadata(file(&directory, extension)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{extension}");
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 4);

    let loaded = Keys::load(&directory, &fqrn()).unwrap();
    assert_eq!(loaded.public().unwrap(), KEYS.public().unwrap());
    assert_eq!(loaded.publisher().unwrap().certificate, KEYS.publisher().unwrap().certificate);
    let signature = loaded.master().unwrap().sign(b"hash").unwrap();
    assert!(KEYS.public().unwrap().verify(b"hash", &signature));
    assert!(!OTHERS.public().unwrap().verify(b"hash", &signature));

    // The same once more changes nothing; others do not get in.
    KEYS.save(&directory, &fqrn()).unwrap();
    let error = OTHERS.save(&directory, &fqrn()).unwrap_err().to_string();
    assert!(error.contains("never overwritten"), "{error}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 4);
}

#[test]
fn keys_that_are_not_at_hand_are_named() {
    // What is there, and whether there is a public key, a publisher, a master key.
    for (present, expected) in [
        (&[][..], [false, false, false]),
        (&["pub"], [true, false, false]),
        (&["masterkey"], [true, false, true]),
        (&["pub", "key", "crt"], [true, true, false]),
        (&["pub", "key"], [true, false, false]),
        (&["pub", "crt"], [true, false, false]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        KEYS.save(directory.path(), &fqrn()).unwrap();
        for extension in ["pub", "crt", "key", "masterkey"] {
            if !present.contains(&extension) {
                fs::remove_file(file(directory.path(), extension)).unwrap();
            }
        }
        let keys = Keys::load(directory.path(), &fqrn()).unwrap();
        let found = [keys.public().is_ok(), keys.publisher().is_ok(), keys.master().is_ok()];
        assert_eq!(found, expected, "{present:?}");

        let to = directory.path().join("imported");
        let imported = Keys::import(directory.path(), &fqrn(), &to);
        assert_eq!(
            imported.is_ok(),
            present.iter().any(|file| *file == "pub" || *file == "masterkey")
        );
    }
    let keys = Keys::load(Path::new("/nowhere"), &fqrn()).unwrap();
    let error = keys.publisher().unwrap_err().to_string();
    assert_eq!(
        error,
        format!("cannot use the key /nowhere/{}.key: it is not there; publishing needs it", fqrn())
    );
}

#[test]
fn keys_must_belong_together() {
    for (extension, reason) in [
        ("pub", "master key beside it"),
        ("masterkey", "master key beside it"),
        ("crt", "key beside it"),
        ("key", "key beside it"),
    ] {
        let [ours, others] = [&KEYS, &OTHERS].map(|keys| {
            let directory = tempfile::tempdir().unwrap();
            keys.save(directory.path(), &fqrn()).unwrap();
            directory
        });
        let other = fs::read(file(others.path(), extension)).unwrap();
        replace(&file(ours.path(), extension), &other);
        let to = ours.path().join("imported");
        let error = Keys::import(ours.path(), &fqrn(), &to).unwrap_err().to_string();
        assert!(error.contains(reason), "{extension}: {error}");
        assert!(!to.exists());
    }
}

#[test]
fn files_that_are_no_keys_are_refused() {
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let certificate = KEYS.publisher().unwrap().certificate.pem().to_vec();
    let p256 = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for (extension, content, reason) in [
        ("key", b"".as_slice(), "no PEM"),
        ("key", b"\xff\0", "no PEM"),
        ("key", encrypted.as_bytes(), "password"),
        ("key", &certificate, "no RSA private key"),
        ("key", p256.as_bytes(), "no RSA key"),
        ("masterkey", b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", "no RSA key"),
        ("pub", &certificate, "no public key"),
        ("pub", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no RSA key"),
        ("crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no X.509"),
        ("crt", p256.as_bytes(), "no certificate"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(file(directory.path(), extension), content).unwrap();
        let error = Keys::load(directory.path(), &fqrn()).unwrap_err().to_string();
        assert!(error.contains(reason), "{extension}: {error}");
    }
}

/// What openssl writes, we read; what we write, openssl reads.
#[test]
fn openssl_reads_and_writes_the_same_keys() {
    let directory = tempfile::tempdir().unwrap();
    KEYS.save(directory.path(), &fqrn()).unwrap();
    let openssl = |arguments: &str| {
        let arguments = arguments.replace("NAME", fqrn().as_str());
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(directory.path())
            .output()
            .unwrap();
        let answer = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "openssl {arguments}: {answer}");
        answer
    };
    let subject = openssl("x509 -in NAME.crt -noout -subject -nameopt sep_multiline,utf8");
    assert!(
        subject.contains("CN=a-name-that-needs-more.than.th[...] CernVM-FS Release Managers"),
        "{subject}"
    );
    let fingerprint = openssl("x509 -in NAME.crt -noout -fingerprint -sha1");
    let certificate = &KEYS.publisher().unwrap().certificate;
    assert_eq!(
        fingerprint.trim().split_once('=').unwrap().1,
        certificate.fingerprint(Algorithm::Sha1).to_string()
    );
    assert!(openssl("x509 -in NAME.crt -noout -text").contains("sha256WithRSAEncryption"));
    openssl("verify -CAfile NAME.crt NAME.crt");

    // The older form of private keys, and a certificate with text before it.
    for arguments in [
        "rsa -traditional -in NAME.key -out key",
        "rsa -traditional -in NAME.masterkey -out masterkey",
        "pkey -in NAME.masterkey -pubout -out pub",
        "x509 -in NAME.crt -text -out crt",
    ] {
        openssl(arguments);
    }
    for extension in ["key", "masterkey", "pub", "crt"] {
        let content = fs::read(directory.path().join(extension)).unwrap();
        replace(&file(directory.path(), extension), &content);
    }
    assert!(
        fs::read_to_string(file(directory.path(), "key"))
            .unwrap()
            .contains("BEGIN RSA PRIVATE KEY")
    );
    let keys = Keys::load(directory.path(), &fqrn()).unwrap();
    assert_eq!(keys.public().unwrap(), KEYS.public().unwrap());
    assert!(keys.publisher().unwrap().certificate.belongs_to(&KEYS.publisher().unwrap().key));
}

#[test]
fn fingerprints_are_those_of_the_format() {
    let certificate = &KEYS.publisher().unwrap().certificate;
    for (algorithm, length, end) in [
        (Algorithm::Sha1, 59, ""),
        (Algorithm::Rmd160, 66, "-RMD160"),
        (Algorithm::Shake128, 68, "-SHAKE128"),
    ] {
        let fingerprint = certificate.fingerprint(algorithm);
        let text = fingerprint.to_string();
        assert_eq!((text.len(), text.ends_with(end)), (length, true), "{text}");
        for line in [
            text.clone(),
            text.to_lowercase(),
            text.replace(':', ""),
            format!("{text} # somebody"),
            format!("{text}\tsomebody"),
            format!("{text}#"),
        ] {
            assert_eq!(Fingerprint::from_line(line.as_bytes()), Some(fingerprint), "{line}");
        }
    }
    for line in ["", "# AA:BB", "AA:BB", " AA", "\u{fc}"] {
        assert_eq!(Fingerprint::from_line(line.as_bytes()), None, "{line}");
    }
}
