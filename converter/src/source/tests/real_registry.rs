//! Against the distribution project's registry (Debian package `docker-registry`).

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use layer_layout::ImageReference;
use tempfile::TempDir;

use super::fixture::{Fixture, options, read, text};
use crate::source::{Credentials, Options, Source, push_thin};

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
