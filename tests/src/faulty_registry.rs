//! A registry that does what a real one cannot be made to do on demand: stall, reset, refuse, lie.
//!
//! It serves images over plain HTTP (OCI distribution-spec, pull only). Faults apply to the layers of a repository,
//! [`Fault::Manifest`] to its manifests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Error, Result};

use crate::connections::Connections;
use crate::image::{Artifact, Image};

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
    /// All comes, but so many bytes in a tenth of a second.
    Slow(usize),
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
    connections: Connections,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    shelf: Mutex<Shelf>,
    layer_answers: AtomicUsize,
    over: Arc<AtomicBool>,
}

/// What there is, and what is wrong with it.
#[derive(Debug, Default)]
struct Shelf {
    repositories: BTreeMap<String, Repository>,
    /// Whether every connection is closed at once.
    down: bool,
}

#[derive(Debug)]
struct Repository {
    tags: BTreeMap<String, Image>,
    fault: Fault,
    /// Layers that were asked for since the fault began.
    count: usize,
    /// The image that a tag moves to as soon as half of a layer is sent. What the tag led to is deleted then.
    moves: Option<(String, Image)>,
}

impl Default for Repository {
    fn default() -> Self {
        Self { tags: BTreeMap::new(), fault: Fault::None, count: 0, moves: None }
    }
}

/// The image of a registry with a single one.
const ONLY: &str = "faulty/image:1";

impl FaultyRegistry {
    /// Serves nothing yet.
    pub fn empty() -> Result<Self> {
        let over = Arc::default();
        let state = Arc::new(State {
            shelf: Mutex::default(),
            layer_answers: AtomicUsize::new(0),
            over: Arc::clone(&over),
        });
        let serving = Arc::clone(&state);
        let connections = Connections::accept(&over, move |stream| serving.serve(stream))?;
        Ok(Self { connections, state })
    }

    /// Serves one image, with a fault.
    pub fn start(image: &Image, fault: Fault) -> Result<Self> {
        let registry = Self::empty()?;
        registry.put(ONLY, image);
        registry.fail(ONLY, fault);
        Ok(registry)
    }

    /// The reference of the image that [`Self::start`] serves, as the converter takes it.
    pub fn source(&self) -> String {
        self.source_of(ONLY)
    }

    /// The reference of `name` (`repository:tag`) as the converter takes it.
    pub fn source_of(&self, name: &str) -> String {
        format!("http://{}", self.reference(name))
    }

    /// The reference of `name` as container runtimes write it.
    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.connections.port())
    }

    /// Puts an image under `name`, in place of what is there.
    pub fn put(&self, name: &str, image: &Image) {
        self.state.repository(name, |repository, tag| {
            repository.tags.insert(tag.to_owned(), image.clone());
        });
    }

    /// Lets the tag `name` move to `image` while a layer of its repository is being downloaded.
    pub fn move_in_mid_download(&self, name: &str, image: &Image) {
        self.state.repository(name, |repository, tag| {
            repository.moves = Some((tag.to_owned(), image.clone()));
        });
    }

    /// Lets something go wrong with the repository of `name` from now on; [`Fault::None`] ends that.
    pub fn fail(&self, name: &str, fault: Fault) {
        self.state.repository(name, |repository, _| {
            (repository.fault, repository.count) = (fault, 0);
        });
    }

    /// Sets whether nobody gets any answer.
    pub fn set_down(&self, down: bool) {
        self.state.shelf().down = down;
    }

    /// How many requests for layers there were.
    pub fn layer_requests(&self) -> usize {
        self.state.layer_answers.load(Ordering::Relaxed)
    }
}

/// A request, as far as it matters here.
struct Request {
    method: String,
    path: String,
    /// The first byte that is wanted.
    first: usize,
}

/// What a request asks for.
enum Found {
    Nothing,
    /// A document, with its header lines.
    Document(Vec<u8>, String),
    Layer(Vec<u8>, Fault),
}

impl State {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the repository of `repository:tag`.
    fn repository(&self, name: &str, change: impl FnOnce(&mut Repository, &str)) {
        let (repository, tag) = name.split_once(':').unwrap_or((name, "latest"));
        change(self.shelf().repositories.entry(repository.to_owned()).or_default(), tag);
    }

    fn serve(&self, mut stream: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = receive(&mut reader)? {
            if self.shelf().down {
                break;
            }
            let repository = request.path.strip_prefix("/v2/").unwrap_or_default();
            let parts = repository.split_once("/manifests/");
            let (repository, found) = match parts.or_else(|| repository.split_once("/blobs/")) {
                Some((repository, name)) => (repository, self.find(repository, name)?),
                None => ("", Found::Nothing),
            };
            match found {
                Found::Nothing => {
                    respond(&mut stream, &request, "404 Not Found", "X-Nothing: here", b"", 0)?;
                }
                Found::Document(bytes, head) => {
                    respond(&mut stream, &request, "200 OK", &head, &bytes, bytes.len())?;
                }
                Found::Layer(bytes, fault) => {
                    self.layer(&mut stream, &request, repository, &bytes, &fault)?;
                }
            }
        }
        Ok(())
    }

