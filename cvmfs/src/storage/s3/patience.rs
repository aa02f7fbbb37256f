//! How long an S3 server may take for its answer.
//!
//! `object_store` has one limit for all requests. But an upload of 16 MiB over a slow line takes minutes, while a
//! server that has not said for minutes whether an object exists never will. So the limit here grows
//! with what is sent.
//!
//! Nor does `object_store` repeat a request that was cut short if it changes something on a condition or removes
//! something, for it may have been carried out. Here all requests may be repeated: removing an object twice does
//! no harm, and a refused replacement is believed only after reading what is there.

use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};

/// How long failed requests are repeated at most, however often that is.
pub(super) const RETRY_WINDOW: Duration = Duration::from_secs(180);

/// The slowest line that is tolerated, in bytes per second and request.
const SLOWEST: u64 = 64 << 10;

/// Limits on how long a server may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a request without content.
    pub(super) base: Duration,
}

impl Patience {
    /// How long a request that sends this many bytes may take.
    pub(super) fn limit(self, bytes: u64) -> Duration {
        self.base + Duration::from_secs(bytes / SLOWEST)
    }
}

impl HttpConnector for Patience {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // Fails only if one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Patient { client, patience: *self }))
    }
}

#[derive(Debug)]
struct Patient {
    client: HttpClient,
    patience: Patience,
}

#[async_trait]
impl HttpService for Patient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let limit = self.patience.limit(request.body().content_length() as u64);
        let answer = tokio::time::timeout(limit, self.client.execute(request)).await;
        // `object_store` repeats requests that fail in this way, whatever they do.
        let repeated = HttpErrorKind::Request;
        answer.unwrap_or_else(|elapsed| Err(HttpError::new(repeated, elapsed))).map_err(|error| {
            match error.kind() {
                HttpErrorKind::Timeout | HttpErrorKind::Interrupted => {
                    HttpError::new(repeated, error)
                }
                _ => error,
            }
        })
    }
}
