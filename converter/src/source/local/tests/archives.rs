//! Archives: what `docker save` writes, and what else may be given for one.

use flate2::Compression;
use flate2::write::GzEncoder;
use layer_layout::Digest;
use serde_json::{Value, json};

use super::{Files, Item, blob, file, image_of, layout, open, read, tar, tar_of};
use crate::source::{Error, media_type};

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
    let two = together(&[&manifest[..], &saved("d.json", &[], Value::Null)]);
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
        (
            "two images",
            archive(&two, &good),
            "several images: a:1, @1; choose one with docker-archive:",
        ),
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
        ("text", b"text".repeat(500), "not a tar archive"),
        ("little text", b"text".to_vec(), "not a tar archive"),
        ("compressed text", gzip(b"text"), "not a tar archive"),
        ("no headers", [vec![0; 512], b"text".repeat(500)].concat(), "has no manifest.json"),
        ("empty", Vec::new(), "it is empty, and not a tar archive"),
        ("bzip2", b"BZh91AY&SY".to_vec(), "unpack it first with bunzip2"),
        (
            "damaged gzip",
            gzip(&archive(&manifest, &good))[..200].to_vec(),
            "compressed, and damaged",
        ),
        (
            "damaged tar",
            [&archive(&manifest, &good)[..1024], &b"\xff\x1b[2J".repeat(512)].concat(),
            "damaged after 1 members",
        ),
    ] {
        let (_directory, path) = file("saved.tar", &content);
        let result = async {
            let (source, image) = open(&format!("docker-archive:{}", path.display())).await?;
            read(&source, &image, 0).await
        };
        let error = result.await.unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let message = format!("{error}: {}", cause.unwrap_or_default());
        assert!(message.contains(part), "{name}: {message}");
        assert!(message.contains("saved.tar"), "{name}: {message}");
        // Nobody wants to see the bytes of a file that is no archive.
        assert!(!message.contains("text") || name.ends_with("is text"), "{name}: {message}");
        assert!(!message.contains('\x1b'), "{name}: {message}");
    }
    let error = open("docker-archive:/dev/null").await.unwrap_err();
    assert!(matches!(error, Error::File { cause, .. } if cause.to_string().contains("regular")));
}

/// One `manifest.json` of several.
fn together(saved: &[&[u8]]) -> Vec<u8> {
    let images =
        saved.iter().flat_map(|saved| serde_json::from_slice::<Vec<Value>>(saved).unwrap());
    serde_json::to_vec(&images.collect::<Vec<_>>()).unwrap()
}

/// An archive with two images, one of which is in it twice, and a third without a tag.
fn several() -> Files {
    let [one, two, three] = [b"one", b"two", b"six"].map(|layer| docker_config(&[layer]));
    let image = |config: &[u8], layer: &str, tags: Value| {
        (format!("{}.json", Digest::of(config).hex()), layer.to_owned(), tags)
    };
    let images = [
        image(&one, "one.tar", json!(["debian:12", "r.example/a/b:1"])),
        image(&two, "two.tar", json!(["r.example/a/b:2"])),
        image(&one, "one.tar", json!(["debian:bookworm"])),
        image(&three, "six.tar", Value::Null),
    ];
    let saved: Vec<Vec<u8>> =
        images.iter().map(|(config, layer, tags)| saved(config, &[layer], tags.clone())).collect();
    let saved: Vec<&[u8]> = saved.iter().map(Vec::as_slice).collect();
    let mut files = vec![("manifest.json".to_owned(), together(&saved))];
    files.extend(
        [(&images[0].0, one), (&images[1].0, two), (&images[3].0, three)]
            .map(|(name, config)| (name.clone(), config)),
    );
    files.extend(["one", "two", "six"].map(|name| (format!("{name}.tar"), name.into())));
    files
}

