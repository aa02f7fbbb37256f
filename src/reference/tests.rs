//! The grammar of `facts` in tables: what parses to what, and where a wrong reference is wrong.

use super::*;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Text, whole name, public name, what a registry is asked for.
#[test]
fn registry_references() {
    let digest = |text: &str| text.replace("@D", &format!("@{D}")).replace(":D", &format!(":{D}"));
    let cases = [
        (
            "registry.hub.docker.com/library/debian:12",
            "https://registry.hub.docker.com/library/debian:12",
            "registry.hub.docker.com/library/debian:12",
            "12",
        ),
        ("https://quay.io/org/tool:v1", "https://quay.io/org/tool:v1", "quay.io/org/tool:v1", "v1"),
        ("http://10.0.0.1:5000/x:1", "http://10.0.0.1:5000/x:1", "10.0.0.1:5000/x:1", "1"),
        ("10.0.0.1:5000/x:1", "https://10.0.0.1:5000/x:1", "10.0.0.1:5000/x:1", "1"),
        (
            "localhost:5000/a/b/c__d:X.y-z_",
            "https://localhost:5000/a/b/c__d:X.y-z_",
            "localhost:5000/a/b/c__d:X.y-z_",
            "X.y-z_",
        ),
        ("library/ubuntu:22.04", "https://library/ubuntu:22.04", "library/ubuntu:22.04", "22.04"),
        ("r.io/a@D", "https://r.io/a@D", "r.io/a:D", D),
        ("r.io/a:1@D", "https://r.io/a:1@D", "r.io/a:1", D),
        ("[::1]:5000/a:1", "https://[::1]:5000/a:1", "[::1]:5000/a:1", "1"),
        ("r.io/a:v1.*", "https://r.io/a:v1.*", "r.io/a:v1.*", "v1.*"),
    ];
    for (text, whole, public, asked) in cases {
        let reference: RegistryReference = digest(text).parse().unwrap();
        assert_eq!(reference.to_string(), digest(whole));
        let name = reference.public_name().map(|name| name.to_string());
        assert_eq!(name, (!reference.is_wildcard()).then(|| digest(public)));
        assert_eq!(reference.fetch_reference(), asked);
        assert_eq!(reference.is_wildcard(), text.contains('*'));
        assert_eq!(reference.to_string().parse().as_ref(), Ok(&reference));
        assert_eq!(digest(public).parse::<PublicName>().ok().map(|name| name.to_string()), name);
    }
}

#[test]
fn errors_show_where() {
    let short_digest = "r.io/a@sha256:12";
    let cases = [
        ("", 0),
        ("ubuntu", 0),
        ("ubuntu:22.04", 0),
        ("r.io/a", 6),
        ("http://r.io/a", 13),
        ("ftp://r.io/a:1", 0),
        ("user@r.io/a:1", 4),
        ("r.io/a:1?x=y", 8),
        ("r.io/a:1#f", 8),
        ("r.io/a%20b:1", 6),
        ("r.io/A:1", 5),
        ("r.io/:1", 5),
        ("r.io//a:1", 5),
        ("r.io/a/:1", 7),
        ("r.io/../a:1", 5),
        ("r.io/-a:1", 5),
        ("r.io/a._b:1", 5),
        ("r.io/a:", 7),
        ("r.io/a:.x", 7),
        ("r.io/a:1:2", 8),
        ("r.io/*:1", 5),
        (".flat/a:1", 0),
        ("r..io/a:1", 1),
        ("r.io:x/a:1", 5),
        ("r.io:70000/a:1", 5),
        ("[::g]/a:1", 1),
        (short_digest, 16),
        ("r.io/a@sha512:00", 7),
        ("r.io/a@D@D", 7),
        ("r.io/a:1\0", 8),
    ];
    for (text, at) in cases {
        match text.parse::<ImageReference>() {
            Err(Error::Syntax { position, input, .. }) => {
                assert_eq!(position, at, "{text:?}");
                assert_eq!(input, text);
            }
            other => panic!("{text:?} gave {other:?}"),
        }
    }
    assert!(format!("r.io/a:{}", "x".repeat(128)).parse::<RegistryReference>().is_ok());
    assert!(format!("r.io/a:{}", "x".repeat(129)).parse::<RegistryReference>().is_err());
}

#[test]
fn local_images() {
    let layout = |directory: &str, tag: Option<&str>| ImageReference::OciLayout {
        directory: directory.into(),
        tag: tag.map(str::to_owned),
    };
    let oci_archive = |file: &str, image: &str| ImageReference::OciArchive {
        file: file.into(),
        image: Some(image.to_owned()),
    };
    let docker_archive = |file: &str, image: Option<&str>| ImageReference::DockerArchive {
        file: file.into(),
        image: image.map(str::to_owned),
    };
    let cases = [
        ("oci:dir", layout("dir", None)),
        ("oci:/a/b:1", layout("/a/b", Some("1"))),
        ("oci:/a:b/c", layout("/a:b/c", None)),
        ("oci-archive:/x.tar", ImageReference::OciArchive { file: "/x.tar".into(), image: None }),
        ("oci-archive:/x.tar#1.0", oci_archive("/x.tar", "1.0")),
        ("docker-archive:x:1.tar", docker_archive("x:1.tar", None)),
        ("docker-archive:x.tar#r.io/a/b:1", docker_archive("x.tar", Some("r.io/a/b:1"))),
        ("docker-archive:x.tar#@2", docker_archive("x.tar", Some("@2"))),
        ("docker-archive:/a#b/x.tar", docker_archive("/a", Some("b/x.tar"))),
    ];
    for (text, expected) in cases {
        let parsed: ImageReference = text.parse().unwrap();
        assert_eq!(parsed, expected);
        assert_eq!(parsed.to_string(), text);
    }
    for text in [
        "oci:",
        "oci::1",
        "oci:dir:",
        "oci:dir:*",
        "docker-archive:",
        "oci-archive:",
        "docker-archive:x#",
        "oci-archive:#x",
    ] {
        assert!(text.parse::<ImageReference>().is_err(), "{text:?}");
    }
}
