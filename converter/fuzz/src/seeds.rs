//! The first inputs of all targets: layers such as image builders write them, and what registries answer.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::members::Members;
use crate::tar::{Header, Tar};

/// The seeds of each target.
pub fn all() -> [(&'static str, Vec<Vec<u8>>); 5] {
    let plain = vec![kinds(), long_names(), records(), old_sparse(), pax_sparse()];
    let gzip = |tar: &Vec<u8>| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(tar).expect("memory");
        encoder.finish().expect("memory")
    };
    let zstd = |tar: &Vec<u8>| zstd::encode_all(tar.as_slice(), 3).expect("memory");
    let mut blobs: Vec<_> = plain.iter().map(gzip).chain(plain.iter().map(zstd)).collect();
    blobs.push(plain[0].clone());
    [
        ("blob", blobs),
        ("tar", plain),
        ("members", members()),
        ("manifest", documents()),
        ("login", logins()),
    ]
}

/// All kinds of entries.
fn kinds() -> Vec<u8> {
    Tar::new()
        .directory("./")
        .directory("usr/")
        .file("usr/file", "content\n")
        .member(
            Header::new(b'0', "usr/program").mode(0o4755).owner(7, 8).mtime(1_700_000_000),
            "#!",
        )
        .symlink("lib", "usr/lib")
        .hard_link("usr/again", "usr/file")
        .header(Header::new(b'3', "dev/null").device(1, 3))
        .header(Header::new(b'4', "dev/loop0").device(7, 0))
        .header(Header::new(b'6', "run/pipe"))
        .file("etc/.wh.passwd", "")
        .file("etc/.wh..wh..opq", "")
        .header(Header::new(b'3', "etc/gone").device(0, 0))
        .end()
}

/// Names in a prefix, in a header of their own, and in a PAX record.
fn long_names() -> Vec<u8> {
    let long = ["directory"; 14].join("/");
    Tar::new()
        .file("short", "")
        .header(Header::new(b'5', "name").prefix("directory/of/a/ustar/header"))
        .long_name(&long)
        .long_link("elsewhere")
        .header(Header::new(b'2', &long).gnu().link("elsewhere"))
        .pax(&[("path", long.as_str())])
        .file(&long, "x")
        .header(Header::new(b'0', "old").v7())
        .end()
}

/// Attributes that only PAX records hold.
fn records() -> Vec<u8> {
    Tar::new()
        .global(&[("comment", "0123456789abcdef")])
        .pax(&[
            ("mtime", "1700000000.123456789"),
            ("uid", "3000000"),
            ("gid", "3000001"),
            ("SCHILY.xattr.user.comment", "text"),
            ("SCHILY.xattr.security.capability", "\x01\0\0\x02"),
        ])
        .file("attributes", "content")
        .end()
}

/// A sparse file as GNU tar writes it by default: a stretch of data behind a hole.
fn old_sparse() -> Vec<u8> {
    let map = b"00000010000\x0000000001000\x00";
    let header = Header::new(b'S', "sparse").gnu();
    Tar::new().member(header.bytes(386, map).bytes(483, b"00000011000\0"), [b'd'; 512]).end()
}

/// Sparse files in the PAX versions.
fn pax_sparse() -> Vec<u8> {
    let version = |minor| [("GNU.sparse.major", "0"), ("GNU.sparse.minor", minor)];
    let size = ("GNU.sparse.size", "9");
    let pairs = [
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "0"),
        ("GNU.sparse.numbytes", "1"),
        ("GNU.sparse.offset", "5"),
        ("GNU.sparse.numbytes", "2"),
    ];
    let map = [("GNU.sparse.numblocks", "2"), ("GNU.sparse.map", "0,1,5,2")];
    let newest = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "third"),
        ("GNU.sparse.realsize", "9"),
    ];
    let mut content = b"2\n0\n1\n5\n2\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"abc");
    Tar::new()
        .pax(&[&version("0")[..], &[size], &pairs].concat())
        .file("first", "abc")
        .pax(&[&version("1")[..], &[size], &map].concat())
        .file("second", "abc")
        .pax(&newest)
        .file("GNUSparseFile.1/third", content)
        .end()
}

