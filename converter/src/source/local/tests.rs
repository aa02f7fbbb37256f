use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use layer_layout::{Digest, ImageReference};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::source::{Error, Image, Options, Result, Source, media_type};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Files by name.
type Files = Vec<(String, Vec<u8>)>;

fn options() -> Options {
    Options { platform: "linux/amd64".parse().unwrap(), ..Options::default() }
}

fn blob(content: &[u8]) -> (String, Vec<u8>) {
    (format!("blobs/sha256/{}", Digest::of(content).hex()), content.to_vec())
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(content), "size": content.len()})
}

fn config() -> Vec<u8> {
    br#"{"architecture":"amd64","os":"linux"}"#.to_vec()
}

/// A manifest with one layer.
fn manifest(layer: &[u8]) -> Vec<u8> {
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor(media_type::OCI_CONFIG, &config()),
        "layers": [descriptor(LAYER, layer)],
    });
    serde_json::to_vec(&manifest).unwrap()
}

fn index(manifests: &[Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": manifests})).unwrap()
}

fn tagged(mut descriptor: Value, tag: &str) -> Value {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    descriptor
}

fn on(mut descriptor: Value, os: &str, architecture: &str) -> Value {
    descriptor["platform"] = json!({"os": os, "architecture": architecture});
    descriptor
}

/// A layout with images of one layer each, whose content is `layers`.
fn layout(layers: &[&[u8]], manifests: &[Value]) -> Files {
    let mut files = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index(manifests)),
        blob(&config()),
    ];
    files.extend(layers.iter().flat_map(|layer| [blob(layer), blob(&manifest(layer))]));
    files
}

fn image_of(layer: &[u8]) -> Value {
    descriptor(media_type::OCI_MANIFEST, &manifest(layer))
}

fn write_directory(files: &Files, path: &Path) {
    for (name, content) in files {
        let file = path.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
}

enum Item<'a> {
    File(&'a str, &'a [u8]),
    Symlink(&'a str, &'a str),
    HardLink(&'a str, &'a str),
}

fn tar(items: &[Item<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = tar::Header::new_gnu();
        match *item {
            Item::File(name, content) => {
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, name, content).unwrap();
            }
            Item::Symlink(name, target) | Item::HardLink(name, target) => {
                let symlink = matches!(item, Item::Symlink(..));
                let kind = if symlink { tar::EntryType::Symlink } else { tar::EntryType::Link };
                header.set_entry_type(kind);
                header.set_size(0);
                archive.append_link(&mut header, name, target).unwrap();
            }
        }
    }
    archive.into_inner().unwrap()
}

fn tar_of(files: &Files) -> Vec<u8> {
    let items: Vec<_> = files.iter().map(|(name, content)| Item::File(name, content)).collect();
    tar(&items)
}

/// A private directory with one file.
fn file(name: &str, content: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    (directory, path)
}

async fn open(reference: &str) -> Result<(Source, Image)> {
    let reference: ImageReference = reference.parse().unwrap();
    let source = Source::open(&reference, &options()).await?;
    let image = source.resolve(None).await?;
    Ok((source, image))
}

async fn read(source: &Source, image: &Image, layer: usize) -> Result<Vec<u8>> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let on_bytes = Arc::new(move |bytes| {
        counter.fetch_add(bytes, Ordering::SeqCst);
    });
    let mut reader = source.layer(&image.layers[layer], on_bytes).await?;
    let mut content = Vec::new();
    reader.read_to_end(&mut content).map_err(|error| error.downcast::<Error>().unwrap())?;
    assert_eq!(count.load(Ordering::SeqCst), content.len() as u64);
    Ok(content)
}