    /// Looks for a tag or digest.
    fn find(&self, repository: &str, name: &str) -> Result<Found> {
        let mut shelf = self.shelf();
        let Some(repository) = shelf.repositories.get_mut(repository) else {
            return Ok(Found::Nothing);
        };
        let mut images = repository.tags.iter();
        let named = images.find(|(tag, image)| *tag == name || image.top().digest == name);
        if let Some((_, image)) = named {
            let manifest = image.top();
            let mut bytes = manifest.bytes()?;
            if repository.fault == Fault::Manifest {
                bytes.push(b'\n');
            }
            let head = format!(
                "Content-Type: {}\r\nDocker-Content-Digest: {}",
                manifest.media_type, manifest.digest
            );
            return Ok(Found::Document(bytes, head));
        }
        let found = {
            let blobs = repository.tags.values().flat_map(|image| {
                let layers = image.layers.iter().map(|layer| (&layer.blob, true));
                layers.chain(image.blobs().into_iter().map(|blob| (blob, false)))
            });
            let found = blobs.into_iter().find(|(blob, _)| blob.digest == name);
            found.map(|(blob, is_layer)| Ok::<_, Error>((blob.bytes()?, is_layer))).transpose()?
        };
        let Some((bytes, is_layer)) = found else { return Ok(Found::Nothing) };
        if !is_layer {
            let head = "Content-Type: application/octet-stream".to_owned();
            return Ok(Found::Document(bytes, head));
        }
        self.layer_answers.fetch_add(1, Ordering::Relaxed);
        repository.count += 1;
        let is_over =
            matches!(repository.fault, Fault::StatusFor(times, ..) if repository.count > times);
        let fault = if is_over { Fault::None } else { repository.fault.clone() };
        Ok(Found::Layer(bytes, fault))
    }

    fn layer(
        &self,
        stream: &mut TcpStream,
        request: &Request,
        repository: &str,
        bytes: &[u8],
        fault: &Fault,
    ) -> Result<()> {
        let first = request.first;
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
        match fault {
            Fault::Stall => {
                respond(stream, request, status, head, &body[..half], said)?;
                while !self.over.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(50));
                }
                Ok(())
            }
            Fault::Reset => {
                respond(stream, request, status, head, &body[..half], said)?;
                Ok(stream.shutdown(Shutdown::Both)?)
            }
            Fault::Slow(bytes) => {
                respond(stream, request, status, head, b"", said)?;
                for part in body.chunks(*bytes) {
                    stream.write_all(part)?;
                    stream.flush()?;
                    thread::sleep(Duration::from_millis(100));
                }
                Ok(())
            }
            Fault::Short => respond(stream, request, status, head, &body[..half], half),
            Fault::Flipped => {
                body[half] ^= 1;
                respond(stream, request, status, head, &body, said)
            }
            Fault::Longer(more) => {
                body.resize(said + more, 0);
                respond(stream, request, status, head, &body, body.len())
            }
            Fault::Status(code, lines) | Fault::StatusFor(_, code, lines) => {
                respond(stream, request, &format!("{code} Fault"), lines, b"", 0)
            }
            Fault::None | Fault::Manifest => {
                respond(stream, request, status, head, &body[..half], said)?;
                if let Some(repository) = self.shelf().repositories.get_mut(repository)
                    && let Some((tag, image)) = repository.moves.take()
                {
                    repository.tags.insert(tag, image);
                }
                stream.write_all(&body[half..])?;
                Ok(stream.flush()?)
            }
        }
    }
}

/// The next request of a connection; `None` at its end.
fn receive(reader: &mut impl BufRead) -> Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut first = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            return Ok(Some(Request { method, path, first }));
        }
        let header = header.trim().to_ascii_lowercase();
        if let Some(range) = header.strip_prefix("range: bytes=") {
            first = range.split('-').next().unwrap_or_default().parse().unwrap_or(0);
        }
    }
}

fn respond(
    stream: &mut impl Write,
    request: &Request,
    status: &str,
    head: &str,
    body: &[u8],
    length: usize,
) -> Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {length}\r\n\r\n")?;
    if request.method != "HEAD" {
        let mut body = body;
        std::io::copy(&mut body.by_ref(), stream)?;
    }
    stream.flush()?;
    Ok(())
}
