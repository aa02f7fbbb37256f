//! A node leaves nothing behind.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use e2e::Result;
use e2e::busybox;
use e2e::containerd::{Settings, Version};
use e2e::cri::{self, Cri, Start};
use e2e::node::Node;
use e2e::registry::Registry;

#[test]
fn containers_mounts_groups_and_files_go_with_their_node() -> Result<()> {
    let registry = Registry::start()?;
    let node = Rc::new(Node::new()?);
    let (name, dir) = (node.name().to_owned(), node.dir().to_path_buf());
    let sandbox = busybox::push_sandbox(&registry, &node.make_dir("blobs")?)?;
    let settings =
        Settings::new(Version::newest()?).with_registry(&registry).with_sandbox(&sandbox);
    let containerd = cri::start(&node, settings)?;
    let cri = Cri::of(&containerd)?.with_retries(3);
    let pod = cri.run_pod("abandoned")?;
    let marker = format!("{name}-marker");
    let args = ["-c", "sleep 1000; :", marker.as_str()];
    cri.launch(
        &pod,
        &Start { name: "main", image: &sandbox, command: &["sh"], args: &args, ..Start::default() },
    )?;
    // Two, while the shell has forked and not executed `sleep` yet.
    assert!(processes(&marker)? > 0, "the container runs");
    assert!(groups(&name) > 0, "the container has a control group");
    // As after a panic: nothing stops the container.
    drop((cri, containerd, node));
    assert_eq!(processes(&marker)?, 0, "the container has ended");
    assert_eq!(processes(&dir.to_string_lossy())?, 0, "all servers have ended");
    assert_eq!(groups(&name), 0, "control groups are gone");
    assert!(!dir.exists(), "the directory is gone");
    assert!(!fs::read_to_string("/proc/self/mounts")?.contains(&name), "mounts are gone");
    Ok(())
}

/// Number of processes whose command line contains `text`.
fn processes(text: &str) -> Result<usize> {
    let commands = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    Ok(commands.filter(|command| String::from_utf8_lossy(command).contains(text)).count())
}

/// Number of control groups called `name` in all hierarchies.
fn groups(name: &str) -> usize {
    let hierarchies =
        fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    hierarchies
        .chain([Path::new("/sys/fs/cgroup").to_path_buf()])
        .filter(|dir| dir.join(name).exists())
        .count()
}
