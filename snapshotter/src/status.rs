//! What monitoring asks over HTTP: `/metrics`, `/healthz` and `/readyz`.
//!
//! A repository that is away makes the daemon neither unhealthy nor unready: layers are downloaded then, and a restart
//! would not bring it back. Its state is in the body, and in the metrics.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use layer_layout::text::one_line;
use tokio::net::TcpListener;
use tracing::{error, info};

use crate::snapshots::Snapshots;

/// How long records may take to be read. Probes of Kubernetes wait a second, unless told otherwise.
const PATIENCE: Duration = Duration::from_millis(900);

/// The format that Prometheus is told.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until the daemon ends. If that is not possible, containers still have to start: it is only logged.
pub async fn serve(address: SocketAddr, snapshots: Snapshots) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(health))
        .with_state(snapshots);
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            error!(%address, %error, "cannot serve metrics; change `status-address`");
            return;
        }
    };
    info!(%address, "serving metrics");
    if let Err(error) = axum::serve(listener, routes).await {
        error!(%address, %error, "metrics are not served any more");
    }
}

async fn metrics(State(snapshots): State<Snapshots>) -> Response {
    match tokio::time::timeout(PATIENCE, snapshots.metrics_page()).await {
        Ok(Ok(page)) => ([(CONTENT_TYPE, PROMETHEUS)], page).into_response(),
        Ok(Err(error)) => unwell(&error.to_string()),
        Err(_) => unwell("the records cannot be read in time"),
    }
}

async fn health(State(snapshots): State<Snapshots>) -> Response {
    match tokio::time::timeout(PATIENCE, snapshots.answers()).await {
        Ok(Ok(())) => {
            let repositories = snapshots.repository_states().into_iter();
            let lines = repositories.map(|(name, state)| {
                let since = state.unusable_since();
                let since = since.map(|since| format!(" for {} s", since.elapsed().as_secs()));
                format!("repository {} {}{}\n", name, state.as_str(), since.unwrap_or_default())
            });
            format!("ok\n{}", lines.collect::<String>()).into_response()
        }
        Ok(Err(error)) => unwell(&error.to_string()),
        Err(_) => unwell("the records cannot be read in time"),
    }
}

fn unwell(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", one_line(why))).into_response()
}
