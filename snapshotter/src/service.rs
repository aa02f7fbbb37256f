//! containerd's snapshots service over gRPC: messages to values and back.
//!
//! tonic drops a handler when its client goes away. A change must not end halfway between disk and store, so each
//! change runs in a task of its own, and the handler only waits for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use prost::Message;
use tokio_stream::{Stream, iter};
use tonic::{Code, Request, Response, Status};

use crate::error::{Error, Result};
use crate::filter::Filters;
use crate::mounts::Mount;
use crate::proto::snapshots::snapshots_server::{Snapshots as Service, SnapshotsServer};
use crate::proto::snapshots::{
    CleanupRequest, CommitSnapshotRequest, Info as InfoMessage, Kind as KindMessage,
    ListSnapshotsRequest, ListSnapshotsResponse, MountsRequest, MountsResponse,
    PrepareSnapshotRequest, PrepareSnapshotResponse, RemoveSnapshotRequest, StatSnapshotRequest,
    StatSnapshotResponse, UpdateSnapshotRequest, UpdateSnapshotResponse, UsageRequest,
    UsageResponse, ViewSnapshotRequest, ViewSnapshotResponse,
};
use crate::proto::types::Mount as MountMessage;
use crate::snapshot::{Info, SnapshotKind, Timestamp, shown};
use crate::snapshots::{SnapshotRequest, Snapshots};
use crate::store::LabelChange;

/// Snapshots in one message of a `List` stream, as many as the reference server sends.
const LIST_CHUNK: usize = 100;

/// A message of a `List` stream ends with the snapshot that makes it larger than this, in bytes: far below the 16 MiB
/// that a client of containerd accepts, and a single snapshot is far smaller than what is left.
const LIST_MESSAGE: usize = 4 << 20;

/// The field that `Update` can change.
const LABELS: &str = "labels";

/// The gRPC service.
#[derive(Debug, Clone)]
pub struct Handler(Snapshots);

impl Handler {
    /// A service for a server to add.
    pub fn service(snapshots: Snapshots) -> SnapshotsServer<Self> {
        SnapshotsServer::new(Self(snapshots))
    }

    /// Waits for the answer to a call, and counts it.
    async fn measured<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<T>>,
    ) -> std::result::Result<Response<T>, Status> {
        let started = Instant::now();
        let answer = answer.await;
        let code = answer.as_ref().map_or_else(Error::code, |_| Code::Ok);
        self.0.metrics().call(call, code, started.elapsed());
        Ok(Response::new(answer?))
    }
}

async fn detached<T: Send + 'static>(
    change: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(change).await.map_err(|error| Error::Internal(error.to_string()))?
}

fn mount_messages(mounts: Vec<Mount>) -> Vec<MountMessage> {
    mounts
        .into_iter()
        .map(|mount| MountMessage {
            r#type: mount.mount_type.to_owned(),
            source: mount.source,
            target: String::new(),
            options: mount.options,
        })
        .collect()
}

fn time_message(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = time.parts();
    prost_types::Timestamp { seconds, nanos }
}

/// The kind is always set: containerd would take a missing one for "committed".
fn info_message(info: Info) -> InfoMessage {
    let kind = match info.kind {
        SnapshotKind::View => KindMessage::View,
        SnapshotKind::Active => KindMessage::Active,
        SnapshotKind::Committed => KindMessage::Committed,
    };
    InfoMessage {
        name: info.name,
        parent: info.parent,
        kind: kind.into(),
        created_at: Some(time_message(info.created)),
        updated_at: Some(time_message(info.updated)),
        labels: info.labels.into_iter().collect(),
    }
}

/// The change of labels that an update mask asks for; without a mask all are replaced. Everything else in the
/// request's record is ignored: containerd fills in neither kind nor times.
fn label_change(info: InfoMessage, mask: Option<prost_types::FieldMask>) -> Result<LabelChange> {
    let paths = mask.unwrap_or_default().paths;
    let mut single = BTreeMap::new();
    let mut all = paths.is_empty();
    for path in paths {
        match path.split_once('.') {
            None if path == LABELS => all = true,
            Some((LABELS, key)) => {
                single.insert(key.to_owned(), info.labels.get(key).cloned());
            }
            _ => {
                let (path, name) = (shown(&path), shown(&info.name));
                let message = format!("cannot update {path} of snapshot {name}");
                return Err(Error::InvalidArgument(message));
            }
        }
    }
    // A mask of `labels` covers every `labels.KEY` beside it.
    Ok(if all {
        LabelChange::Replace(info.labels.into_iter().collect())
    } else {
        LabelChange::Set(single)
    })
}

/// The messages of a `List` stream.
fn list_messages(
    mut infos: impl Iterator<Item = InfoMessage>,
) -> impl Iterator<Item = ListSnapshotsResponse> {
    std::iter::from_fn(move || {
        let mut message = ListSnapshotsResponse::default();
        let mut size = 0;
        while message.info.len() < LIST_CHUNK && size <= LIST_MESSAGE {
            let Some(info) = infos.next() else { break };
            size += info.encoded_len();
            message.info.push(info);
        }
        (!message.info.is_empty()).then_some(message)
    })
}

