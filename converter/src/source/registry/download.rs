//! A blob as a stream that survives broken connections (OCI distribution-spec, "Pulling blobs").
//!
//! One task per blob receives it, and a bounded channel passes it on to the thread that unpacks. A slow
//! reader makes the task wait, which is not a stall: only the peer's silence counts. After a broken
//! connection the rest is requested with `Range`; if the server ignores that and starts from the beginning,
//! the bytes that are already here are skipped. If a mirror fails for good, the next place delivers the rest.
//! The digest shows whether the pieces fit together. What is marked as compressed on top of that is decoded if it is
//! (`coding`); the rest of such a transfer cannot be asked for, so it begins anew and is skipped up to where it broke.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_RANGE, HeaderValue, RANGE};
use http::{Method, StatusCode};
use reqwest::Response;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::AbortHandle;
use url::Url;

use super::client::{RegistryClient, Request};
use super::content_range::ContentRange;
use super::document::unknown_coding;
use super::endpoints::Endpoints;
use crate::source::blob::{BlobReader, Expected, OnBytes};
use crate::source::coding::{self, Coding, Decoder};
use crate::source::error::Error;
use crate::source::failure::{Failure, show};

/// How many pieces wait between the network and the reader. The HTTP client delivers at most some 400 KiB at
/// a time, so a download holds no more than about 4 MiB.
const PIECES: usize = 8;

/// An attempt that transferred this many bytes does not count as a failure: a big layer over a bad line may be
/// interrupted often.
const PROGRESS: u64 = 1 << 20;

/// How much of an answer is looked at to find out whether it is coded, in bytes.
const BEGIN: usize = 1 << 10;

type Piece = Result<Bytes, Error>;

/// Starts to download a blob, which is an uncompressed tar if it `is_plain`. `permit` is given back when all of it has
/// arrived or nobody wants it any more.
pub(super) fn start(
    endpoints: Endpoints,
    expected: Expected,
    is_plain: bool,
    on_bytes: OnBytes,
    permit: OwnedSemaphorePermit,
) -> BlobReader {
    let (sender, receiver) = mpsc::channel(PIECES);
    let at = endpoints.first();
    let download = Download {
        endpoints,
        at,
        expected: expected.clone(),
        is_plain,
        on_bytes,
        sender,
        done: 0,
        is_coded: false,
    };
    let task = tokio::spawn(async move {
        download.run().await;
        drop(permit);
    });
    let inner = ChannelReader {
        receiver,
        task: task.abort_handle(),
        expected: expected.clone(),
        left: expected.size,
        piece: Bytes::new(),
    };
    let stopper = task.abort_handle();
    BlobReader::new(inner, expected).stopped_by(stopper)
}

struct Download {
    endpoints: Endpoints,
    /// The place that is asked.
    at: usize,
    expected: Expected,
    is_plain: bool,
    on_bytes: OnBytes,
    sender: mpsc::Sender<Piece>,
    /// Bytes passed on.
    done: u64,
    /// Whether the last answer was coded, so that the rest cannot be asked for.
    is_coded: bool,
}

/// What an answer is of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Its bytes.
    AsSent,
    /// Compressed once more.
    Coded,
    /// One of both: how it begins has to tell.
    Unknown,
}

/// Why an attempt did not complete a blob.
enum Stop {
    /// Nobody reads the blob any more.
    Unwanted,
    /// A failure that may be temporary.
    Failure(Box<Failure>),
    /// An error that another attempt would not mend.
    Error(Box<Error>),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(Box::new(error))
    }
}

