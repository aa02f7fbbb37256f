//! Against the distribution project's registry (Debian package `docker-registry`).

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use layer_layout::thin::{Blob, Original, ThinImage, snapshotter_image};
use layer_layout::{Digest, ImageReference, RegistryReference};
use tempfile::TempDir;

use super::fixture::{Fixture, options, read, registries_conf, text};
use super::signer::{Signer, policy};
use crate::source::{
    Credentials, Options, Platforms, Source, created, list_tags, media_type, push_thin,
};

/// `htpasswd -nbBC 5 user secret`.
const HTPASSWD: &str = "user:$2y$05$po37W6xAzmn48biI0fFEbeaAbmXORGHU0ql6avS5KrIcsMJqdmm3O\n";

/// A running registry. It ends with the test.
struct Registry {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Registry {
    /// `http` and `more` are YAML below `http:` and at the top, `{dir}` in them is a private directory.
    fn start(http: &str, more: &str, prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = directory.path().display().to_string();
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {dir}/data}}}}\n\
             http:\n  addr: 127.0.0.1:{port}\n{http}\n{more}\n"
        )
        .replace("{dir}", &dir);
        let file = directory.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is needed: install the Debian package of this name");
        let registry = Self { child, port, directory };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "the registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    fn reference(&self, scheme: &str, name: &str) -> String {
        format!("{scheme}127.0.0.1:{}/{name}", self.port)
    }
}