type ListStream =
    Pin<Box<dyn Stream<Item = std::result::Result<ListSnapshotsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Service for Handler {
    async fn prepare(
        &self,
        request: Request<PrepareSnapshotRequest>,
    ) -> std::result::Result<Response<PrepareSnapshotResponse>, Status> {
        let PrepareSnapshotRequest { key, parent, labels, .. } = request.into_inner();
        let request = SnapshotRequest { key, parent, labels: labels.into_iter().collect() };
        let snapshots = self.0.clone();
        let mounts = detached(async move { snapshots.prepare(request).await });
        let response =
            async { Ok(PrepareSnapshotResponse { mounts: mount_messages(mounts.await?) }) };
        self.measured("Prepare", response).await
    }

    async fn view(
        &self,
        request: Request<ViewSnapshotRequest>,
    ) -> std::result::Result<Response<ViewSnapshotResponse>, Status> {
        let ViewSnapshotRequest { key, parent, labels, .. } = request.into_inner();
        let request = SnapshotRequest { key, parent, labels: labels.into_iter().collect() };
        let snapshots = self.0.clone();
        let mounts = detached(async move { snapshots.view(request).await });
        let response = async { Ok(ViewSnapshotResponse { mounts: mount_messages(mounts.await?) }) };
        self.measured("View", response).await
    }

    async fn mounts(
        &self,
        request: Request<MountsRequest>,
    ) -> std::result::Result<Response<MountsResponse>, Status> {
        let mounts = self.0.mounts(request.into_inner().key);
        let response = async { Ok(MountsResponse { mounts: mount_messages(mounts.await?) }) };
        self.measured("Mounts", response).await
    }

    async fn commit(
        &self,
        request: Request<CommitSnapshotRequest>,
    ) -> std::result::Result<Response<()>, Status> {
        let CommitSnapshotRequest { name, key, labels, parent, .. } = request.into_inner();
        let (snapshots, labels) = (self.0.clone(), labels.into_iter().collect());
        let change = async move { snapshots.commit(name, key, labels, parent).await };
        self.measured("Commit", detached(change)).await
    }

    async fn remove(
        &self,
        request: Request<RemoveSnapshotRequest>,
    ) -> std::result::Result<Response<()>, Status> {
        let snapshots = self.0.clone();
        let change = async move { snapshots.remove(request.into_inner().key).await };
        self.measured("Remove", detached(change)).await
    }

    async fn stat(
        &self,
        request: Request<StatSnapshotRequest>,
    ) -> std::result::Result<Response<StatSnapshotResponse>, Status> {
        let info = self.0.stat(request.into_inner().key);
        let response = async { Ok(StatSnapshotResponse { info: Some(info_message(info.await?)) }) };
        self.measured("Stat", response).await
    }

    async fn update(
        &self,
        request: Request<UpdateSnapshotRequest>,
    ) -> std::result::Result<Response<UpdateSnapshotResponse>, Status> {
        let UpdateSnapshotRequest { info, update_mask, .. } = request.into_inner();
        let snapshots = self.0.clone();
        let response = async move {
            let info = info.ok_or_else(|| {
                Error::InvalidArgument("the request has no snapshot record".to_owned())
            })?;
            let name = info.name.clone();
            let change = label_change(info, update_mask)?;
            let info = detached(async move { snapshots.update(name, change).await }).await?;
            Ok(UpdateSnapshotResponse { info: Some(info_message(info)) })
        };
        self.measured("Update", response).await
    }

    type ListStream = ListStream;

    async fn list(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> std::result::Result<Response<ListStream>, Status> {
        let response = async {
            let filters = Filters::parse(&request.into_inner().filters)?;
            let infos = self.0.list(filters).await?.into_iter().map(info_message);
            // All records have been read already, so nothing is locked while the client reads the stream.
            let stream: ListStream = Box::pin(iter(list_messages(infos).map(Ok)));
            Ok(stream)
        };
        self.measured("List", response).await
    }

    async fn usage(
        &self,
        request: Request<UsageRequest>,
    ) -> std::result::Result<Response<UsageResponse>, Status> {
        let usage = self.0.usage(request.into_inner().key);
        let response = async {
            let usage = usage.await?;
            Ok(UsageResponse { size: usage.bytes, inodes: usage.inodes })
        };
        self.measured("Usage", response).await
    }

    async fn cleanup(
        &self,
        _request: Request<CleanupRequest>,
    ) -> std::result::Result<Response<()>, Status> {
        let snapshots = self.0.clone();
        self.measured("Cleanup", detached(async move { snapshots.cleanup().await })).await
    }
}

#[cfg(test)]
mod tests;
