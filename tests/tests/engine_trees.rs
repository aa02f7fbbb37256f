//! What is published of an image is what a node without the repository has of it: containerd's overlayfs snapshotter
//! unpacks the same image, and both trees are compared name by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::containerd::{Containerd, Settings, Version};
use e2e::ducc::Convert;
use e2e::engine_cases::{EngineCase, builders, oddities, refused_by_engines};
use e2e::image::{Compression, Config, Format, Image, Layer, write_docker_archive, write_layout};
use e2e::node::Node;
use e2e::overlay::Overlay;
use e2e::tree::{FileKind, Tree};
use e2e::tree_diff::ensure_same;
use e2e::{Context, Result, ensure};
use layer_layout::{ChainId, DiffId, path};
use tempfile::TempDir;

const TAG: &str = "t";
const NAME: &str = "registry.example.org/t:1";

/// An image, and what the converter says of it.
struct Published {
    directory: TempDir,
    image: Image,
    remarks: String,
}

impl Published {
    fn new(case: &EngineCase) -> Result<Self> {
        let directory = TempDir::new()?;
        let build = |entries: &Vec<_>| Layer::build(directory.path(), Compression::Gzip, entries);
        let layers = case.layers.iter().map(build).collect::<Result<Vec<_>>>()?;
        let image = Image::new(Format::Oci, Config::with_cmd(["true"]), &layers)?;
        let layout = directory.path().join("layout");
        write_layout(&layout, TAG, &image)?;
        let repository = directory.path().join("repository");
        fs::create_dir(&repository)?;
        let source = format!("oci:{}:{TAG}", layout.display());
        let report = Convert::new(&source, &repository).public_name(NAME).report()?;
        Ok(Self { directory, image, remarks: report["remarks"].to_string() })
    }

    fn chain(&self) -> Result<ChainId> {
        let diff_ids = self.image.layers.iter().map(|layer| Ok(layer.diff_id.parse()?));
        let diff_ids = diff_ids.collect::<Result<Vec<DiffId>>>()?;
        ChainId::of_layers(&diff_ids).pop().context("no layers")
    }

    fn merged(&self) -> Result<Tree> {
        let rootfs = path::chain_rootfs(&self.chain()?);
        Tree::read(&self.directory.path().join("repository").join(rootfs))
    }

    /// Lets containerd unpack the image.
    fn import(&self, containerd: &Containerd) -> Result<()> {
        let archive = self.directory.path().join("image.tar");
        write_docker_archive(&archive, NAME, &self.image)?;
        let archive = archive.display().to_string();
        containerd.ctr(&["images", "import", "--snapshotter", "overlayfs", &archive])?;
        Ok(())
    }

    /// What a container sees with containerd.
    fn with_containerd(&self, containerd: &Containerd) -> Result<Tree> {
        self.import(containerd)?;
        let chain = self.chain()?.to_string();
        let key = format!("view-{chain}");
        // Nothing keeps containerd from collecting the view afterwards; the layers stay.
        let view = ["snapshots", "--snapshotter", "overlayfs", "view", "--target", "/nowhere"];
        let mounts = containerd.ctr(&[&view[..], &[&key, &chain]].concat())?.stdout;
        let lowers = lower_directories(&mounts).with_context(|| mounts.clone())?;
        let overlay = Overlay::view(&lowers.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
        let mut tree = Tree::read(&overlay.path())?.without_overlay_xattrs();
        // Of a single layer it shows its whiteouts, also those that it makes of AUFS's bookkeeping.
        tree.0.retain(|_, facts| facts.device != Some((0, 0)));
        Ok(tree.without_root())
    }
}

/// The directories of a mount command, topmost first.
fn lower_directories(mounts: &str) -> Option<Vec<PathBuf>> {
    if let Some((_, rest)) = mounts.split_once("lowerdir=") {
        let lowers = rest.split([',', ' ', '\n']).next()?;
        return Some(lowers.split(':').map(PathBuf::from).collect());
    }
    let source = mounts.split_whitespace().find(|word| Path::new(word).is_dir())?;
    Some(vec![PathBuf::from(source)])
}

#[test]
fn a_node_without_the_repository_sees_the_same() -> Result<()> {
    let node = Rc::new(Node::new()?);
    let containerd = Containerd::start(&node, Settings::new(Version::newest()?))?;
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    for case in builders().into_iter().chain(oddities()) {
        let published = Published::new(&case).with_context(|| case.name.to_owned())?;
        let merged = published.merged()?.without_root();
        let mut theirs =
            published.with_containerd(&containerd).with_context(|| case.name.to_owned())?;
        // A directory that no layer describes has the time at which containerd made it.
        for (path, facts) in &mut theirs.0 {
            if let Some(ours) = merged.0.get(path)
                && facts.kind == FileKind::Dir
                && facts.mtime.0 >= i64::try_from(begun)?
            {
                facts.mtime = ours.mtime;
            }
        }
        ensure_same("published", &merged, "containerd", &theirs)
            .with_context(|| case.name.to_owned())?;
        ensure!(published.remarks.contains(case.remark), "{}: {}", case.name, published.remarks);
        ensure!(
            case.remark.is_empty() == (published.remarks == "[]"),
            "{}: {}",
            case.name,
            published.remarks
        );
    }
    Ok(())
}

#[test]
fn what_engines_refuse_is_published_and_told() -> Result<()> {
    let node = Rc::new(Node::new()?);
    let containerd = Containerd::start(&node, Settings::new(Version::newest()?))?;
    for case in refused_by_engines() {
        let published = Published::new(&case).with_context(|| case.name.to_owned())?;
        ensure!(published.remarks.contains(case.remark), "{}: {}", case.name, published.remarks);
        let merged = published.merged()?;
        let linked = merged.0.values().filter(|facts| facts.linked.is_some()).count();
        ensure!(linked == 2, "{}: {linked} names are linked", case.name);
        ensure!(published.import(&containerd).is_err(), "{}: containerd takes it", case.name);
    }
    Ok(())
}
