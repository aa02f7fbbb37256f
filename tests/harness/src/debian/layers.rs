//! The layers of the realistic image, base first.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::GREETING;
use super::packages::Package;
use crate::image::{Compression, Content, Entry, Kind, Layer, LayerBuilder, LongNames};
use crate::process::run;
use crate::tools;

/// Entries by path, so that a layer is always in the same order.
type Entries = BTreeMap<Vec<u8>, Entry>;

/// Top-level directories that are links into `/usr`.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Builds all layers; `dir` is for intermediate files and must outlive them.
pub(super) fn build(dir: &Path, packages: &[Package]) -> Result<Vec<Layer>> {
    let blobs = dir.join("blobs");
    let write = |entries: &Entries| write_layer(&blobs, entries);
    let (mut base, mut python, mut numpy) = (Entries::new(), Entries::new(), Entries::new());
    for package in packages {
        let layer = match package.name.as_str() {
            "python3-numpy" | "python3-pkg-resources" | "libgfortran5" | "libquadmath0" => {
                &mut numpy
            }
            name if name.starts_with("libblas") || name.starts_with("liblapack") => &mut numpy,
            name if name.starts_with("python3") || name.starts_with("libpython3") => &mut python,
            _ => &mut base,
        };
        unpack(package, layer).with_context(|| format!("reading {}", package.file.display()))?;
    }
    finish_base(&mut base);
    alternatives(&mut numpy)?;
    let ping = base.get(b"usr/bin/ping".as_slice()).context("the image has no ping")?.clone();
    let interpreter = interpreter(&python)?;
    let mut layers = vec![write(&base)?, write(&python)?, write(&numpy)?];
    layers.push(write(&generated(dir, &layers)?)?);
    let application = write(&application())?;
    layers.push(application.clone());
    layers.push(write(&changes(&ping, &interpreter))?);
    layers.push(application);
    layers.push(write(&top())?);
    Ok(layers)
}

fn write_layer(blobs: &Path, entries: &Entries) -> Result<Layer> {
    let mut layer = LayerBuilder::new(blobs, Compression::Gzip, LongNames::Pax)?;
    for entry in entries.values() {
        layer.append(entry)?;
    }
    layer.finish()
}

fn add(entries: &mut Entries, entry: Entry) {
    entries.insert(entry.path.clone(), entry);
}

/// Reads a package's files as entries, with paths as on a system with a merged `/usr`.
fn unpack(package: &Package, entries: &mut Entries) -> Result<()> {
    let mut child = Command::new(tools::host("dpkg-deb")?)
        .arg("--fsys-tarfile")
        .arg(&package.file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut archive = tar::Archive::new(child.stdout.take().context("dpkg-deb has no output")?);
    let mut links = Vec::new();
    for member in archive.entries()? {
        let mut member = member?;
        let Some(path) = merged_path(&member.path_bytes()) else { continue };
        let header = member.header().clone();
        let target = member.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
        let kind = match header.entry_type() {
            tar::EntryType::Directory if entries.contains_key(&path) => continue,
            tar::EntryType::Directory => Kind::Dir,
            tar::EntryType::Symlink => Kind::Symlink(target),
            tar::EntryType::Link => {
                links.push((path, merged_path(&target).context("a hard link to nothing")?));
                continue;
            }
            _ => {
                let mut bytes = Vec::new();
                member.read_to_end(&mut bytes)?;
                Kind::File(Content::Bytes(bytes.into()))
            }
        };
        let mut entry = Entry::new(path, kind)
            .mode(header.mode()? & 0o7777)
            .owner(header.uid()?, header.gid()?);
        entry.mtime.seconds = i64::try_from(header.mtime()?)?;
        add(entries, entry);
    }
    let status = child.wait()?;
    ensure!(status.success(), "dpkg-deb: {status}");
    for (path, target) in links {
        hard_link(entries, path, target)?;
    }
    Ok(())
}

/// Adds a hard link; the file itself goes to whichever path sorts first.
fn hard_link(entries: &mut Entries, path: Vec<u8>, target: Vec<u8>) -> Result<()> {
    let mut file =
        entries.get(&target).context("a hard link to a file that is not in its package")?.clone();
    let (first, second) = if path < target { (path, target) } else { (target, path) };
    file.path.clone_from(&first);
    let mut link = file.clone();
    link.path = second;
    link.kind = Kind::HardLink(first);
    add(entries, file);
    add(entries, link);
    Ok(())
}

/// `./lib/x` is `usr/lib/x`; `None` for the root and the merged directories themselves.
fn merged_path(path: &[u8]) -> Option<Vec<u8>> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
    let is_merged = MERGED.iter().any(|name| name.as_bytes() == first);
    match (path, is_merged) {
        (b"" | b".", _) => None,
        (path, true) if path == first => None,
        (path, true) => Some([b"usr/", path].concat()),
        (path, false) => Some(path.to_vec()),
    }
}

