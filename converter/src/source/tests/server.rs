//! An HTTP server that does what a test tells it: answers, breaks off, lies, stalls. For faults only; what a
//! registry does when all is well is tested with a real one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What came in.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) at: Instant,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// How an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As HTTP wants it.
    Proper,
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset,
    /// The connection stays open and nothing more comes.
    Stall,
    /// Zeros without end.
    Endless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// `Content-Length`, perhaps a lie.
    Length(usize),
    Chunked,
    /// The end of the connection is the end of the body.
    Connection,
}

/// What goes out.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    end: End,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let framing = Framing::Length(body.len());
        Self { status, headers: Vec::new(), body, framing, end: End::Proper }
    }

    pub(super) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    pub(super) fn without_length(mut self) -> Self {
        self.framing = Framing::Connection;
        self
    }

    /// Cuts the body, but not the promised length.
    pub(super) fn only(mut self, bytes: usize, end: End) -> Self {
        self.body.truncate(bytes);
        self.end = end;
        self
    }

    pub(super) fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }
}

/// A running server. It ends with the test's runtime.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    log: Arc<Mutex<Vec<Received>>>,
    /// Answers under way, and the most there were at a time.
    pub(super) active: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    /// Requests that wait for the begin of their answer, and the most there were at a time.
    waiting: Arc<AtomicUsize>,
    most_waiting: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    /// Bytes of bodies that the peer took.
    pub(super) sent: Arc<AtomicUsize>,
    /// How long each answer takes at least.
    delay: Duration,
}

impl Server {
    /// Starts a server. `answer` gets each request, and how many to the same path and with the same method
    /// came before.
    pub(super) async fn start(
        answer: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_slow(Duration::ZERO, answer).await
    }

    pub(super) async fn start_slow(
        delay: Duration,
        answer: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            log: Arc::default(),
            active: Arc::default(),
            most: Arc::default(),
            waiting: Arc::default(),
            most_waiting: Arc::default(),
            connections: Arc::default(),
            sent: Arc::default(),
            delay,
        };
        let (handle, answer) = (server.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.connections.fetch_add(1, Ordering::SeqCst);
                let (server, answer) = (server.clone(), Arc::clone(&answer));
                tokio::spawn(async move {
                    // A peer that goes away is part of the test.
                    let _gone = server.connection(stream, answer.as_ref()).await;
                });
            }
        });
        handle
    }

    /// All requests so far.
    pub(super) fn log(&self) -> Vec<Received> {
        self.log.lock().unwrap().clone()
    }

    /// The requests to a path.
    pub(super) fn requests_to(&self, path: &str) -> Vec<Received> {
        self.log().into_iter().filter(|request| request.path() == path).collect()
    }

    pub(super) fn most_at_a_time(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    pub(super) fn most_waiting(&self) -> usize {
        self.most_waiting.load(Ordering::SeqCst)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    async fn connection(
        &self,
        mut stream: TcpStream,
        answer: &(dyn Fn(&Received, usize) -> Answer + Send + Sync),
    ) -> std::io::Result<()> {
        while let Some(request) = receive(&mut stream).await? {
            let nth = {
                let mut log = self.log.lock().unwrap();
                let same = |other: &&Received| {
                    other.path() == request.path() && other.method == request.method
                };
                let nth = log.iter().filter(same).count();
                log.push(request.clone());
                nth
            };
            let active = self.active.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(active, Ordering::SeqCst);
            let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_waiting.fetch_max(waiting, Ordering::SeqCst);
            tokio::time::sleep(self.delay).await;
            let answer = answer(&request, nth);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            let result = self.answer(&mut stream, &request, answer).await;
            self.active.fetch_sub(1, Ordering::SeqCst);
            if !result? {
                break;
            }
        }
        Ok(())
    }

    /// Whether the connection stays open.
    async fn answer(
        &self,
        stream: &mut TcpStream,
        request: &Received,
        answer: Answer,
    ) -> std::io::Result<bool> {
        let mut head = format!("HTTP/1.1 {} Told\r\n", answer.status);
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &match answer.framing {
            Framing::Length(length) => format!("Content-Length: {length}\r\n"),
            Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Framing::Connection => "Connection: close\r\n".to_owned(),
        };
        head += "\r\n";
        stream.write_all(head.as_bytes()).await?;
        let chunked = answer.framing == Framing::Chunked;
        if request.method != "HEAD" {
            for piece in answer.body.chunks(1 << 16) {
                self.piece(stream, piece, chunked).await?;
            }
        }
        match answer.end {
            End::Proper if chunked => stream.write_all(b"0\r\n\r\n").await?,
            End::Proper | End::Close => {}
            End::Reset => stream.set_zero_linger()?,
            End::Stall => {
                stream.flush().await?;
                // Until the peer has had enough.
                let mut byte = [0];
                while stream.read(&mut byte).await? > 0 {}
            }
            End::Endless => loop {
                self.piece(stream, &[0; 1 << 16], chunked).await?;
            },
        }
        Ok(answer.end == End::Proper && answer.framing != Framing::Connection)
    }

    async fn piece(
        &self,
        stream: &mut TcpStream,
        piece: &[u8],
        chunked: bool,
    ) -> std::io::Result<()> {
        if chunked {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        }
        stream.write_all(piece).await?;
        if chunked {
            stream.write_all(b"\r\n").await?;
        }
        self.sent.fetch_add(piece.len(), Ordering::SeqCst);
        Ok(())
    }
}

async fn receive(stream: &mut TcpStream) -> std::io::Result<Option<Received>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
        if head == [0x16] {
            // A TLS handshake. What a web server says to that is not TLS.
            let _hello = stream.read(&mut [0; 4096]).await?;
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
            return Ok(None);
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, target) = (first.next().unwrap(), first.next().unwrap());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let at = Instant::now();
    let mut request = Received { method, target, headers, body: Vec::new(), at };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body).await?;
    Ok(Some(request))
}