fn members() -> Vec<Vec<u8>> {
    let kinds = Members::default()
        .plain(b'5', "usr/", "", 0)
        .plain(b'0', "usr/file", "", 1000)
        .plain(b'1', "usr/again", "usr/file", 0)
        .plain(b'2', "lib", "usr/lib", 0)
        .plain(b'0', ".wh.gone", "", 0)
        .plain(b'0', "usr/.wh..wh..opq", "", 0)
        .with_field(b'3', "dev/null", 329, b"0000001\x000000003\x00", 0);
    let long = ["directory"; 14].join("/");
    let names = Members::default().long(b'2', &long, &long).with_records(
        "short",
        &[("path", &long), ("mtime", "-1.5"), ("uid", "70000")],
        b"x",
    );
    let mut mapped = b"1\n4\n2\n".to_vec();
    mapped.resize(512, 0);
    mapped.extend_from_slice(b"ab");
    // The map, and 97 bytes behind its beginning the size with holes.
    let mut old = b"00000010000\x0000000001000\x00".to_vec();
    old.resize(97, 0);
    old.extend_from_slice(b"00000011000\0");
    let sparse = Members::default()
        .with_field(b'S', "old", 386, &old, 512)
        .with_records(
            "zero",
            &[
                ("GNU.sparse.size", "9"),
                ("GNU.sparse.numblocks", "1"),
                ("GNU.sparse.offset", "4"),
                ("GNU.sparse.numbytes", "2"),
            ],
            b"ab",
        )
        .with_records(
            "one",
            &[("GNU.sparse.size", "9"), ("GNU.sparse.numblocks", "1"), ("GNU.sparse.map", "4,2")],
            b"ab",
        )
        .with_records(
            "two",
            &[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.name", "newest"),
                ("GNU.sparse.realsize", "9"),
            ],
            &mapped,
        );
    [kinds, names, sparse].map(Members::finish).to_vec()
}

/// Manifests and indexes, after a byte that chooses what they are said to be.
fn documents() -> Vec<Vec<u8>> {
    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let manifest = |kind: &str, config: &str, layer: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"{config}","size":7,"digest":"{DIGEST}"}},"layers":[{{"mediaType":"{layer}","size":9,"digest":"{DIGEST}","annotations":null}}]}}"#
        )
    };
    let index = |entries: &str| format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
    let entry = |kind: &str, more: &str| {
        format!(r#"{{"mediaType":"{kind}","size":5,"digest":"{DIGEST}"{more}}}"#)
    };
    let oci = "application/vnd.oci.image.manifest.v1+json";
    let nested = "application/vnd.oci.image.index.v1+json";
    let attestation = r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"},"platform":{"os":"unknown","architecture":"unknown"}"#;
    let documents = [
        manifest(oci, "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
        manifest("", "application/octet-stream", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        index(&[
            entry(oci, r#","platform":{"os":"linux","architecture":"arm","variant":"v7"}"#),
            entry(oci, r#","platform":{"architecture":"amd64"}"#),
            entry(oci, attestation),
        ].join(",")),
        index(&[entry(nested, r#","platform":{"os":"linux","architecture":"amd64"}"#), entry("", "")].join(",")),
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":null}"#.to_owned(),
        r#"{"schemaVersion":1,"name":"a","fsLayers":[],"signatures":[]}"#.to_owned(),
    ];
    let with_choice = |(choice, text): (u8, String)| [&[choice], text.as_bytes()].concat();
    (0..).zip(documents).map(with_choice).collect()
}

/// Challenges, and answers of token servers.
fn logins() -> Vec<Vec<u8>> {
    [
        "Basic realm=\"a registry\"",
        "Bearer realm=\"https://auth.example/token\",service=\"s, \\\"x\\\"\",scope=\"repository:a/b:pull,push\"",
        "Bearer realm=https://auth.example/token,service=s,scope=repository:a:pull,push",
        "Negotiate, Digest realm=\"a, b\", nonce=n, Basic realm=\"c\"\nBearer realm=\"https://x/\" service=s",
        r#"{"token":"","access_token":"a","expires_in":"300.5","issued_at":"2026-01-01T00:00:00Z"}"#,
        r#"{"token":"t","expires_in":-1,"refresh_token":null}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
