//! An image in a registry of our own, published from there into repositories of both kinds.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cvmfs_repository::entry::{Content, EntryKind};
use cvmfs_repository::hash::ObjectKind;
use cvmfs_repository::keys::Keys;
use cvmfs_repository::path::TreePath;
use cvmfs_repository::storage::Storage;
use flate2::Compression;
use flate2::write::GzEncoder;
use layer_layout::{ConfigDigest, DiffId, Digest, ImagePlace, ImageReference, LayerDigest};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::scene::empty_native;
use super::server::{Answer, Server};
use crate::Result;
use crate::convert::{Again, At, BatchSettings, LayersAgain, Request, convert};
use crate::inventory::{Inventory, places};
use crate::layer::Limits;
use crate::notification::Notifications;
use crate::progress::{Progress, Style};
use crate::report::Report;
use crate::repository::{Directory, Repository};
use crate::source::Options;
use crate::verify::{
    RepairPlan, Republication, Republications, Settings, Verdict, discard_damaged, republications,
    verify_with,
};

const TIME: u64 = 1_700_000_000;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A tar.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn add(
        mut self,
        path: &str,
        kind: tar::EntryType,
        mode: u32,
        link: Option<&str>,
        content: &str,
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(TIME);
        header.set_size(content.len() as u64);
        if let Some(link) = link {
            header.set_link_name(link).unwrap();
        }
        self.0.append_data(&mut header, path, content.as_bytes()).unwrap();
        self
    }

    fn directory(self, path: &str, mode: u32) -> Self {
        self.add(path, tar::EntryType::Directory, mode, None, "")
    }

    fn file(self, path: &str, mode: u32, content: &str) -> Self {
        self.add(path, tar::EntryType::Regular, mode, None, content)
    }

    fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        let name = format!("SCHILY.xattr.{name}");
        self.0.append_pax_extensions([(&*name, value)]).unwrap();
        self
    }

    fn link(self, path: &str, kind: tar::EntryType, target: &str) -> Self {
        self.add(path, kind, 0o777, Some(target), "")
    }

    fn end(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// An image: its blobs, and what their digests are.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) manifest: Vec<u8>,
    pub(super) config: Vec<u8>,
    layers: Vec<Vec<u8>>,
}