#[tokio::test]
async fn layouts() {
    let inner = index(&[
        on(image_of(b"arm"), "linux", "arm64"),
        on(image_of(b"amd"), "linux", "amd64"),
        on(image_of(b"attestation"), "unknown", "unknown"),
    ]);
    let nested = descriptor(media_type::OCI_INDEX, &inner);
    type Outcome = std::result::Result<(&'static [u8], &'static str), &'static str>;
    let cases: [(&str, Vec<Value>, &str, Outcome); 12] = [
        ("one", vec![image_of(b"one")], "", Ok((b"one", "latest"))),
        ("one, tagged", vec![tagged(image_of(b"one"), "1.0")], "", Ok((b"one", "1.0"))),
        (
            "one, tagged in full",
            vec![tagged(image_of(b"one"), "r.example/a:1.0")],
            ":1.0",
            Ok((b"one", "1.0")),
        ),
        (
            "no tag but words",
            vec![tagged(image_of(b"one"), "my image")],
            "",
            Ok((b"one", "latest")),
        ),
        (
            "two",
            vec![tagged(image_of(b"one"), "1"), tagged(image_of(b"two"), "2")],
            ":2",
            Ok((b"two", "2")),
        ),
        (
            "two, untold",
            vec![tagged(image_of(b"one"), "1"), tagged(image_of(b"two"), "2")],
            "",
            Err("several images: 1, 2; name one with oci:"),
        ),
        (
            "no such tag",
            vec![tagged(image_of(b"one"), "1")],
            ":3",
            Err("no image tagged \"3\"; it has 1"),
        ),
        (
            "one, two tags",
            vec![tagged(image_of(b"one"), "1"), tagged(image_of(b"one"), "2")],
            "",
            Ok((b"one", "1")),
        ),
        ("nested", vec![tagged(nested.clone(), "1")], "", Ok((b"amd", "1"))),
        (
            "flat platforms",
            vec![on(image_of(b"arm"), "linux", "arm64"), on(image_of(b"amd"), "linux", "amd64")],
            "",
            Ok((b"amd", "latest")),
        ),
        (
            "other platform",
            vec![on(image_of(b"arm"), "linux", "arm64"), on(image_of(b"one"), "linux", "386")],
            "",
            Err("no image for linux/amd64; it has linux/arm64, linux/386"),
        ),
        ("none", vec![], "", Err("has no image")),
    ];
    for (name, manifests, tag, expected) in cases {
        let mut files = layout(&[b"one", b"two", b"arm", b"amd"], &manifests);
        files.push(blob(&inner));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("My.Images");
        write_directory(&files, &path);
        let archive = directory.path().join("My.Images.tar");
        std::fs::write(&archive, tar_of(&files)).unwrap();
        let mut references = vec![(format!("oci:{}{tag}", path.display()), "my-images")];
        if tag.is_empty() {
            references.push((format!("oci-archive:{}", archive.display()), "my-images"));
        }
        for (reference, stem) in references {
            match (open(&reference).await, expected) {
                (Ok((source, image)), Ok((content, tag))) => {
                    assert_eq!(read(&source, &image, 0).await.unwrap(), content, "{name}");
                    assert_eq!(source.config(&image).await.unwrap(), config(), "{name}");
                    assert_eq!(image.manifest.bytes, manifest(content), "{name}");
                    assert_eq!(image.index.is_some(), name == "nested", "{name}");
                    assert_eq!(image.reference, reference, "{name}");
                    let public = image.name.unwrap().to_string();
                    assert_eq!(public, format!("localhost/{stem}:{tag}"), "{name}");
                }
                (Err(error), Err(part)) => {
                    let message = error.to_string();
                    assert!(message.contains(part), "{name}: {message}");
                    assert!(message.contains(&reference), "{name}: {message}");
                }
                (result, _) => panic!("{name}: {:?}", result.map(|(_, image)| image)),
            }
        }
    }
}