/// Does what the packages' maintainer scripts would do.
fn finish_base(base: &mut Entries) {
    for name in MERGED {
        add(base, Entry::symlink(name, format!("usr/{name}")));
        if !base.contains_key(format!("usr/{name}").as_bytes()) {
            add(base, Entry::dir(format!("usr/{name}")));
        }
    }
    add(base, Entry::symlink("usr/bin/sh", "dash"));
    add(
        base,
        Entry::file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/bin/sh\n",
        ),
    );
    add(base, Entry::file("etc/group", "root:x:0:\nshadow:x:42:\nnogroup:x:65534:\n"));
    add(base, Entry::file("etc/shadow", "root:*:19000:0:99999:7:::\n").mode(0o640).owner(0, 42));
}

/// Adds the links of `update-alternatives` that select BLAS and LAPACK.
fn alternatives(numpy: &mut Entries) -> Result<()> {
    for library in ["blas", "lapack"] {
        let suffix = format!("/{library}/lib{library}.so.3");
        let path = numpy
            .keys()
            .find(|path| path.ends_with(suffix.as_bytes()))
            .with_context(|| format!("no lib{library}.so.3 among the packages"))?;
        let directory = path.strip_suffix(suffix.as_bytes()).unwrap_or_default();
        let link = [directory, b"/lib", library.as_bytes(), b".so.3"].concat();
        add(numpy, Entry::symlink(link, format!("{library}/lib{library}.so.3")));
    }
    Ok(())
}

/// The Python program itself, `usr/bin/python3.N`.
fn interpreter(python: &Entries) -> Result<Entry> {
    let link = python.get(b"usr/bin/python3".as_slice()).context("the image has no python3")?;
    let Kind::Symlink(target) = &link.kind else { bail!("python3 is no link") };
    let path = [b"usr/bin/", target.as_slice()].concat();
    python.get(&path).cloned().context("python3 is a link to nothing")
}

/// What programs of the image generate: the linker's cache and compiled Python modules.
fn generated(dir: &Path, layers: &[Layer]) -> Result<Entries> {
    let root = dir.join("root");
    fs::create_dir_all(&root)?;
    for layer in layers {
        let blob = dir.join("blobs").join(layer.blob.hex());
        run(Command::new(tools::host("tar")?).arg("-xzpf").arg(blob).arg("-C").arg(&root))?;
    }
    run(Command::new(tools::host("ldconfig")?).arg("-r").arg(&root))?;
    let mut compile = Command::new(tools::host("chroot")?);
    compile.arg(&root).args([
        "/usr/bin/python3",
        "-m",
        "compileall",
        "-q",
        "-x",
        "/(tests?|idlelib)/",
        "/usr/lib",
    ]);
    compile.env_clear().env("PYTHONHASHSEED", "0");
    run(&mut compile)?;
    let mut entries = Entries::new();
    add(&mut entries, Entry::file("etc/ld.so.cache", fs::read(root.join("etc/ld.so.cache"))?));
    collect_compiled(&root, &root.join("usr/lib"), &mut entries)?;
    Ok(entries)
}

fn collect_compiled(root: &Path, dir: &Path, entries: &mut Entries) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_dir() {
            continue;
        }
        if entry.file_name() != "__pycache__" {
            collect_compiled(root, &path, entries)?;
            continue;
        }
        let inside = path.strip_prefix(root)?.as_os_str().as_bytes().to_vec();
        for file in fs::read_dir(&path)? {
            let file = file?;
            let name = [inside.as_slice(), b"/", file.file_name().as_bytes()].concat();
            add(entries, Entry::file(name, fs::read(file.path())?));
        }
        add(entries, Entry::dir(inside));
    }
    Ok(())
}

