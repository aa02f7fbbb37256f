//! A registry that does what a real one cannot be made to do on demand: stall, reset, refuse, lie.
//!
//! It serves one image over plain HTTP (OCI distribution-spec, pull only). The fault applies to layer blobs,
//! [`Fault::Manifest`] to the manifest.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::image::{Artifact, Blob, Image};

/// What goes wrong with every response that carries a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Half of the body is sent, then nothing more.
    Stall,
    /// Half of the body is sent, then the connection is closed. The same happens to a resumed download.
    Reset,
    /// Half of the body is sent as if it were complete.
    Short,
    /// One bit is flipped.
    Flipped,
    /// The body is longer by this many bytes.
    Longer(usize),
    /// This status, with these additional header lines, and no content.
    Status(u16, &'static str),
    /// The same, but only this many times.
    StatusFor(usize, u16, &'static str),
    /// The manifest's bytes do not match the digest header.
    Manifest,
}

/// A running registry; it ends when dropped.
#[derive(Debug)]
pub struct FaultyRegistry {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    image: Image,
    layer_answers: AtomicUsize,
    over: AtomicBool,
}

impl FaultyRegistry {
    /// Serves `image` under every repository and tag.
    pub fn start(image: &Image, fault: Fault) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let (layer_answers, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let state = Arc::new(State { fault, image: image.clone(), layer_answers, over });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.over.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&shared);
                // An error, such as a client that goes away, ends only its own connection.
                thread::spawn(move || shared.serve(stream));
            }
        });
        Ok(Self { port, state })
    }

    /// The reference of the image, as the converter takes it.
    pub fn source(&self) -> String {
        format!("http://127.0.0.1:{}/faulty/image:1", self.port)
    }

    /// How many requests for layers there were.
    pub fn layer_requests(&self) -> usize {
        self.state.layer_answers.load(Ordering::Relaxed)
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn serve(&self, mut stream: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut request = String::new();
            if reader.read_line(&mut request)? == 0 {
                return Ok(());
            }
            let mut first = 0;
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                if header.trim().is_empty() {
                    break;
                }
                let header = header.trim().to_ascii_lowercase();
                if let Some(range) = header.strip_prefix("range: bytes=") {
                    first = range.split('-').next().unwrap_or_default().parse().unwrap_or(0);
                }
            }
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            self.answer(&mut stream, &path, first)?;
        }
    }

    fn answer(&self, stream: &mut TcpStream, path: &str, first: usize) -> Result<()> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let manifest = self.image.top();
        if path.contains("/manifests/") {
            let mut bytes = manifest.bytes()?;
            if self.fault == Fault::Manifest {
                bytes.push(b'\n');
            }
            let head = format!(
                "Content-Type: {}\r\nDocker-Content-Digest: {}",
                manifest.media_type, manifest.digest
            );
            return respond(stream, "200 OK", &head, &bytes, bytes.len());
        }
        let is_layer =
            |blob: &&Blob| self.image.layers.iter().any(|layer| layer.blob.digest == blob.digest);
        match self.image.blobs().into_iter().find(|blob| blob.digest == name) {
            None => respond(stream, "404 Not Found", "X-Nothing: here", b"", 0),
            Some(blob) if is_layer(&blob) => self.layer(stream, &blob.bytes()?, first),
            Some(blob) => {
                let bytes = blob.bytes()?;
                respond(
                    stream,
                    "200 OK",
                    "Content-Type: application/octet-stream",
                    &bytes,
                    bytes.len(),
                )
            }
        }
    }

    fn layer(&self, stream: &mut TcpStream, bytes: &[u8], first: usize) -> Result<()> {
        let count = self.layer_answers.fetch_add(1, Ordering::Relaxed);
        let mut body = bytes.get(first..).unwrap_or_default().to_vec();
        let range = format!(
            "Content-Range: bytes {first}-{}/{}",
            bytes.len().saturating_sub(1),
            bytes.len()
        );
        let (status, head) = if first > 0 {
            ("206 Partial Content", range.as_str())
        } else {
            ("200 OK", "X-All: yes")
        };
        let (said, half) = (body.len(), body.len() / 2);
        match &self.fault {
            Fault::Stall => {
                respond(stream, status, head, &body[..half], said)?;
                while !self.over.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(50));
                }
                Ok(())
            }
            Fault::Reset => {
                respond(stream, status, head, &body[..half], said)?;
                Ok(stream.shutdown(Shutdown::Both)?)
            }
            Fault::Short => respond(stream, status, head, &body[..half], half),
            Fault::Flipped => {
                body[half] ^= 1;
                respond(stream, status, head, &body, said)
            }
            Fault::Longer(more) => {
                body.resize(said + more, 0);
                respond(stream, status, head, &body, body.len())
            }
            Fault::Status(code, lines) => respond(stream, &format!("{code} Fault"), lines, b"", 0),
            Fault::StatusFor(times, code, lines) if count < *times => {
                respond(stream, &format!("{code} Fault"), lines, b"", 0)
            }
            Fault::StatusFor(..) | Fault::None | Fault::Manifest => {
                respond(stream, status, head, &body, said)
            }
        }
    }
}

fn respond(
    stream: &mut impl Write,
    status: &str,
    head: &str,
    body: &[u8],
    length: usize,
) -> Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {length}\r\n\r\n")?;
    let mut body = body;
    std::io::copy(&mut body.by_ref(), stream)?;
    stream.flush()?;
    Ok(())
}
