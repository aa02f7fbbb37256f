//! What DUCC's own integration tests check, with this program in its place. The numbers are those of the tests.
//!
//! 405 is about a store for Podman and 406 about a daemon, which this program does not have.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use e2e::apptainer::{Mode, apptainer};
use e2e::busybox;
use e2e::containerd::{Settings, Version};
use e2e::cvmfs_ducc::CvmfsDucc;
use e2e::docker::Docker;
use e2e::ducc::closed_dir_in;
use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::native::Native;
use e2e::node::Node;
use e2e::process::run;
use e2e::registry::{Access, PASSWORD, Registry, USER};
use e2e::snapshotter::Snapshotter;
use e2e::tree::{FileKind, Tree};
use e2e::tree_diff::ensure_same;
use e2e::{Result, ensure, runc};

/// Something that runs and tells its name.
fn system(dir: &Path, name: &str) -> Result<Image> {
    let blobs = dir.join("blobs");
    let release = [
        Entry::dir("etc"),
        Entry::file("etc/os-release", format!("NAME={name}\n")),
        Entry::whiteout("etc/group"),
        Entry::dir("usr"),
        Entry::program("usr/su", "su").mode(0o4755).owner(0, 7),
        Entry::hard_link("usr/sudo", "usr/su").mode(0o4755).owner(0, 7),
    ];
    let layers = [busybox::layer(&blobs)?, Layer::build(&blobs, Compression::Gzip, &release)?];
    Image::new(Format::Docker, Config::with_cmd(["cat", "/etc/os-release"]), &layers)
}

/// Docker with our snapshotter on a repository in a directory.
fn docker(registry: &Registry, repository: &Path) -> Result<(Docker, Snapshotter)> {
    let node = Rc::new(Node::new()?);
    let snapshotter = Snapshotter::start(&node, &[repository])?;
    let settings = Settings::new(Version::newest()?).with_registry(registry);
    Ok((Docker::start(&node, settings.with_plugin(Some(snapshotter.plugin())))?, snapshotter))
}

#[test]
fn test_400_a_wish_list_of_two_systems() -> Result<()> {
    let (registry, native, ducc) = (Registry::start()?, Native::create()?, CvmfsDucc::install()?);
    let ducc = ducc.env("DUCC_KEYS", native.keys()).env("DUCC_OUTPUT_REGISTRY_PASS", "password");
    let directory = ducc.make_dir("unpacked.example.org")?;
    let names = ["library/ubuntu:22.04", "library/centos:7"];
    for name in names {
        push(&registry, name, &system(ducc.dir(), name)?)?;
    }
    let sources = names.map(|name| registry.source(name));
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    // Converted until nothing fails; that is the first time.
    for (name, locator) in
        [("directory.yaml", directory.display().to_string()), ("native.yaml", native.locator())]
    {
        let list = ducc.wish_list(name, &locator, &sources)?;
        let script = format!("cvmfs_ducc convert {list} 2> log && ! grep level=error log");
        run(&mut ducc.script(&script))?;
    }
    // cvmfs_server check -i
    native.check()?;
    ducc.run(0, &["verify", &native.locator()])?;

    let node = Node::new()?;
    let (docker, _snapshotter) = docker(&registry, &directory)?;
    for name in names {
        let said = format!("NAME={name}\n");
        let public = directory.join(registry.reference(name));
        let output =
            apptainer(&node, Mode::UserNamespace, "exec", &public, &["cat", "/etc/os-release"])?;
        ensure!(output.stdout == said, "apptainer exec {name}: {}", output.both());
        let (repository, tag) = name.split_once(':').unwrap_or_default();
        let thin = registry.reference(&format!("{repository}_thin:{tag}"));
        let output = docker.run(&thin, &[])?;
        ensure!(output.stdout == said, "docker run {thin}: {}", output.both());
    }
    Ok(())
}