/// A layer that occurs twice in the image: an application with every kind of file.
fn application() -> Entries {
    let mut entries = Entries::new();
    let long =
        format!("opt/app/{}/{}", "long-directory-name".repeat(4), "long-file-name".repeat(6));
    let (long_dir, _) = long.split_at(long.rfind('/').unwrap_or_default());
    for entry in [
        Entry::dir("opt/app").mtime(1_700_000_000, 123_456_789),
        Entry::dir("opt/app/bin"),
        Entry::program("opt/app/bin/tool", "#!/bin/sh\nexec id -u\n").mode(0o4755),
        Entry::program("opt/app/bin/shared-tool", "#!/bin/sh\nexec id -g\n")
            .mode(0o2755)
            .owner(0, 42),
        Entry::file("opt/app/config.ini", "[app]\nfrom = application layer\n")
            .mtime(1_700_000_000, 1),
        Entry::dir("opt/app/data").mode(0o1777),
        Entry::file("opt/app/data/a", "one file, three names\n")
            .owner(1000, 1000)
            .xattr("user.note", b"\x00\xffbinary".to_vec()),
        Entry::hard_link("opt/app/data/b", "opt/app/data/a")
            .owner(1000, 1000)
            .xattr("user.note", b"\x00\xffbinary".to_vec()),
        Entry::hard_link("opt/app/data/c", "opt/app/data/a")
            .owner(1000, 1000)
            .xattr("user.note", b"\x00\xffbinary".to_vec()),
        Entry::file(b"opt/app/data/not-utf8-\xff\xfe".to_vec(), "bytes are bytes\n"),
        Entry::dir("opt/app/dev"),
        Entry::new("opt/app/dev/null", Kind::CharDevice(1, 3)).mode(0o666),
        Entry::new("opt/app/dev/loop0", Kind::BlockDevice(7, 0)).mode(0o660).owner(0, 6),
        Entry::new("opt/app/dev/pipe", Kind::Fifo).mode(0o600),
        Entry::symlink("opt/app/dangling", "/nowhere/at/all"),
        Entry::symlink("opt/app/current", "bin"),
        Entry::dir(long_dir),
        Entry::file(long.as_str(), "a path longer than a tar header holds\n"),
    ] {
        add(&mut entries, entry);
    }
    entries
}

/// Deletes and replaces files of the layers below, and links to them.
fn changes(ping: &Entry, interpreter: &Entry) -> Entries {
    let mut entries = Entries::new();
    // A link to a lower layer's file, as builders on overlayfs record it: the file is copied up and so is part of the
    // layer. (containerd refuses a layer that has only the link.) The link's header repeats the file's attributes.
    let mut python = interpreter.clone();
    python.path = b"usr/local/bin/python".to_vec();
    python.kind = Kind::HardLink(interpreter.path.clone());
    let mut ping = ping.clone();
    ping.xattrs.insert(b"security.capability".to_vec(), net_raw_capability());
    for entry in [
        Entry::whiteout("usr/share/doc"),
        Entry::whiteout("opt/app/config.ini"),
        Entry::whiteout("opt/app/never-was-there"),
        Entry::dir("opt/app/data"),
        Entry::opaque("opt/app/data"),
        Entry::file("opt/app/data/fresh", "seen together with the application's\n"),
        Entry::dir("usr/share/locale"),
        Entry::opaque("usr/share/locale"),
        Entry::file("usr/share/locale/locale.alias", "# none\n"),
        interpreter.clone(),
        python,
        ping,
    ] {
        add(&mut entries, entry);
    }
    entries
}

/// CAP_NET_RAW, permitted and effective: `struct vfs_cap_data` of revision 2 (linux/capability.h), little endian.
fn net_raw_capability() -> Vec<u8> {
    const REVISION_2_EFFECTIVE: u32 = 0x0200_0001;
    const NET_RAW: u32 = 1 << 13;
    [REVISION_2_EFFECTIVE, NET_RAW, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes).collect()
}

fn top() -> Entries {
    let mut entries = Entries::new();
    let program = format!(
        "import numpy\nprint('{}')\n",
        GREETING.replace("4950", "' + str(int(numpy.arange(100).sum())) + '")
    );
    add(&mut entries, Entry::file("usr/local/bin/greet.py", program));
    add(&mut entries, Entry::file("etc/marker", "top layer\n"));
    entries
}