/// Pulls an image and compares all of it.
async fn pull(reference: &str, fixture: &Fixture, options: &Options) -> crate::source::Result<()> {
    let reference: ImageReference = reference.parse().unwrap();
    let source = Source::open(&reference, options).await?;
    let image = source.resolve(None).await?;
    assert_eq!(image.manifest.bytes, fixture.manifest);
    assert_eq!(source.config(&image).await?, fixture.config);
    for (layer, content) in image.layers.iter().zip(&fixture.layers) {
        assert!(read(&source, layer).await.0? == *content);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn push_and_pull() {
    let registry = Registry::start("", "", |_| {});
    let (fixture, options) = (Fixture::new(), options());
    // Without a scheme, too: the registry is on this machine.
    for (scheme, name, pushed, blobs) in [
        ("http://", "a/b:1", true, 3),
        ("http://", "a/b:1", false, 0),
        ("", "a/b:1", false, 0),
        ("", "a/b:2", true, 0),
        ("", "a/c:1", true, 3),
    ] {
        let reference = registry.reference(scheme, name);
        let result = push_thin(&reference.parse().unwrap(), &fixture.pushable(), &options).await;
        let result = result.unwrap();
        assert_eq!((result.pushed, result.blobs), (pushed, blobs), "{reference}");
        pull(&reference, &fixture, &options).await.unwrap();
    }
    let digest = fixture.pushable().manifest.digest;
    let reference = registry.reference("http://", &format!("a/d@{digest}"));
    assert!(
        push_thin(&reference.parse().unwrap(), &fixture.pushable(), &options).await.unwrap().pushed
    );
    pull(&reference, &fixture, &options).await.unwrap();

    let message = text(
        &pull(&registry.reference("http://", "a/b:none"), &fixture, &options).await.unwrap_err(),
    );
    assert!(message.contains("404") && message.contains("MANIFEST_UNKNOWN"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password() {
    let auth = "auth: {htpasswd: {realm: test, path: {dir}/htpasswd}}";
    let registry = Registry::start("", auth, |directory| {
        std::fs::write(directory.join("htpasswd"), HTPASSWD).unwrap();
    });
    let fixture = Fixture::new();
    let options = options();
    let reference = registry.reference("http://", "a/b:1");
    let host = format!("127.0.0.1:{}", registry.port);
    let login = |password: &str| Options {
        credentials: Credentials::default().with_login(&host, "user", password),
        ..options.clone()
    };
    let push = async |options: &Options| {
        push_thin(&reference.parse().unwrap(), &fixture.pushable(), options).await
    };
    assert!(push(&login("secret")).await.unwrap().pushed);
    pull(&reference, &fixture, &login("secret")).await.unwrap();

    let file = registry.directory.path().join("auth.json");
    let auths = format!(r#"{{"auths":{{"{host}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#);
    std::fs::write(&file, auths).unwrap();
    let from_file =
        Options { credentials: Credentials::default().with_file(&file), ..options.clone() };
    pull(&reference, &fixture, &from_file).await.unwrap();

    for (options, part) in [(options.clone(), "a login is needed"), (login("x"), "access denied")] {
        for error in [
            pull(&reference, &fixture, &options).await.unwrap_err(),
            push(&options).await.unwrap_err(),
        ] {
            let message = text(&error);
            assert!(message.contains(part), "{message}");
        }
    }
}

/// The registry's token server would get a password, which came over HTTPS, over plain HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_server_without_tls() {
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (pem, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let http = "  tls: {certificate: {dir}/cert.pem, key: {dir}/key.pem}";
    let auth = "auth: {token: {realm: 'http://auth.example/token', service: s, issuer: i, \
                rootcertbundle: {dir}/cert.pem}}";
    let registry = Registry::start(http, auth, |directory| {
        std::fs::write(directory.join("cert.pem"), &pem).unwrap();
        std::fs::write(directory.join("key.pem"), &key).unwrap();
    });
    let host = format!("127.0.0.1:{}", registry.port);
    let own = registry.directory.path().join("certs.d").join(&host);
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("ca.crt"), &pem).unwrap();
    let options = Options {
        certificate_directories: vec![registry.directory.path().join("certs.d")],
        credentials: Credentials::default().with_login(&host, "user", "secret"),
        ..options()
    };
    let reference = registry.reference("https://", "a/b:1");
    let message = text(&pull(&reference, &Fixture::new(), &options).await.unwrap_err());
    assert!(message.contains("do not go from HTTPS to plain HTTP"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_ca() {
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (pem, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let http = "  tls: {certificate: {dir}/cert.pem, key: {dir}/key.pem}";
    let registry = Registry::start(http, "", |directory| {
        std::fs::write(directory.join("cert.pem"), &pem).unwrap();
        std::fs::write(directory.join("key.pem"), &key).unwrap();
    });
    let fixture = Fixture::new();
    let options = options();
    // A certificate that is not trusted does not lead to plain HTTP, though the registry is on this machine.
    let reference = registry.reference("", "a/b:1");
    let message = text(&pull(&reference, &fixture, &options).await.unwrap_err());
    assert!(message.contains("certificate is not trusted"), "{message}");
    assert!(message.contains("/etc/docker/certs.d"), "{message}");

    let own = registry.directory.path().join(format!("certs.d/127.0.0.1:{}", registry.port));
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("ca.crt"), &pem).unwrap();
    let certificate_directories = vec![registry.directory.path().join("certs.d")];
    let options = Options { certificate_directories, ..options };
    assert!(
        push_thin(&reference.parse().unwrap(), &fixture.pushable(), &options).await.unwrap().pushed
    );
    pull(&reference, &fixture, &options).await.unwrap();
}

/// What the registry stores as it is: an index, a signature.
async fn push_manifest(reference: &str, bytes: &[u8], media_type: &'static str, blobs: &[&[u8]]) {
    let blob = |bytes: &[u8]| Blob { digest: Digest::of(bytes), bytes: bytes.to_vec() };
    let blobs = blobs.iter().map(|bytes| blob(bytes)).collect();
    let image = ThinImage { manifest: blob(bytes), media_type, blobs };
    let reference: RegistryReference = reference.parse().unwrap();
    push_thin(&reference, &image, &options()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index() {
    let registry = Registry::start("", "", |_| {});
    let (fixture, run) = (Fixture::new(), options());
    let (single, index) = (registry.reference("", "a/b:1"), registry.reference("", "a/b:index"));
    push_thin(&single.parse().unwrap(), &fixture.pushable(), &run).await.unwrap();
    push_manifest(&index, &fixture.index, media_type::OCI_INDEX, &[]).await;
    for (reference, content) in [(&single, &fixture.manifest), (&index, &fixture.index)] {
        let source = Source::open(&reference.parse().unwrap(), &run).await.unwrap();
        // HEAD gives the digest of the index, not that of an image in it.
        assert_eq!(source.current_digest().await.unwrap(), Digest::of(content));
        let found = source.resolve_all(&Platforms::All, &[]).await.unwrap();
        assert_eq!(found.images.len(), 1);
        assert_eq!(found.images[0].platform.as_ref().unwrap().to_string(), "linux/amd64");
        assert_eq!(found.images[0].manifest.bytes, fixture.manifest);
        assert_eq!(created(&reference.parse().unwrap(), &run).await.unwrap(), None);
    }
    let mut tags =
        list_tags(&registry.reference("", "a/b:*").parse().unwrap(), &run).await.unwrap();
    tags.sort();
    assert_eq!(tags, ["1", "index"]);
    let none: RegistryReference = registry.reference("", "a/none:*").parse().unwrap();
    let message = text(&list_tags(&none, &run).await.unwrap_err());
    assert!(message.contains("NAME_UNKNOWN") && message.contains("/a/none"), "{message}");
}

/// This registry has no referrers API, so the list is kept under a tag.
#[tokio::test(flavor = "multi_thread")]
async fn thin_images_are_found_from_the_full_one() {
    let registry = Registry::start("", "", |_| {});
    let (fixture, run) = (Fixture::new(), options());
    let full = registry.reference("", "a/b:1").parse().unwrap();
    push_thin(&full, &fixture.pushable(), &run).await.unwrap();
    let mut digests = Vec::new();
    for repository in ["one.example.org", "two.example.org"] {
        let thin = snapshotter_image(&Original {
            origin: "a/b:1",
            manifest: &fixture.manifest,
            media_type: media_type::OCI_MANIFEST,
            config: &fixture.config,
            repository,
        });
        let thin = thin.unwrap();
        digests.push(thin.manifest.digest.to_string());
        let reference = registry.reference("", &format!("a/b:{repository}")).parse().unwrap();
        for pushed in [true, false] {
            let result = push_thin(&reference, &thin, &run).await.unwrap();
            assert_eq!(result.pushed, pushed);
        }
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let hex = Digest::of(&fixture.manifest).hex();
    let url = format!("http://127.0.0.1:{}/v2/a/b/manifests/sha256-{hex}", registry.port);
    let answer = client.get(url).header("Accept", media_type::OCI_INDEX).send().await.unwrap();
    let index: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let listed: Vec<_> = index["manifests"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 2);
    for (entry, digest) in listed.iter().zip(&digests) {
        assert_eq!(entry["digest"].as_str(), Some(digest.as_str()));
    }
    // Wish lists do not see the list.
    let tags = list_tags(&registry.reference("", "a/b:*").parse().unwrap(), &run).await.unwrap();
    assert_eq!(tags.len(), 3, "{tags:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate() {
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let client = rcgen::generate_simple_self_signed(["publisher".to_owned()]).unwrap();
    let http =
        "  tls: {certificate: {dir}/cert.pem, key: {dir}/key.pem, clientcas: [{dir}/client.pem]}";
    let registry = Registry::start(http, "", |directory| {
        std::fs::write(directory.join("cert.pem"), certificate.cert.pem()).unwrap();
        std::fs::write(directory.join("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
        std::fs::write(directory.join("client.pem"), client.cert.pem()).unwrap();
    });
    let own = registry.directory.path().join(format!("certs.d/127.0.0.1:{}", registry.port));
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("ca.crt"), certificate.cert.pem()).unwrap();
    let run = Options {
        certificate_directories: vec![registry.directory.path().join("certs.d")],
        attempts: 1,
        ..options()
    };
    let (fixture, reference) = (Fixture::new(), registry.reference("", "a/b:1"));
    let error = pull(&reference, &fixture, &run).await.unwrap_err();
    assert!(text(&error).contains("connection failed"), "{}", text(&error));

    std::fs::write(own.join("client.cert"), client.cert.pem()).unwrap();
    std::fs::write(own.join("client.key"), client.signing_key.serialize_pem()).unwrap();
    // Another run: certificates are read once.
    let run = Options { registries: Default::default(), ..run };
    push_thin(&reference.parse().unwrap(), &fixture.pushable(), &run).await.unwrap();
    pull(&reference, &fixture, &run).await.unwrap();
}

/// An insecure registry has any certificate, or none.
#[tokio::test(flavor = "multi_thread")]
async fn an_insecure_registry() {
    let certificate = rcgen::generate_simple_self_signed(["elsewhere".to_owned()]).unwrap();
    let http = "  tls: {certificate: {dir}/cert.pem, key: {dir}/key.pem}";
    let registry = Registry::start(http, "", |directory| {
        std::fs::write(directory.join("cert.pem"), certificate.cert.pem()).unwrap();
        std::fs::write(directory.join("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
    });
    let (fixture, reference) = (Fixture::new(), registry.reference("", "a/b:1"));
    let secure = options();
    assert!(push_thin(&reference.parse().unwrap(), &fixture.pushable(), &secure).await.is_err());
    let conf =
        format!("[[registry]]\nlocation = \"127.0.0.1:{}\"\ninsecure = true\n", registry.port);
    let run = Options { registries_conf: registries_conf(&conf), ..secure };
    push_thin(&reference.parse().unwrap(), &fixture.pushable(), &run).await.unwrap();
    pull(&reference, &fixture, &run).await.unwrap();
}

/// The registry as a pull-through cache of another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_pull_through_mirror() {
    let origin = Registry::start("", "", |_| {});
    let proxy = format!("proxy: {{remoteurl: 'http://127.0.0.1:{}'}}", origin.port);
    let mirror = Registry::start("", &proxy, |_| {});
    let (fixture, run) = (Fixture::new(), options());
    let reference = origin.reference("", "a/b:1");
    push_thin(&reference.parse().unwrap(), &fixture.pushable(), &run).await.unwrap();
    let conf = format!(
        "[[registry]]\nprefix = \"registry.example\"\nlocation = \"127.0.0.1:{}\"\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:{}\"\n",
        origin.port, mirror.port
    );
    let run = Options { registries_conf: registries_conf(&conf), ..run };
    pull("registry.example/a/b:1", &fixture, &run).await.unwrap();
    let kept = mirror.directory.path().join("data/docker/registry/v2/repositories/a/b");
    assert!(kept.exists(), "the mirror was not asked");
    // Without the mirror it goes on.
    drop(mirror);
    let run = Options { registries: Default::default(), ..run };
    pull("registry.example/a/b:1", &fixture, &run).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_image() {
    let registry = Registry::start("", "", |_| {});
    let (fixture, signer) = (Fixture::new(), Signer::ecdsa());
    let run = Options { policy: Some(policy(&[&signer])), ..options() };
    let reference = registry.reference("", "a/b:1");
    push_thin(&reference.parse().unwrap(), &fixture.pushable(), &run).await.unwrap();
    let message = text(&pull(&reference, &fixture, &run).await.unwrap_err());
    assert!(message.contains("no signature"), "{message}");
    let digest = Digest::of(&fixture.manifest);
    let signature = signer.simple(&digest);
    let tag = registry.reference("", &format!("a/b:sha256-{}.sig", digest.hex()));
    let blobs = [&signature.blob[..], b"{}"];
    push_manifest(&tag, &signature.manifest, media_type::OCI_MANIFEST, &blobs).await;
    pull(&reference, &fixture, &run).await.unwrap();
}