#[tokio::test]
async fn broken_layouts() {
    let good = layout(&[b"one"], &[image_of(b"one")]);
    let without =
        |name: &str| -> Files { good.iter().filter(|(other, _)| other != name).cloned().collect() };
    let with = |name: &str, content: &[u8]| {
        let mut files = without(name);
        files.push((name.to_owned(), content.to_vec()));
        files
    };
    let manifest_name = blob(&manifest(b"one")).0;
    let config_name = blob(&config()).0;
    let layer_name = blob(b"one").0;
    let changed = [&manifest(b"one")[..], b" "].concat();
    for (name, files, part) in [
        ("no oci-layout", without("oci-layout"), "has no oci-layout"),
        (
            "other version",
            with("oci-layout", br#"{"imageLayoutVersion":"2.0"}"#),
            "version \"2.0\"",
        ),
        ("no index", without("index.json"), "has no index.json"),
        ("index is text", with("index.json", b"text"), "not usable"),
        ("no manifest", without(&manifest_name), "has no blobs/sha256/"),
        ("wrong manifest", with(&manifest_name, &changed), "bytes"),
        ("huge index", with("index.json", &vec![b' '; (4 << 20) + 1]), "larger than 4194304"),
        ("no config", without(&config_name), "has no blobs/sha256/"),
        ("wrong config", with(&config_name, br#"{"architecture":"amd65","os":"linux"}"#), "digest"),
        ("no layer", without(&layer_name), "has no blobs/sha256/"),
        ("wrong layer", with(&layer_name, b"two"), "digest"),
        ("long layer", with(&layer_name, b"one!"), "4 bytes or more, expected 3"),
        ("short layer", with(&layer_name, b"on"), "2 bytes, expected 3"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (path, archive) =
            (directory.path().join("layout"), directory.path().join("layout.tar"));
        write_directory(&files, &path);
        std::fs::write(&archive, tar_of(&files)).unwrap();
        for reference in
            [format!("oci:{}", path.display()), format!("oci-archive:{}", archive.display())]
        {
            let result = async {
                let (source, image) = open(&reference).await?;
                source.config(&image).await?;
                read(&source, &image, 0).await
            };
            let message = result.await.unwrap_err().to_string();
            assert!(message.contains(part), "{name}: {message}");
            assert!(message.contains("layout"), "{name}: {message}");
        }
    }
    let message = open("oci:/does/not/exist").await.unwrap_err().to_string();
    assert!(message.contains("/does/not/exist"), "{message}");
}

/// Opening a pipe would block forever, and a device has no end.
#[tokio::test]
async fn blobs_are_regular_files() {
    let files = layout(&[b"one"], &[image_of(b"one")]);
    let directory = tempfile::tempdir().unwrap();
    write_directory(&files, directory.path());
    let layer = directory.path().join(blob(b"one").0);
    let (source, image) = open(&format!("oci:{}", directory.path().display())).await.unwrap();
    std::fs::remove_file(&layer).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &layer, 0o600.into()).unwrap();
    let error = read(&source, &image, 0).await.unwrap_err();
    assert!(matches!(error, Error::File { path, .. } if path == layer));
}

/// What `docker save` wrote for an image with these layers, and its `manifest.json` for further changes.
fn saved(config_name: &str, layers: &[&str], tags: Value) -> Vec<u8> {
    let saved = json!([{"Config": config_name, "RepoTags": tags, "Layers": layers}]);
    serde_json::to_vec(&saved).unwrap()
}

fn docker_config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    serde_json::to_vec(&config).unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, content).unwrap();
    encoder.finish().unwrap()
}

/// Until Docker 24: directories by layer, equal layers linked to each other.
#[tokio::test]
async fn docker_archives_of_the_old_kind() {
    let (one, two): (&[u8], &[u8]) = (&[1; 2000], &[2; 3000]);
    let config = docker_config(&[one, two, one, two]);
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let layers = ["a/layer.tar", "b/layer.tar", "c/layer.tar", "d/layer.tar"];
    let archive = tar(&[
        Item::File("a/layer.tar", one),
        Item::File("b/layer.tar", b"overwritten by a later entry of this name"),
        Item::File("b/layer.tar", two),
        Item::Symlink("c/layer.tar", "../a/layer.tar"),
        Item::HardLink("d/layer.tar", "b/layer.tar"),
        Item::File(&config_name, &config),
        Item::File("manifest.json", &saved(&config_name, &layers, json!(["debian:12"]))),
    ]);
    let (_directory, path) = file("saved.tar", &archive);
    let (source, image) = open(&format!("docker-archive:{}", path.display())).await.unwrap();
    for (layer, content) in [one, two, one, two].into_iter().enumerate() {
        assert_eq!(read(&source, &image, layer).await.unwrap(), content);
        assert_eq!(image.layers[layer].digest.digest(), &Digest::of(content));
        assert_eq!(image.layers[layer].media_type, "application/vnd.docker.image.rootfs.diff.tar");
    }
    assert_eq!(source.config(&image).await.unwrap(), config);
    assert_eq!(image.config.digest.digest(), &Digest::of(&config));
    assert_eq!(image.name.unwrap().to_string(), "docker.io/library/debian:12");
    // The form of Docker's own manifests, members in their order.
    let descriptor = |media_type: &str, content: &[u8]| {
        format!(
            r#"{{"mediaType":"application/vnd.docker.{media_type}","size":{},"digest":"{}"}}"#,
            content.len(),
            Digest::of(content)
        )
    };
    let layer = |content: &[u8]| descriptor("image.rootfs.diff.tar", content);
    let expected = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{},"layers":[{},{},{},{}]}}"#,
        descriptor("container.image.v1+json", &config),
        layer(one),
        layer(two),
        layer(one),
        layer(two)
    );
    assert_eq!(String::from_utf8_lossy(&image.manifest.bytes), expected);
    assert_eq!(image.manifest.media_type, media_type::DOCKER_MANIFEST);
}