#[test]
fn test_401_parts_that_are_left_out() -> Result<()> {
    let (registry, ducc) = (Registry::start()?, CvmfsDucc::install()?);
    push(&registry, "library/one:1", &system(ducc.dir(), "one")?)?;
    let layers = |repository: &Path| -> Result<usize> {
        Ok(fs::read_dir(repository.join(".layers"))?.count())
    };
    // The public path. Layers are there all the same, as with DUCC since its flat roots are made of them.
    let flat = ducc.make_dir("flat.example.org")?;
    let (source, locator) = (registry.source("library/one:1"), flat.display().to_string());
    ducc.run(
        0,
        &["convert-single-image", &source, &locator, "--skip-layers", "--skip-thin-image"],
    )?;
    ensure!(flat.join(registry.reference("library/one:1")).is_dir() && layers(&flat)? > 0);
    // Layers and no public path.
    let bare = ducc.make_dir("layers.example.org")?;
    let locator = bare.display().to_string();
    ducc.run(0, &["convert-single-image", &source, &locator, "--skip-thin-image", "--skip-flat"])?;
    ensure!(fs::symlink_metadata(bare.join(registry.reference("library/one:1"))).is_err());
    ensure!(!bare.join(".flat").exists() && layers(&bare)? == 2);
    Ok(())
}

#[test]
fn test_402_a_directory_for_temporary_files() -> Result<()> {
    let (registry, ducc) = (Registry::start()?, CvmfsDucc::install()?);
    let repository = ducc.make_dir("unpacked.example.org")?;
    let temporary = ducc.make_dir("temporary")?.display().to_string();
    let names = ["library/one:1", "library/two:1"];
    for name in names {
        push(&registry, name, &system(ducc.dir(), name)?)?;
    }
    let sources = names.map(|name| registry.source(name));
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let list = ducc.wish_list("recipe.yaml", &repository.display().to_string(), &sources)?;
    ducc.run(0, &["convert", "--skip-thin-image", "--temporary-dir", &temporary, &list])?;
    for path in [".layers", ".flat", ".metadata"] {
        ensure!(repository.join(path).is_dir(), "{path}");
    }
    for name in names.map(|name| registry.reference(name)) {
        ensure!(repository.join(&name).join("etc/os-release").is_file(), "{name}");
        ensure!(repository.join(".metadata").join(&name).join("manifest.json").is_file(), "{name}");
    }
    ensure!(fs::read_dir(&temporary)?.next().is_none(), "something is left in {temporary}");
    Ok(())
}

#[test]
fn test_403_wildcards() -> Result<()> {
    let (registry, ducc) = (Registry::start()?, CvmfsDucc::install()?);
    // Six tags, two of which are one image.
    let tags = ["1", "1.0", "1.1", "2.0", "latest", "test"];
    for tag in tags {
        let content = if tag == "latest" { "2.0" } else { tag };
        push(&registry, &format!("org/many:{tag}"), &system(ducc.dir(), content)?)?;
    }
    for (pattern, expected) in [
        ("*", &tags[..]),
        ("1*", &["1", "1.0", "1.1"]),
        ("1.*", &["1.0", "1.1"]),
        ("*t", &["latest", "test"]),
        ("2.0", &["2.0"]),
    ] {
        let repository = closed_dir_in("/dev/shm")?;
        let source = registry.source(&format!("org/many:{pattern}"));
        let locator = repository.path().display().to_string();
        let list = ducc.wish_list("recipe.yaml", &locator, &[&source])?;
        ducc.run(0, &["convert", "-i", &list])?;
        let public = repository.path().join(registry.reference("org"));
        let found: BTreeSet<String> = fs::read_dir(public)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        let wanted: BTreeSet<String> = expected.iter().map(|tag| format!("many:{tag}")).collect();
        ensure!(found == wanted, "{pattern}: {found:?}");
        let roots: BTreeSet<PathBuf> = found
            .iter()
            .map(|name| {
                Ok(fs::read_link(repository.path().join(registry.reference("org")).join(name))?)
            })
            .collect::<Result<_>>()?;
        let same = usize::from(found.contains("many:latest") && found.contains("many:2.0"));
        ensure!(roots.len() == found.len() - same, "{pattern}: {roots:?}");
    }
    Ok(())
}

