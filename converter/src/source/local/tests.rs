use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use layer_layout::{Digest, ImageReference};
use serde_json::{Value, json};
use tempfile::TempDir;

mod archives;

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
    let middle = index(std::slice::from_ref(&nested));
    let deep = descriptor(media_type::OCI_INDEX, &middle);
    type Outcome = std::result::Result<(&'static [u8], &'static str), &'static str>;
    let cases: [(&str, Vec<Value>, &str, Outcome); 17] = [
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
        ("nested twice", vec![tagged(deep.clone(), "1")], "", Ok((b"amd", "1"))),
        (
            "nested by platform",
            vec![on(image_of(b"arm"), "linux", "arm64"), on(nested.clone(), "linux", "amd64")],
            "",
            Ok((b"amd", "latest")),
        ),
        (
            "nested, untold",
            vec![on(image_of(b"arm"), "linux", "arm64"), nested.clone()],
            "",
            Ok((b"amd", "latest")),
        ),
        (
            "one does not say",
            vec![on(image_of(b"arm"), "linux", "arm64"), image_of(b"one")],
            "",
            Ok((b"one", "latest")),
        ),
        (
            "one says half",
            vec![on(image_of(b"arm"), "linux", "arm64"), on(image_of(b"one"), "", "amd64")],
            "",
            Ok((b"one", "latest")),
        ),
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
        files.extend([blob(&inner), blob(&middle)]);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("My.Images");
        write_directory(&files, &path);
        let archive = directory.path().join("My.Images.tar");
        std::fs::write(&archive, tar_of(&files)).unwrap();
        let mut references = vec![(format!("oci:{}{tag}", path.display()), "my-images")];
        let tag = tag.replacen(':', "#", 1);
        references.push((format!("oci-archive:{}{tag}", archive.display()), "my-images"));
        for (reference, stem) in references {
            match (open(&reference).await, expected) {
                (Ok((source, image)), Ok((content, tag))) => {
                    assert_eq!(read(&source, &image, 0).await.unwrap(), content, "{name}");
                    assert_eq!(source.config(&image).await.unwrap(), config(), "{name}");
                    assert_eq!(image.manifest.bytes, manifest(content), "{name}");
                    let has_index = matches!(name, "nested" | "nested twice");
                    assert_eq!(image.index.is_some(), has_index, "{name}");
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