#[tokio::test]
async fn one_of_several_images() {
    type Outcome = Result<(&'static str, &'static str), &'static str>;
    let cases: [(&str, Outcome); 14] = [
        (
            "",
            Err(
                "several images: debian:12 = r.example/a/b:1 = debian:bookworm, r.example/a/b:2, @3; choose one with docker-archive:",
            ),
        ),
        ("#debian:12", Ok(("one", "docker.io/library/debian:12"))),
        ("#docker.io/library/debian:12", Ok(("one", "docker.io/library/debian:12"))),
        ("#debian:bookworm", Ok(("one", "docker.io/library/debian:bookworm"))),
        ("#r.example/a/b:1", Ok(("one", "r.example/a/b:1"))),
        ("#r.example/a/b:2", Ok(("two", "r.example/a/b:2"))),
        ("#2", Ok(("two", "r.example/a/b:2"))),
        ("#bookworm", Ok(("one", "docker.io/library/debian:bookworm"))),
        ("#@0", Ok(("one", "docker.io/library/debian:12"))),
        ("#@1", Ok(("two", "r.example/a/b:2"))),
        ("#@3", Ok(("six", "localhost/several:latest"))),
        ("#@4", Err("no image number \"4\"; it has debian:12 = ")),
        ("#@x", Err("no image number \"x\"")),
        ("#debian:13", Err("no image tagged \"debian:13\"; it has debian:12 = ")),
    ];
    let (_directory, path) = file("several.tar", &tar_of(&several()));
    for (choice, expected) in cases {
        let reference = format!("docker-archive:{}{choice}", path.display());
        match (open(&reference).await, expected) {
            (Ok((source, image)), Ok((content, name))) => {
                assert_eq!(read(&source, &image, 0).await.unwrap(), content.as_bytes(), "{choice}");
                assert_eq!(image.name.unwrap().to_string(), name, "{choice}");
                assert_eq!(image.reference, reference);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (result, _) => panic!("{choice}: {:?}", result.map(|(_, image)| image)),
        }
    }
}

/// One image under two tags is one image, in one entry or in two.
#[tokio::test]
async fn one_image_under_two_tags() {
    let config = docker_config(&[b"one"]);
    let once = saved("c.json", &["l.tar"], json!(["a:1", "a:2"]));
    let twice = together(&[
        &saved("c.json", &["l.tar"], json!(["a:1"])),
        &saved("c.json", &["l.tar"], json!(["a:2"])),
    ]);
    for manifest in [once, twice] {
        let archive = tar(&[
            Item::File("manifest.json", &manifest),
            Item::File("c.json", &config),
            Item::File("l.tar", b"one"),
        ]);
        let (_directory, path) = file("saved.tar", &archive);
        for (choice, name) in [("", "1"), ("#a:1", "1"), ("#a:2", "2"), ("#@0", "1")] {
            let reference = format!("docker-archive:{}{choice}", path.display());
            let (_, image) = open(&reference).await.unwrap();
            let expected = format!("docker.io/library/a:{name}");
            assert_eq!(image.name.unwrap().to_string(), expected, "{choice}");
        }
    }
}

/// The name of a file may hold what chooses an image elsewhere.
#[tokio::test]
async fn a_number_sign_in_a_file_name() {
    let archive = tar_of(&several());
    let (directory, path) = file("a#debian:12", &archive);
    let error = open(&format!("docker-archive:{}", path.display())).await.unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
    let (_, image) = open(&format!("docker-archive:{}#2", path.display())).await.unwrap();
    assert_eq!(image.name.unwrap().to_string(), "r.example/a/b:2");
    std::fs::write(directory.path().join("a"), &archive).unwrap();
    assert!(open(&format!("docker-archive:{}", path.display())).await.is_ok());
}

#[tokio::test]
async fn compressed_archives() {
    let config = docker_config(&[b"one"]);
    let archive = tar(&[
        Item::File("manifest.json", &saved("c.json", &["l.tar"], Value::Null)),
        Item::File("c.json", &config),
        Item::File("l.tar", b"one"),
    ]);
    let two_members = [gzip(&archive[..700]), gzip(&archive[700..])].concat();
    let layout = tar_of(&layout(&[b"one"], &[image_of(b"one")]));
    for (name, transport, content) in [
        ("saved.tar.gz", "docker-archive", gzip(&archive)),
        ("saved.gz", "docker-archive", two_members),
        ("saved.tar.zst", "docker-archive", zstd::encode_all(&archive[..], 3).unwrap()),
        ("saved.tar.xz", "docker-archive", XZ.to_vec()),
        ("saved.tar.gz", "oci-archive", gzip(&layout)),
    ] {
        let (_directory, path) = file(name, &content);
        let (source, image) = open(&format!("{transport}:{}", path.display())).await.unwrap();
        assert_eq!(read(&source, &image, 0).await.unwrap(), b"one", "{name}");
        assert_eq!(image.name.unwrap().to_string(), "localhost/saved:latest", "{name}");
    }
}

/// An archive with the image of `compressed_archives`, as `xz -9` makes it: there is no encoder among our dependencies.
const XZ: &[u8] = include_bytes!("saved.tar.xz");

/// What Docker 28 writes of an image whose content its containerd store does not hold.
#[tokio::test]
async fn archives_without_content() {
    let config = docker_config(&[b"one"]);
    let (config, layer) = (blob(&config), blob(b"one"));
    let manifest = |tags: Value| ("manifest.json".to_owned(), saved(&config.0, &[&layer.0], tags));
    let index = ("index.json".to_owned(), br#"{"schemaVersion":2,"manifests":[]}"#.to_vec());
    let named = manifest(json!(["debian:12"]));
    for (files, part) in [
        (vec![index.clone(), named.clone()], format!("lacks {}", config.0)),
        (vec![index.clone(), named.clone(), config.clone()], format!("lacks {}", layer.0)),
        (
            vec![index.clone(), named.clone()],
            "skopeo copy docker://docker.io/library/debian:12 docker-archive:".to_owned(),
        ),
        (vec![index.clone(), manifest(Value::Null)], "docker://REGISTRY/REPOSITORY:TAG".to_owned()),
        // Before Docker 25 there was no such thing: this is damaged.
        (vec![named.clone()], format!("has no {}", config.0)),
    ] {
        let (_directory, path) = file("saved.tar", &tar_of(&files));
        let error = open(&format!("docker-archive:{}", path.display())).await.unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&part) && message.contains("saved.tar"), "{message}");
    }
    let (_directory, path) = file("saved.tar", &tar_of(&[index, named, config, layer].to_vec()));
    assert!(open(&format!("docker-archive:{}", path.display())).await.is_ok());
}

/// Docker writes `null` for the layers of an image that has none.
#[tokio::test]
async fn an_archive_of_an_image_without_layers() {
    for diff_ids in [Value::Null, json!([])] {
        let config = json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let saved = json!([{"Config": "c.json", "RepoTags": null, "Layers": null}]).to_string();
        let archive = tar(&[
            Item::File("manifest.json", saved.as_bytes()),
            Item::File("c.json", config.to_string().as_bytes()),
        ]);
        let (_directory, path) = file("saved.tar", &archive);
        let (_, image) = open(&format!("docker-archive:{}", path.display())).await.unwrap();
        assert_eq!(image.layers, []);
    }
}