#[test]
fn test_404_a_thin_image_of_a_given_name() -> Result<()> {
    // Who pushes has a name and a password.
    let (secured, ducc) = (Registry::start_with(Access::Basic, false)?, CvmfsDucc::install()?);
    let repository = ducc.make_dir("unpacked.example.org")?;
    push(&secured, "library/one:1", &system(ducc.dir(), "one")?)?;
    let (source, thin) = (secured.source("library/one:1"), secured.source("thin/any:name"));
    let auth = [
        ("DUCC_AUTH_REGISTRIES", "R"),
        ("DUCC_R_IDENT", &secured.host()),
        ("DUCC_R_USER", USER),
        ("DUCC_R_PASS", PASSWORD),
    ];
    let locator = repository.display().to_string();
    let words =
        ["convert-single-image", "--thin-image-name", &thin, "--username", USER, &source, &locator];
    let mut convert = ducc.command(&words);
    convert.envs(auth).env("DOCKER2CVMFS_DOCKER_REGISTRY_PASS", PASSWORD);
    run(&mut convert)?;

    let (docker, _snapshotter) = docker(&secured, &repository)?;
    docker.docker(&["login", "--username", USER, "--password", PASSWORD, &secured.host()])?;
    let reference = secured.reference("thin/any:name");
    for _ in 0..2 {
        let (output, traffic) = secured.watch(|| {
            docker.docker(&["pull", &reference])?;
            docker.run(&reference, &[])
        })?;
        ensure!(output.stdout == "NAME=one\n", "{}", output.both());
        ensure!(traffic.blobs().len() <= 1, "more than the configuration: {:?}", traffic.blobs());
        docker.docker(&["rmi", &reference])?;
    }
    Ok(())
}

/// The image of [`with_one`].
const ONE: &str = "library/one:1";

/// A repository with one published image, which says `NAME=one`.
fn with_one(registry: &Registry, ducc: &CvmfsDucc) -> Result<PathBuf> {
    let repository = ducc.make_dir("unpacked.example.org")?;
    push(registry, ONE, &system(ducc.dir(), "one")?)?;
    let locator = repository.display().to_string();
    ducc.run(0, &["convert-single-image", "-i", &registry.source(ONE), &locator])?;
    Ok(repository)
}

/// The check of upstream's unpacker: what Docker exports of a container is what is unpacked, names, kinds and content.
#[test]
fn test_unpacker_against_docker_export() -> Result<()> {
    let (registry, ducc) = (Registry::start()?, CvmfsDucc::install()?);
    let repository = with_one(&registry, &ducc)?;
    // Docker unpacks by itself: this repository is empty.
    let (docker, _snapshotter) = docker(&registry, &ducc.make_dir("empty.example.org")?)?;
    let reference = registry.reference(ONE);
    docker.docker(&["pull", &reference])?;
    docker.docker(&["create", "--network", "none", "--name", "one", &reference])?;
    let (archive, unpacked) = (ducc.path("one.tar"), ducc.make_dir("unpacked")?);
    docker.docker(&["export", "--output", &archive, "one"])?;
    run(Command::new("tar").args(["-xpf", &archive, "-C"]).arg(&unpacked))?;

    let compared = |root: &Path| -> Result<Tree> {
        let mut tree = Tree::read(root)?.without_root();
        // What Docker and Apptainer add: mount points, and files for starting a container.
        let added = |path: &[u8]| {
            let path = String::from_utf8_lossy(path).into_owned();
            let first = path.split('/').next().unwrap_or_default();
            let of_root =
                ["dev", "proc", "sys", "run", "root", "home", "var", "singularity", "environment"];
            let of_etc = ["etc/hosts", "etc/resolv.conf", "etc/hostname", "etc/mtab"];
            first.starts_with('.') || of_root.contains(&first) || of_etc.contains(&path.as_str())
        };
        tree.0.retain(|path, _| !added(path));
        for facts in tree.0.values_mut() {
            // Directories have another time when something was added.
            if facts.kind == FileKind::Dir {
                facts.mtime = (0, 0);
            }
        }
        Ok(tree)
    };
    let flat = fs::canonicalize(repository.join(&reference))?;
    ensure_same("docker export", &compared(&unpacked)?, "flat root", &compared(&flat)?)
}

/// The tests that clients run: list the repository, `apptainer exec` and runc with a bind mount on a public path.
#[test]
fn test_container_001_002_004() -> Result<()> {
    let (registry, ducc) = (Registry::start()?, CvmfsDucc::install()?);
    let repository = with_one(&registry, &ducc)?;
    let listed: Vec<String> = fs::read_dir(repository.join(registry.host()).join("library"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    ensure!(listed == ["one:1"], "{listed:?}");
    let node = Node::new()?;
    let public = repository.join(registry.reference(ONE));
    for mode in [Mode::Root, Mode::UserNamespace] {
        let output = apptainer(&node, mode, "exec", &public, &["cat", "/etc/os-release"])?;
        ensure!(output.stdout == "NAME=one\n", "{mode:?}: {}", output.both());
    }
    let root = fs::canonicalize(&public)?;
    let output = runc::run_readonly(&node, &root, "one", &["cat", "/etc/os-release"])?;
    ensure!(output.stdout == "NAME=one\n", "{}", output.both());
    Ok(())
}
