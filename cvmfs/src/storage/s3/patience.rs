//! How long an S3 server may take for its answer.
//!
//! `object_store` has one limit for all requests. But an upload of 16 MiB over a slow line takes minutes, while a
//! server that has not said for minutes whether an object exists will not say it any more. So the limit here grows
//! with what is sent.
//!
//! Nor does `object_store` repeat a request that was cut short if it changes something on a condition or removes
//! something, for it may have been carried out. Here all requests may be repeated: what is removed is removed, and
//! who replaces the manifest looks what is there before taking "no" for an answer.

use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};

/// The slowest line that is waited for, in bytes per second and request.
const SLOWEST: u64 = 64 << 10;

/// Limits on how long a server may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a request without content.
    pub(super) base: Duration,
}

impl Patience {
    /// How long a request that sends so many bytes may take.
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
        // This kind is repeated whatever the request is.
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