/// Since Docker 25, and with compressed layers from its containerd store.
#[tokio::test]
async fn docker_archives_of_the_new_kind() {
    let (one, two, three): (&[u8], &[u8], &[u8]) = (&[1; 2000], &[2; 3000], &[3; 4000]);
    let config = docker_config(&[one, two, three]);
    let zstd = zstd::encode_all(three, 1).unwrap();
    let blobs = [blob(one), blob(&gzip(two)), blob(&config)];
    let odd = ("x/layer.tar".to_owned(), zstd.clone());
    let names = [blobs[0].0.as_str(), &blobs[1].0, &odd.0];
    let manifest = saved(&blobs[2].0, &names, Value::Null);
    let mut files = blobs.to_vec();
    files.extend([odd.clone(), ("manifest.json".to_owned(), manifest)]);
    let (_directory, path) = file("My saved.image.tar", &tar_of(&files));
    let (source, image) = open(&format!("docker-archive:{}", path.display())).await.unwrap();
    assert_eq!(image.name.as_ref().unwrap().to_string(), "localhost/my-saved-image:latest");
    for (layer, content, end) in
        [(0, one.to_vec(), ".tar"), (1, gzip(two), ".tar.gzip"), (2, zstd, ".tar.zstd")]
    {
        assert_eq!(image.layers[layer].digest.digest(), &Digest::of(&content));
        assert!(image.layers[layer].media_type.ends_with(end));
        assert_eq!(read(&source, &image, layer).await.unwrap(), content);
    }
}

#[tokio::test]
async fn docker_archives_that_are_refused() {
    let one: &[u8] = &[1; 2000];
    let config = docker_config(&[one]);
    let manifest = saved("c.json", &["l.tar"], json!(["a:1"]));
    let two: Vec<Value> = [&manifest[..], &saved("d.json", &[], Value::Null)]
        .iter()
        .flat_map(|saved| serde_json::from_slice::<Vec<Value>>(saved).unwrap())
        .collect();
    let two = serde_json::to_vec(&two).unwrap();
    let wrong_name = format!("{}.json", "0".repeat(64));
    let wrong = saved(&wrong_name, &["l.tar"], Value::Null);
    let absolute = saved("/etc/passwd", &["l.tar"], Value::Null);
    let good = [("c.json", &config[..]), ("l.tar", one)];
    let archive = |manifest: &[u8], others: &[(&str, &[u8])]| {
        let mut items = vec![Item::File("manifest.json", manifest)];
        items.extend(others.iter().map(|(name, content)| Item::File(name, content)));
        tar(&items)
    };
    let link = |target: &str| {
        tar(&[
            Item::File("manifest.json", &manifest),
            Item::File("c.json", &config),
            Item::Symlink("l.tar", target),
        ])
    };
    let truncated = {
        let whole = archive(&manifest, &good);
        whole[..whole.len() - 1024 - 2048 + 100].to_vec()
    };
    for (name, content, part) in [
        ("two images", archive(&two, &good), "several images: a:1, d.json; save one image"),
        ("no image", archive(b"[]", &good), "names no image"),
        ("no manifest", tar(&[Item::File("c.json", &config)]), "has no manifest.json"),
        ("broken manifest", archive(b"{", &good), "manifest.json is broken"),
        ("no config", archive(&manifest, &good[1..]), "has no c.json"),
        ("no layer", archive(&manifest, &good[..1]), "has no l.tar"),
        (
            "wrong config",
            archive(&wrong, &[(&wrong_name, &config), good[1]]),
            "expected sha256:0000",
        ),
        ("outside", archive(&absolute, &good), "has no /etc/passwd"),
        (
            "fewer layers",
            archive(&saved("c.json", &[], Value::Null), &good),
            "promises 1 layers, the archive has 0",
        ),
        ("wrong layer", archive(&manifest, &[good[0], ("l.tar", &[9; 2000])]), "digest"),
        (
            "config is text",
            archive(&manifest, &[("c.json", b"text"), good[1]]),
            "no list of layers",
        ),
        ("link to the host", link("/etc/passwd"), "has no l.tar"),
        ("link out", link("../../../../etc/passwd"), "has no l.tar"),
        ("link to itself", link("l.tar"), "cannot read"),
        ("link to nothing", link("nothing"), "has no l.tar"),
        ("truncated", truncated, "expected 2000"),
        ("compressed", gzip(&archive(&manifest, &good)), "cannot read"),
        ("text", b"text".repeat(500), "cannot read"),
        ("empty", Vec::new(), "has no manifest.json"),
    ] {
        let (_directory, path) = file("saved.tar", &content);
        let result = async {
            let (source, image) = open(&format!("docker-archive:{}", path.display())).await?;
            read(&source, &image, 0).await
        };
        let message = result.await.unwrap_err().to_string();
        assert!(message.contains(part), "{name}: {message}");
        assert!(message.contains("saved.tar"), "{name}: {message}");
    }
    let (_directory, path) = file("saved.tar.gz", &gzip(&archive(&manifest, &good)));
    let error = open(&format!("oci-archive:{}", path.display())).await.unwrap_err();
    assert!(matches!(error, Error::File { cause, .. } if cause.to_string().contains("gunzip")));
    let error = open("docker-archive:/dev/null").await.unwrap_err();
    assert!(matches!(error, Error::File { cause, .. } if cause.to_string().contains("regular")));
}
