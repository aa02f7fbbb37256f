//! HTTP proxies, which the program is told of by its environment.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc;

/// A proxy that knows nothing; gives the first line of each request.
fn proxy() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 4096];
            let size = stream.read(&mut request).unwrap();
            let text = String::from_utf8_lossy(&request[..size]).into_owned();
            stream
                .write_all(
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                )
                .unwrap();
            if sender.send(text.lines().next().unwrap_or_default().to_owned()).is_err() {
                return;
            }
        }
    });
    (address, lines)
}

#[test]
fn proxies_of_the_environment() {
    let plain = "GET http://registry.invalid/v2/a/b/manifests/1 HTTP/1.1";
    let tunnel = "CONNECT registry.invalid:443 HTTP/1.1";
    for (image, variable, no_proxy, expected) in [
        ("http://registry.invalid/a/b:1", "HTTP_PROXY", "", Some(plain)),
        ("http://registry.invalid/a/b:1", "ALL_PROXY", "", Some(plain)),
        ("https://registry.invalid/a/b:1", "HTTPS_PROXY", "other.invalid", Some(tunnel)),
        ("http://registry.invalid/a/b:1", "HTTPS_PROXY", "", None),
        ("http://registry.invalid/a/b:1", "HTTP_PROXY", "registry.invalid", None),
        ("http://registry.invalid/a/b:1", "HTTP_PROXY", "other.invalid,.invalid", None),
        // This machine itself is never behind a proxy.
        ("http://127.0.0.1:1/a/b:1", "HTTP_PROXY", "", None),
    ] {
        let (address, lines) = proxy();
        let repository = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ducc"));
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        let output = command
            .args(["convert-single-image", image])
            .arg(repository.path())
            .args(["--attempts", "1", "--quiet"])
            .env(variable, &address)
            .env("NO_PROXY", no_proxy)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{image}");
        let line = lines.try_recv().ok();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(line.as_deref(), expected, "{image} {variable} {no_proxy}: {message}");
    }
}
