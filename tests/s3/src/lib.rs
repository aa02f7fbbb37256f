//! An S3 server for tests: s3s-fs, which keeps a bucket in a directory and checks signatures, behind a layer that
//! injects faults. A rule sees each request and may make it fail.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};

use http::request::Parts;
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The bucket that exists.
pub const BUCKET: &str = "images";
/// The access key ID.
pub const ACCESS_KEY: &str = "test-key";
/// The secret access key.
pub const SECRET_KEY: &str = "test-secret";

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request is not carried out and gets this status.
    Status(u16),
    /// The bucket does not exist. (s3s-fs would create it.)
    NoBucket,
    /// The request is not carried out, and the connection is closed.
    HangUp,
    /// The request is carried out, but the connection is closed without a response.
    LoseAnswer,
    /// The request is carried out after this delay.
    Stall(Duration),
}

type Rule = Box<dyn Fn(&Parts) -> Option<Fault> + Send + Sync>;

/// A running server; dropping it stops it.
pub struct FaultyS3 {
    directory: TempDir,
    port: u16,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    service: S3Service,
    rule: Mutex<Option<Rule>>,
    log: Mutex<Vec<Parts>>,
    /// s3s-fs checks conditions first and writes afterwards. S3 does both atomically, so here such requests are handled
    /// one at a time.
    conditional: tokio::sync::Mutex<()>,
}

impl FaultyS3 {
    /// Starts a server on a free port of this machine.
    ///
    /// # Errors
    /// If a directory, a port or threads cannot be created.
    pub fn start() -> io::Result<Self> {
        Self::start_in(&std::env::temp_dir())
    }

    /// The same with the bucket in a new directory below `place`, which is removed at the end.
    ///
    /// # Errors
    /// If a directory, a port or threads cannot be created.
    pub fn start_in(place: &Path) -> io::Result<Self> {
        let directory = tempfile::tempdir_in(place)?;
        fs::create_dir(directory.path().join(BUCKET))?;
        let files = FileSystem::new(directory.path())
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let shared = Arc::new(Shared {
            service: builder.build(),
            rule: Mutex::default(),
            log: Mutex::default(),
            conditional: tokio::sync::Mutex::default(),
        });
        let runtime = Runtime::new()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let port = listener.local_addr()?.port();
        runtime.spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { directory, port, shared, runtime: Some(runtime) })
    }

    /// The URL of the server.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The URL of a storage, followed by more settings (`name=value&…`).
    pub fn url(&self, prefix: &str, settings: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}&allow_http=true&{settings}", self.endpoint())
    }

    /// The directory that contains the objects of a prefix.
    pub fn directory(&self, prefix: &str) -> PathBuf {
        self.directory.path().join(BUCKET).join(prefix)
    }

    /// Lets `rule` decide about all requests from now on.
    pub fn fail(&self, rule: impl Fn(&Parts) -> Option<Fault> + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(rule));
    }

    /// Works without faults from now on.
    pub fn heal(&self) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The requests since the last call, including failed ones.
    pub fn requests(&self) -> Vec<Parts> {
        std::mem::take(&mut *self.shared.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for FaultyS3 {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            // Broken connections are what this server is for.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let fault = shared
        .rule
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .and_then(|rule| rule(&parts));
    shared.log.lock().unwrap_or_else(PoisonError::into_inner).push(parts.clone());
    match fault {
        Some(Fault::Status(status)) => {
            let response = Response::builder().status(status).header(header::ETAG, "\"none\"");
            return response.body(Body::empty()).map_err(io::Error::other);
        }
        Some(Fault::NoBucket) => {
            let error = "<Error><Code>NoSuchBucket</Code></Error>".to_owned();
            return Response::builder().status(404).body(error.into()).map_err(io::Error::other);
        }
        Some(Fault::HangUp) => return Err(hang_up()),
        Some(Fault::Stall(time)) => tokio::time::sleep(time).await,
        Some(Fault::LoseAnswer) | None => {}
    }
    let is_conditional = parts.headers.contains_key(header::IF_MATCH)
        || parts.headers.contains_key(header::IF_NONE_MATCH);
    let exclusive = match is_conditional {
        true => Some(shared.conditional.lock().await),
        false => None,
    };
    let request = Request::from_parts(parts, Body::from(body));
    let response =
        shared.service.call(request).await.map_err(|error| io::Error::other(format!("{error:?}")));
    drop(exclusive);
    match fault {
        Some(Fault::LoseAnswer) => Err(hang_up()),
        _ => response,
    }
}

fn hang_up() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
