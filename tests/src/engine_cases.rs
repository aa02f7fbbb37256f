//! Layers as image builders and old programs really write them, which container engines take.

use crate::image::{Entry, Kind};

/// An image of which engines make what the converter has to publish.
pub struct EngineCase {
    /// What is special about it.
    pub name: &'static str,
    /// Its layers, base first.
    pub layers: Vec<Vec<Entry>>,
    /// Part of a remark that its conversion makes; empty if there is none.
    pub remark: &'static str,
}

fn case(name: &'static str, layers: Vec<Vec<Entry>>) -> EngineCase {
    EngineCase { name, layers, remark: "" }
}

/// With the owner that many builders give.
fn non_root(entry: Entry) -> Entry {
    entry.owner(65532, 65532).mtime(0, 0)
}

/// Images of builders. A hard link has the attributes of its target, as in every tar that was made of a tree: containerd
/// would give others to the file.
pub fn builders() -> Vec<EngineCase> {
    let static_base = || {
        vec![
            Entry::dir("./").mtime(0, 0),
            Entry::dir("./etc/").mtime(0, 0),
            Entry::file("./etc/passwd", "root:x:0:0::/root:/sbin/nologin\n").mtime(0, 0),
            Entry::dir("./home/nonroot/").mode(0o700).owner(65532, 65532).mtime(0, 0),
        ]
    };
    vec![
        case(
            "ko: read-only directories, no time",
            vec![
                static_base(),
                vec![
                    Entry::dir("ko-app").mode(0o555).mtime(0, 0),
                    Entry::program("ko-app/server", "#!").mode(0o555).mtime(0, 0),
                ],
                vec![
                    Entry::dir("var/run/ko").mode(0o555).mtime(0, 0),
                    Entry::symlink("var/run/ko/HEAD", "../../../.git/HEAD").mtime(0, 0),
                    Entry::file("var/run/ko/index.html", "hi").mode(0o444).mtime(0, 0),
                ],
            ],
        ),
        case(
            "jib: second 1, absolute names",
            vec![
                static_base(),
                vec![
                    Entry::dir("/app/").mtime(1, 0),
                    Entry::dir("/app/libs/").mtime(1, 0),
                    Entry::file("/app/libs/a-1.0.jar", "PK").mtime(1, 0),
                ],
                vec![
                    Entry::dir("/app/").mtime(1, 0),
                    Entry::file("/app/jib-classpath-file", "/app/libs/*").mtime(1, 0),
                ],
            ],
        ),
        case(
            "kaniko: an entry for /, whole parents in every layer",
            vec![
                static_base(),
                vec![
                    Entry::dir("/"),
                    Entry::dir("home/").mode(0o755),
                    Entry::dir("home/nonroot/").mode(0o700).owner(65532, 65532),
                    Entry::file("home/nonroot/.profile", "x").owner(65532, 65532),
                    Entry::whiteout("etc/passwd"),
                ],
            ],
        ),
        case(
            "apko: a merged /usr, checksums in records of its own",
            vec![vec![
                Entry::dir("usr"),
                Entry::dir("usr/bin"),
                Entry::dir("usr/lib"),
                Entry::symlink("bin", "usr/bin"),
                Entry::symlink("lib", "usr/lib"),
                Entry::symlink("sbin", "usr/bin"),
                Entry::program("usr/bin/busybox", "#!")
                    .record("APK-TOOLS.checksum.SHA1", "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33"),
                Entry::symlink("usr/bin/sh", "/bin/busybox"),
                Entry::hard_link("usr/bin/ash", "usr/bin/busybox").mode(0o755),
            ]],
        ),
        case(
            "Nix: one tree for each package, read-only, second 1, hard links into others",
            vec![
                vec![
                    Entry::dir("./").mode(0o755).mtime(1, 0),
                    Entry::dir("./nix").mode(0o755).mtime(1, 0),
                    Entry::dir("./nix/store").mode(0o1755).mtime(1, 0),
                    Entry::dir("./nix/store/aaaa-glibc").mode(0o555).mtime(1, 0),
                    Entry::dir("./nix/store/aaaa-glibc/lib").mode(0o555).mtime(1, 0),
                    Entry::file("./nix/store/aaaa-glibc/lib/libc.so", "c").mode(0o555).mtime(1, 0),
                    Entry::hard_link(
                        "./nix/store/aaaa-glibc/lib/libm.so",
                        "./nix/store/aaaa-glibc/lib/libc.so",
                    )
                    .mode(0o555)
                    .mtime(1, 0),
                ],
                vec![
                    Entry::dir("./nix").mode(0o755).mtime(1, 0),
                    Entry::dir("./nix/store").mode(0o1755).mtime(1, 0),
                    Entry::dir("./nix/store/bbbb-hello").mode(0o555).mtime(1, 0),
                    Entry::program("./nix/store/bbbb-hello/hello", "#!").mode(0o555).mtime(1, 0),
                    Entry::symlink("./bin", "nix/store/bbbb-hello").mtime(1, 0),
                ],
            ],
        ),
        case(
            "Bazel: no entries for directories, a global header, a package's links",
            vec![
                static_base(),
                vec![
                    Entry::new(
                        "pax_global_header",
                        Kind::Other(b'g', b"19 comment=0123456\n".to_vec()),
                    ),
                    Entry::file("./app/bin/tool.runfiles/main/tool", "#!").mode(0o555).mtime(0, 0),
                    Entry::file("./app/bin/tool.runfiles/main/data", "x").mode(0o555).mtime(0, 0),
                    Entry::symlink("./app/bin/tool", "/app/bin/tool.runfiles/main/tool")
                        .mtime(0, 0),
                ],
                vec![non_root(Entry::file("./etc/app/conf", "y"))],
            ],
        ),
        case(
            "Bazel: packages put together, whose names go through another's symlink",
            vec![vec![
                Entry::dir("./"),
                Entry::symlink("./lib", "usr/lib"),
                Entry::symlink("./usr/lib64", "/lib"),
                Entry::file("./lib/x86_64-linux-gnu/libc.so.6", "c"),
                Entry::file("./usr/lib64/ld.so", "l"),
                Entry::dir("./usr/lib/x86_64-linux-gnu").mode(0o711),
                Entry::symlink("./usr/bin", "../bin"),
                Entry::program("./usr/bin/sh", "#!"),
            ]],
        ),
        case(
            "buildah: the root's own entry closed, times below a second, PAX throughout",
            vec![
                static_base(),
                vec![
                    Entry::dir("./").mode(0o700).mtime(1_600_000_000, 123_456_789),
                    Entry::dir("./run").mode(0o755).mtime(1_600_000_000, 999_999_999),
                    Entry::dir("./run/secrets").mtime(1_600_000_000, 1),
                    Entry::opaque("./etc"),
                    Entry::file("./etc/hosts", "").mtime(1_600_000_000, 5),
                ],
            ],
        ),
        case(
            "eStargz: landmark and table of contents are files like any other",
            vec![vec![
                Entry::file(".no.prefetch.landmark", b"\x0f".to_vec()),
                Entry::dir("bin/"),
                Entry::program("bin/tool", "#!"),
                Entry::file("stargz.index.json", r#"{"version":1,"entries":[]}"#),
            ]],
        ),
    ]
}

/// What formats and old programs allow.
pub fn oddities() -> Vec<EngineCase> {
    let usr = || {
        vec![
            Entry::dir("usr"),
            Entry::dir("usr/lib").mode(0o751).mtime(1_600_000_000, 0),
            Entry::dir("usr/lib/sub").mode(0o711).mtime(1_600_000_000, 0),
            Entry::file("usr/lib/libc.so", "c"),
            Entry::symlink("lib", "usr/lib"),
            Entry::symlink("var", "nowhere"),
        ]
    };
    vec![
        EngineCase {
            name: "names below a symlink of a lower layer",
            layers: vec![
                usr(),
                vec![
                    Entry::file("lib/own", "o"),
                    Entry::file("lib/sub/deep", "d"),
                    Entry::file("var/log", "l"),
                ],
            ],
            remark: "names below a symlink of a lower layer, and no entry for the directory itself \
                     (/lib, /var)",
        },
        case(
            "names below a file of a lower layer",
            vec![usr(), vec![Entry::file("usr/lib/libc.so/x", "x")]],
        ),
        case(
            "times before 1970 and from 2262 on, attributes in trusted",
            vec![vec![
                Entry::file("before", "x").mtime(-5, 250_000_000),
                Entry::file("late", "x").mtime(8_600_000_000, 0),
                Entry::file("too-late", "x").record("mtime", "9223372037"),
                Entry::dir("long-ago").mtime(-1_000_000_000, 0),
                Entry::file("attributes", "x").xattr("trusted.note", "t").xattr("user.note", "u"),
            ]],
        ),
        case(
            "owners of 32 bits, and of more",
            vec![vec![
                Entry::file("most", "x").owner(4_294_967_294, 4_294_967_294),
                Entry::file("half", "x").owner(2_147_483_648, 3_000_000_000),
                Entry::file("none", "x").record("uid", "4294967295").record("gid", "4294967295"),
                Entry::file("more", "x").record("uid", "4294968296").record("gid", "-2"),
            ]],
        ),
        case(
            "files that AUFS kept, with links to them",
            vec![vec![
                Entry::dir("d"),
                Entry::dir(".wh..wh.plnk"),
                Entry::file(".wh..wh.aufs", ""),
                Entry::file(".wh..wh.plnk/12.34", "kept"),
                Entry::hard_link("d/one", ".wh..wh.plnk/12.34"),
                Entry::hard_link("two", ".wh..wh.plnk/12.34"),
            ]],
        ),
    ]
}

/// Layers that engines refuse, and that are published nevertheless.
pub fn refused_by_engines() -> Vec<EngineCase> {
    let base = || vec![Entry::dir("d"), Entry::file("d/f", "low")];
    vec![
        EngineCase {
            name: "a hard link to a file of a lower layer",
            layers: vec![base(), vec![Entry::hard_link("x", "d/f")]],
            remark: "has hard links to files of lower layers (/x to /d/f): containerd's overlayfs",
        },
        case(
            "a hard link before its target",
            vec![vec![Entry::hard_link("x", "y"), Entry::file("y", "later")]],
        ),
    ]
}
