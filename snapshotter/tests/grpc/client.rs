//! A client with short calls, for the tests.

use std::collections::HashMap;
use std::path::Path;

use cvmfs_snapshotter::proto::snapshots::snapshots_client::SnapshotsClient;
use cvmfs_snapshotter::proto::snapshots::{
    CleanupRequest, CommitSnapshotRequest, Info, ListSnapshotsRequest, MountsRequest,
    PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest, UpdateSnapshotRequest,
    UsageRequest, UsageResponse, ViewSnapshotRequest,
};
use cvmfs_snapshotter::proto::types::Mount;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

pub type Answer<T> = Result<T, Status>;
pub type Labels<'a> = &'a [(&'a str, &'a str)];

#[derive(Clone)]
pub struct Client(SnapshotsClient<Channel>);

const SNAPSHOTTER: &str = "cvmfs-snapshotter";

pub fn labels(pairs: Labels<'_>) -> HashMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

pub fn code<T: std::fmt::Debug>(answer: Answer<T>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

macro_rules! request {
    ($type:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {
        $type { snapshotter: SNAPSHOTTER.to_owned(), $($field $(: $value)?),* }
    };
}

impl Client {
    pub fn new(socket: &Path) -> Self {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        Self(SnapshotsClient::new(endpoint.connect_lazy()))
    }

    pub async fn prepare(&self, key: &str, parent: &str, pairs: Labels<'_>) -> Answer<Vec<Mount>> {
        let request = request!(PrepareSnapshotRequest {
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: labels(pairs),
        });
        Ok(self.0.clone().prepare(request).await?.into_inner().mounts)
    }

    pub async fn view(&self, key: &str, parent: &str) -> Answer<Vec<Mount>> {
        let request = request!(ViewSnapshotRequest {
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: HashMap::new(),
        });
        Ok(self.0.clone().view(request).await?.into_inner().mounts)
    }

    pub async fn mounts(&self, key: &str) -> Answer<Vec<Mount>> {
        let request = request!(MountsRequest { key: key.to_owned() });
        Ok(self.0.clone().mounts(request).await?.into_inner().mounts)
    }

    pub async fn commit(&self, name: &str, key: &str, pairs: Labels<'_>) -> Answer<()> {
        self.commit_onto(name, key, pairs, "").await
    }

    pub async fn commit_onto(
        &self,
        name: &str,
        key: &str,
        pairs: Labels<'_>,
        parent: &str,
    ) -> Answer<()> {
        let request = request!(CommitSnapshotRequest {
            name: name.to_owned(),
            key: key.to_owned(),
            labels: labels(pairs),
            parent: parent.to_owned(),
        });
        self.0.clone().commit(request).await.map(|_| ())
    }

    pub async fn remove(&self, key: &str) -> Answer<()> {
        let request = request!(RemoveSnapshotRequest { key: key.to_owned() });
        self.0.clone().remove(request).await.map(|_| ())
    }

    pub async fn stat(&self, key: &str) -> Answer<Info> {
        let request = request!(StatSnapshotRequest { key: key.to_owned() });
        Ok(self.0.clone().stat(request).await?.into_inner().info.expect("containerd would die"))
    }

    pub async fn update(&self, info: Info, mask: &[&str]) -> Answer<Info> {
        let paths = mask.iter().map(|&path| path.to_owned()).collect();
        let request = request!(UpdateSnapshotRequest {
            info: Some(info),
            update_mask: Some(prost_types::FieldMask { paths }),
        });
        Ok(self.0.clone().update(request).await?.into_inner().info.expect("containerd would die"))
    }

    /// The messages that one `List` streams, each with its snapshots.
    pub async fn list_messages(&self, filters: &[&str]) -> Answer<Vec<Vec<Info>>> {
        let filters = filters.iter().map(|&filter| filter.to_owned()).collect();
        let mut stream =
            self.0.clone().list(request!(ListSnapshotsRequest { filters })).await?.into_inner();
        let mut messages = Vec::new();
        while let Some(message) = stream.message().await? {
            messages.push(message.info);
        }
        Ok(messages)
    }

    pub async fn list(&self, filters: &[&str]) -> Answer<Vec<Info>> {
        Ok(self.list_messages(filters).await?.into_iter().flatten().collect())
    }

    pub async fn names(&self, filters: &[&str]) -> Answer<Vec<String>> {
        Ok(self.list(filters).await?.into_iter().map(|info| info.name).collect())
    }

    pub async fn usage(&self, key: &str) -> Answer<UsageResponse> {
        let request = request!(UsageRequest { key: key.to_owned() });
        Ok(self.0.clone().usage(request).await?.into_inner())
    }

    pub async fn cleanup(&self) -> Answer<()> {
        self.0.clone().cleanup(request!(CleanupRequest {})).await.map(|_| ())
    }

    /// The generated client, for everything that the calls above do not cover.
    pub fn raw(&self) -> SnapshotsClient<Channel> {
        self.0.clone()
    }
}