impl Download {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let before = self.done;
            let error = match self.attempt().await {
                Ok(()) | Err(Stop::Unwanted) => return,
                Err(Stop::Error(error)) => *error,
                Err(Stop::Failure(failure)) => {
                    if self.done - before >= PROGRESS {
                        failures = 0;
                    }
                    let Expected { image, part, .. } = &self.expected;
                    tracing::debug!(%image, %part, done = self.done, %failure, "download interrupted");
                    match self.client().pause(&mut failures, *failure).await {
                        Ok(()) => continue,
                        Err(cause) => {
                            let (image, part) = (image.to_string(), *part);
                            Error::Fetch { image, part, cause: Box::new(cause) }
                        }
                    }
                }
            };
            match self.endpoints.after(self.at, error) {
                Ok(next) => (self.at, failures) = (next, 0),
                Err(error) => return self.fail(error).await,
            }
        }
    }

    fn client(&self) -> &Arc<RegistryClient> {
        self.endpoints.client(self.at)
    }

    async fn fail(self, error: Error) {
        // Fails only if nobody reads any more, and then nobody wants to know.
        let _unwanted = self.sender.send(Err(error)).await;
    }

    async fn attempt(&mut self) -> Result<(), Stop> {
        let target = format!("blobs/{}", self.expected.digest);
        let mut request = Request::new(Method::GET, &target);
        if self.done > 0 && !self.is_coded {
            let range = HeaderValue::try_from(format!("bytes={}-", self.done))
                .expect("digits and punctuation fit into any header");
            request = request.header(RANGE, range);
        }
        let mut response = match self.client().send(&request).await {
            // Nothing follows what we have, so the blob is shorter than promised.
            Err(failure)
                if failure.is_status(StatusCode::RANGE_NOT_SATISFIABLE) && self.done > 0 =>
            {
                return Err(self.expected.size_mismatch(self.done).into());
            }
            other => other?,
        };
        let (mut skip, mut form) = self.check_begin(&response)?;
        let mut decoder = Decoder::default();
        let mut begin = Bytes::new();
        loop {
            let piece = match self.client().chunk(&mut response).await {
                Ok(piece) => piece,
                // Everything has arrived; only the end of the transfer was not signalled properly.
                Err(_) if self.done == self.expected.size => return Ok(()),
                Err(failure) => return Err(failure.into()),
            };
            let is_end = piece.is_none();
            let mut piece = piece.unwrap_or_default();
            if form == Form::Unknown {
                begin = [begin, piece].concat().into();
                if begin.len() < BEGIN && !is_end {
                    continue;
                }
                let is_coded = coding::is_coded(&begin[..begin.len().min(BEGIN)], self.is_plain);
                form = if is_coded { Form::Coded } else { Form::AsSent };
                piece = std::mem::take(&mut begin);
            }
            self.is_coded = form == Form::Coded;
            if self.is_coded {
                self.decode(&mut decoder, &piece, &mut skip, response.url()).await?;
            } else {
                self.hand_on(piece, &mut skip).await?;
            }
            if is_end {
                break;
            }
        }
        if self.done == self.expected.size {
            return Ok(());
        }
        let (got, expected) = (self.done, self.expected.size);
        Err(Failure::Truncated { url: show(response.url()), got, expected }.into())
    }

    /// How many bytes of an answer have to be skipped, and what it is of the blob.
    fn check_begin(&self, response: &Response) -> Result<(u64, Form), Stop> {
        let protocol = |reason: String| Stop::from(Failure::protocol(response.url(), reason));
        let coding = Coding::of(response.headers());
        match response.status() {
            StatusCode::OK => {
                let is_whole = response.content_length().map(|length| length == self.expected.size);
                let form = match (is_whole, coding, response.content_length()) {
                    (Some(true), ..) | (None, Coding::Identity | Coding::Other(_), _) => {
                        Form::AsSent
                    }
                    (Some(false), Coding::Gzip, _) => Form::Coded,
                    (None, Coding::Gzip, _) => Form::Unknown,
                    (_, Coding::Other(coding), _) => {
                        return Err(unknown_coding(response.url(), &coding).into());
                    }
                    (_, Coding::Identity, length) => {
                        let length = length.unwrap_or_default();
                        return Err(self.expected.size_mismatch(length).into());
                    }
                };
                Ok((self.done, form))
            }
            StatusCode::PARTIAL_CONTENT if self.done > 0 => {
                let header = response.headers().get(CONTENT_RANGE);
                let text = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
                match ContentRange::parse(text) {
                    Some(range) if range.is_rest(self.done, self.expected.size) => {
                        Ok((0, Form::AsSent))
                    }
                    _ => Err(protocol(format!(
                        "asked for the rest from byte {} of {}, got Content-Range {text:?}",
                        self.done, self.expected.size
                    ))),
                }
            }
            other => Err(protocol(format!("unexpected answer {other}"))),
        }
    }

    /// Hands on what a piece decodes to.
    async fn decode(
        &mut self,
        decoder: &mut Decoder,
        piece: &[u8],
        skip: &mut u64,
        url: &Url,
    ) -> Result<(), Stop> {
        for coded in piece.chunks(coding::AT_A_TIME) {
            let decoded = decoder.decode(coded).map_err(|error| {
                let reason = format!("marked as gzip, but neither the blob nor gzip: {error}");
                Failure::protocol(url, reason)
            })?;
            self.hand_on(decoded, skip).await?;
        }
        Ok(())
    }

    /// Passes on what is left of a piece when `skip` bytes of it are known.
    async fn hand_on(&mut self, mut piece: Bytes, skip: &mut u64) -> Result<(), Stop> {
        let known = (*skip).min(piece.len() as u64);
        *skip -= known;
        // Fits into a usize: no more than the length of the piece.
        piece.advance(known as usize);
        if piece.is_empty() {
            return Ok(());
        }
        let length = piece.len() as u64;
        if self.done + length > self.expected.size {
            return Err(self.expected.size_mismatch(self.done + length).into());
        }
        (self.on_bytes)(length);
        self.sender.send(Ok(piece)).await.map_err(|_| Stop::Unwanted)?;
        self.done += length;
        Ok(())
    }
}

/// The reading end, on a blocking thread.
struct ChannelReader {
    receiver: mpsc::Receiver<Piece>,
    task: AbortHandle,
    expected: Expected,
    /// Bytes that have yet to arrive.
    left: u64,
    piece: Bytes,
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = match self.receiver.blocking_recv() {
                Some(piece) => piece.map_err(io::Error::from)?,
                None if self.left == 0 => return Ok(0),
                // A task ends early only if the download is stopped or the runtime shuts down.
                None => {
                    let Expected { image, part, .. } = &self.expected;
                    return Err(Error::Interrupted { image: image.to_string(), part: *part }.into());
                }
            };
            self.left = self.left.saturating_sub(self.piece.len() as u64);
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Drop for ChannelReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}