impl Image {
    /// Everything that a layer can have: attributes, links of all kinds, whiteouts, and what it leaves to those below.
    pub(super) fn new(version: &str) -> Self {
        let base = Tar::new()
            .directory("etc", 0o755)
            .file("etc/passwd", 0o644, "root")
            .file("etc/gone", 0o644, "old")
            .directory("usr", 0o755)
            .directory("usr/lib", 0o751)
            .file("usr/lib/library", 0o644, "a library")
            .link("lib", tar::EntryType::Symlink, "usr/lib")
            .directory("old", 0o700)
            .file("old/file", 0o600, "old")
            .end();
        let top = Tar::new()
            .file("etc/.wh.gone", 0, "")
            .directory("old", 0o711)
            .file("old/.wh..wh..opq", 0, "")
            .file("old/new", 0o644, "")
            .directory("bin", 0o755)
            .xattr("user.note", b"kept")
            .file("bin/tool", 0o4755, &format!("a tool {version}"))
            .link("bin/hard", tar::EntryType::Link, "bin/tool")
            .link("bin/soft", tar::EntryType::Symlink, "tool")
            .link("bin/lower", tar::EntryType::Link, "usr/lib/library")
            // The directories of these are described by no entry, and the second is a link below.
            .file("usr/share/doc", 0o644, "documentation")
            .file("lib/more", 0o644, "more")
            .end();
        let tars = [base, top];
        let diff_ids: Vec<DiffId> = tars.iter().map(|tar| Digest::of(tar).into()).collect();
        let layers: Vec<Vec<u8>> = tars
            .iter()
            .map(|tar| {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                gzip.write_all(tar).unwrap();
                gzip.finish().unwrap()
            })
            .collect();
        let platform = layer_layout::Platform::host();
        let config = json!({
            "os": "linux",
            "architecture": platform.architecture(),
            "config": {"Cmd": ["/bin/tool"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let blob = |media_type: &str, blob: &[u8]| {
            let digest = Digest::of(blob);
            json!({"mediaType": media_type, "digest": digest, "size": blob.len()})
        };
        let layer_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": blob("application/vnd.oci.image.config.v1+json", &config),
            "layers": layers.iter().map(|layer| blob(layer_type, layer)).collect::<Vec<_>>(),
        });
        Self { manifest: manifest.to_string().into_bytes(), config, layers }
    }

    pub(super) fn config_digest(&self) -> ConfigDigest {
        Digest::of(&self.config).into()
    }

    pub(super) fn layer(&self, at: usize) -> LayerDigest {
        Digest::of(&self.layers[at]).into()
    }

    /// The same image in other words.
    pub(super) fn in_other_words(&self) -> Vec<u8> {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).unwrap();
        manifest["annotations"] = json!({"note": "not by its publisher"});
        manifest.to_string().into_bytes()
    }
}

/// A registry with one repository, `a/b`.
pub(super) struct Registry {
    pub(super) server: Server,
    /// Manifests by tag and digest, and blobs by digest.
    pub(super) content: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Registry {
    pub(super) async fn with(image: &Image) -> Self {
        let content: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let served = Arc::clone(&content);
        let server = Server::start(move |request, _| {
            let name = request.path().rsplit('/').next().unwrap_or_default().to_owned();
            match served.lock().unwrap().get(&name) {
                None => Answer::new(404, "{}"),
                Some(bytes) if request.path().contains("/manifests/") => {
                    let answer = Answer::new(200, bytes.clone()).header("Content-Type", MANIFEST);
                    answer.header("Docker-Content-Digest", Digest::of(bytes))
                }
                Some(bytes) => Answer::new(200, bytes.clone()),
            }
        })
        .await;
        let registry = Self { server, content };
        registry.push(image);
        registry
    }

    /// Puts an image under the tag `1`.
    pub(super) fn push(&self, image: &Image) {
        let mut content = self.content.lock().unwrap();
        content.insert("1".to_owned(), image.manifest.clone());
        for blob in [&image.manifest, &image.config].into_iter().chain(&image.layers) {
            content.insert(Digest::of(blob).to_string(), blob.clone());
        }
    }

    pub(super) fn remove(&self, name: &str) {
        assert!(self.content.lock().unwrap().remove(name).is_some(), "{name} is there");
    }

    pub(super) fn place(&self) -> ImagePlace {
        let name = format!("{}/a/b:1", self.server.address);
        ImagePlace { name: name.parse().unwrap(), architecture: None }
    }
}

/// Without patience.
pub(super) fn options() -> Options {
    Options { attempts: 1, first_pause: Duration::from_millis(1), ..Options::default() }
}

/// A request for the image.
pub(super) fn request(registry: &Registry) -> Request {
    Request {
        reference: ImageReference::Registry(registry.place().name.to_string().parse().unwrap()),
        name: None,
        platforms: None,
        at: None,
        flat: true,
        thin: None,
        again: Again::default(),
        source: options(),
    }
}

pub(super) async fn publish(repository: &Arc<dyn Repository>, request: &Request) {
    try_publish(repository, request).await.unwrap();
}

async fn try_publish(repository: &Arc<dyn Repository>, request: &Request) -> Result<()> {
    let settings = BatchSettings::new(
        Limits::default(),
        Progress::new(Style::Quiet),
        Notifications::default(),
    );
    let (never, mut report) = (CancellationToken::new(), Report::new(String::new()));
    let result = convert(request, Arc::clone(repository), &settings, &never, &mut report).await;
    repository.refresh().unwrap();
    result
}

/// How to verify.
pub(super) fn settings(registry: bool, data: bool) -> Settings {
    Settings { registry: registry.then(options), data, limits: Limits::default(), at_a_time: 4 }
}

pub(super) async fn verdict(repository: &Arc<dyn Repository>, settings: &Settings) -> Verdict {
    let mut verdicts = verdicts(repository, settings).await;
    assert_eq!(verdicts.len(), 1);
    verdicts.pop().unwrap()
}

pub(super) async fn verdicts(
    repository: &Arc<dyn Repository>,
    settings: &Settings,
) -> Vec<Verdict> {
    let places = places(&**repository).unwrap();
    verify_with(repository, places, settings).await.unwrap()
}

/// What mends all that was found.
pub(super) fn plan(repository: &dyn Repository, verdicts: &[Verdict]) -> RepairPlan {
    let plan = RepairPlan::new(&Inventory::take(repository).unwrap(), verdicts);
    assert!(!plan.is_empty(), "{verdicts:?}");
    plan
}

/// How the images of a plan are published again.
pub(super) async fn ask(repository: &Arc<dyn Repository>, plan: &RepairPlan) -> Republications {
    republications(repository, plan, &options(), 4).await.unwrap()
}

/// Publishes an image again, as `--repair` does.
pub(super) async fn republish(
    repository: &Arc<dyn Repository>,
    registry: &Registry,
    plan: &RepairPlan,
    image: Republication,
) -> Result<()> {
    let layers = LayersAgain::These(plan.layers.clone());
    let at = At { place: image.place, link: image.link, identity: Some(image.identity) };
    let request = Request {
        reference: ImageReference::Registry(image.reference),
        at: Some(at),
        flat: image.flat,
        again: Again { trees: true, layers, ..Again::default() },
        source: Options { platform: image.platform, ..options() },
        ..request(registry)
    };
    try_publish(repository, &request).await
}

/// Mends all that was found, as `--repair` does.
pub(super) async fn repair(
    repository: &Arc<dyn Repository>,
    registry: &Registry,
    verdicts: &[Verdict],
) {
    let plan = plan(&**repository, verdicts);
    for tree in &plan.damaged {
        discard_damaged(&**repository, tree).unwrap();
    }
    for image in ask(repository, &plan).await.images {
        republish(repository, registry, &plan, image).await.unwrap();
    }
}

/// A directory with the image.
pub(super) async fn directory(registry: &Registry) -> (tempfile::TempDir, Arc<dyn Repository>) {
    let memory = Path::new("/dev/shm");
    let below = if memory.is_dir() { memory } else { Path::new("/tmp") };
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    let place = tempfile::Builder::new().permissions(closed).tempdir_in(below).unwrap();
    let repository: Arc<dyn Repository> = Arc::new(Directory::open(place.path(), None).unwrap());
    publish(&repository, &request(registry)).await;
    (place, repository)
}

/// A native repository with the image.
pub(super) async fn native(registry: &Registry) -> (tempfile::TempDir, Arc<dyn Repository>) {
    let (place, repository) = empty_native();
    publish(&repository, &request(registry)).await;
    (place, repository)
}

/// The file of the only object of a file in a native repository.
pub(super) fn object(place: &Path, path: &str) -> std::path::PathBuf {
    let (data, keys) = (place.join("data"), place.join("keys"));
    let fqrn = super::scene::FQRN.parse().unwrap();
    let keys = Keys::load(&keys, &fqrn).unwrap();
    let repository = cvmfs_repository::Repository::open(Storage::local(&data), fqrn, keys);
    let path = TreePath::parse(path.as_bytes()).unwrap();
    let entry = repository.snapshot().unwrap().lookup(&path).unwrap().unwrap();
    let EntryKind::File(file) = entry.kind else { panic!("{path} is no file") };
    let Content::Whole(hash) = file.content else { panic!("{path} has several objects") };
    data.join(hash.object(ObjectKind::File).path())
}

/// Flips a bit in the middle of a file, which keeps its other names and its times.
pub(super) fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let time = std::fs::metadata(path).unwrap().modified().unwrap();
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all(&bytes).unwrap();
    file.set_modified(time).unwrap();
}
