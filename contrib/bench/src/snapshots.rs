//! Snapshot operations: Prepare, Mounts and Remove on top of a 20-layer chain.
//!
//! One client calls containerd's API for its built-in overlayfs snapshotter and for ours, which is a proxy plugin
//! behind it. For the third row, it calls our socket directly: there each Remove also removes the directory, which
//! behind containerd its garbage collector does later, for both snapshotters.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result};
use cvmfs_snapshotter::proto::snapshots::snapshots_client::SnapshotsClient;
use cvmfs_snapshotter::proto::snapshots::{
    CommitSnapshotRequest, MountsRequest, PrepareSnapshotRequest, RemoveSnapshotRequest,
};
use harness::containerd::{Containerd, Settings, Version};
use harness::node::Node;
use harness::snapshotter::{self, Snapshotter};
use hyper_util::rt::TokioIo;
use tonic::Request;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::measure::{in_turn, median};
use crate::table;

const LAYERS: usize = 20;
const CYCLES: usize = 200;
const NAMESPACE: &str = "bench";

pub(crate) fn run(rounds: usize) -> Result<()> {
    let node = Rc::new(Node::new()?);
    let ours = Snapshotter::start(&node, &[])?;
    let version = Version::newest()?;
    let settings = Settings::new(version).with_plugin(Some(ours.plugin()));
    let containerd = Containerd::start(&node, settings)?;
    // containerd's garbage collector removes what it does not know, so the row without it has a daemon of its own.
    let apart = Rc::new(Node::new()?);
    let direct = Snapshotter::start(&apart, &[])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    let sides = [
        ("overlayfs, built into containerd", containerd.socket(), "overlayfs"),
        ("cvmfs-snapshotter, behind containerd", containerd.socket(), snapshotter::NAME),
        ("cvmfs-snapshotter, its own socket", direct.socket(), snapshotter::NAME),
    ];
    let mut clients = Vec::new();
    for (at, (_, socket, name)) in sides.iter().enumerate() {
        let client = runtime.block_on(Client::connect(socket, name, at))?;
        clients.push(client);
    }
    for client in &mut clients {
        runtime.block_on(client.build_chain())?;
    }
    let results = in_turn(rounds, sides.len(), |side| runtime.block_on(clients[side].cycles()))?;
    let rate = |rates: &[f64]| median(rates.iter().copied());
    let rows: Vec<Vec<String>> = (sides.iter().zip(&results))
        .map(|((name, ..), rates)| {
            vec![
                (*name).to_owned(),
                format!("{:.0}", rate(rates)),
                format!("{:.2}", rate(rates) / rate(&results[0])),
            ]
        })
        .collect();
    let headline = "Prepare + Mounts + Remove on a 20-layer chain";
    let containerd = format!("containerd {version}");
    table::print(headline, &[&containerd, "cycles/s", "rate / overlayfs"], &rows);
    Ok(())
}

struct Client {
    stub: SnapshotsClient<Channel>,
    snapshotter: String,
    /// Keeps the names of the three sides apart: two of them share a snapshotter.
    prefix: String,
    count: usize,
}

impl Client {
    async fn connect(socket: &Path, snapshotter: &str, side: usize) -> Result<Self> {
        let socket: PathBuf = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .context("connecting to a snapshotter")?;
        let stub = SnapshotsClient::new(channel);
        Ok(Self {
            stub,
            snapshotter: snapshotter.to_owned(),
            prefix: format!("side-{side}"),
            count: 0,
        })
    }

    fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("containerd-namespace", NAMESPACE.parse()?);
        Ok(request)
    }

    fn layer(&self, number: usize) -> String {
        if number == 0 { String::new() } else { format!("{}-layer-{number}", self.prefix) }
    }

    async fn prepare(&mut self, key: &str, parent: String) -> Result<()> {
        let labels = [("containerd.io/gc.root".to_owned(), "bench".to_owned())].into();
        let snapshotter = self.snapshotter.clone();
        let message = PrepareSnapshotRequest { snapshotter, key: key.to_owned(), parent, labels };
        self.stub.prepare(self.request(message)?).await?;
        Ok(())
    }

    async fn build_chain(&mut self) -> Result<()> {
        for number in 1..=LAYERS {
            let key = format!("{}-making-{number}", self.prefix);
            self.prepare(&key, self.layer(number - 1)).await?;
            let message = CommitSnapshotRequest {
                snapshotter: self.snapshotter.clone(),
                name: self.layer(number),
                key,
                labels: [("containerd.io/gc.root".to_owned(), "bench".to_owned())].into(),
                ..CommitSnapshotRequest::default()
            };
            self.stub.commit(self.request(message)?).await?;
        }
        Ok(())
    }

    /// Cycles per second.
    async fn cycles(&mut self) -> Result<f64> {
        let begun = Instant::now();
        for _ in 0..CYCLES {
            self.count += 1;
            let key = format!("{}-cycle-{}", self.prefix, self.count);
            self.prepare(&key, self.layer(LAYERS)).await?;
            let snapshotter = self.snapshotter.clone();
            let mounts = MountsRequest { snapshotter: snapshotter.clone(), key: key.clone() };
            self.stub.mounts(self.request(mounts)?).await?;
            self.stub.remove(self.request(RemoveSnapshotRequest { snapshotter, key })?).await?;
        }
        Ok(CYCLES as f64 / begun.elapsed().as_secs_f64())
    }
}
