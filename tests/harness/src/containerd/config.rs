//! containerd's configuration files, per generation.
//!
//! The less obvious settings: `restrict_oom_score_adj`, because root on a build machine may lack CAP_SYS_RESOURCE;
//! `SystemdCgroup = false`, because there is no systemd; `unpack_config`, without which 2.1 cannot unpack with a proxy
//! snapshotter ("no unpack platforms defined").

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Version;
use crate::registry::Registry;

/// A snapshotter outside containerd.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The name under which containerd and its clients know it.
    pub name: String,
    /// Its socket.
    pub socket: PathBuf,
    /// Its directory, which CRI reports as the image file system.
    pub root: PathBuf,
}

/// How to start a containerd.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Generation.
    pub version: Version,
    /// The proxy snapshotter to use; `None` for containerd's own overlayfs.
    pub plugin: Option<Plugin>,
    /// Whether CRI passes image labels (`containerd.io/snapshot/cri.*`) to the snapshotter.
    pub cri_labels: bool,
    /// Whether the transfer service does so, from 2.0 on.
    pub transfer_labels: bool,
    /// The sandbox image, pulled at the start; `None` if CRI is not used.
    pub sandbox: Option<String>,
    /// Registries: host, certificate of the certificate authority, URL.
    pub(super) registries: Vec<(String, Option<PathBuf>, String)>,
}

impl Settings {
    /// The built-in snapshotter, all labels, no registries and no CRI.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            plugin: None,
            cri_labels: true,
            transfer_labels: true,
            sandbox: None,
            registries: Vec::new(),
        }
    }

    /// With this snapshotter instead of overlayfs.
    pub fn with_plugin(mut self, plugin: Option<Plugin>) -> Self {
        self.plugin = plugin;
        self
    }

    /// Able to reach `registry`.
    pub fn with_registry(mut self, registry: &Registry) -> Self {
        self.registries.push((
            registry.host(),
            registry.authority().map(Path::to_path_buf),
            registry.url(),
        ));
        self
    }

    /// With CRI and this sandbox image, which is to be pulled when containerd runs.
    pub fn with_sandbox(mut self, reference: impl Into<String>) -> Self {
        self.sandbox = Some(reference.into());
        self
    }

    /// Without any label that names an image or layer.
    pub fn without_labels(mut self) -> Self {
        (self.cri_labels, self.transfer_labels) = (false, false);
        self
    }

    pub(super) fn render(&self, dir: &Path) -> String {
        let dir = dir.display();
        let mut text = format!(
            "version = {version}\n\
             root = \"{dir}/root\"\n\
             state = \"{dir}/state\"\n\
             disabled_plugins = [{disabled}]\n\
             [grpc]\naddress = \"{dir}/containerd.sock\"\n\
             [ttrpc]\naddress = \"{dir}/containerd.sock.ttrpc\"\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{dir}/opt\"\n",
            version = if self.version.has_config_v3() { 3 } else { 2 },
            disabled = self.disabled_plugins(),
        );
        if let Some(plugin) = &self.plugin {
            let name = &plugin.name;
            text += &format!(
                "[proxy_plugins.{name}]\ntype = \"snapshot\"\naddress = \"{}\"\n\
                 [proxy_plugins.{name}.exports]\nroot = \"{}\"\nenable_remote_snapshot_annotations = \"{}\"\n",
                plugin.socket.display(),
                plugin.root.display(),
                self.transfer_labels,
            );
        }
        if self.version.has_transfer_service() {
            text += &self.transfer(&format!("{dir}/certs.d"));
        }
        text += &if self.version.has_config_v3() {
            self.cri_v3(&format!("{dir}/certs.d"))
        } else {
            self.cri_v2(&format!("{dir}/certs.d"))
        };
        text
    }

    fn snapshotter(&self) -> &str {
        self.plugin.as_ref().map_or("overlayfs", |plugin| &plugin.name)
    }

    fn sandbox_image(&self) -> &str {
        self.sandbox.as_deref().unwrap_or("localhost/no-sandbox:configured")
    }

    /// Plugins that look for devices or daemons that a test machine does not have, and CRI if it is not used.
    fn disabled_plugins(&self) -> String {
        let mut plugins = vec![
            "io.containerd.snapshotter.v1.aufs",
            "io.containerd.snapshotter.v1.btrfs",
            "io.containerd.snapshotter.v1.devmapper",
            "io.containerd.snapshotter.v1.zfs",
            "io.containerd.tracing.processor.v1.otlp",
        ];
        if self.sandbox.is_none() {
            plugins.push("io.containerd.grpc.v1.cri");
        }
        let quoted: Vec<String> = plugins.iter().map(|plugin| format!("\"{plugin}\"")).collect();
        quoted.join(", ")
    }

    fn transfer(&self, hosts: &str) -> String {
        let table = "io.containerd.transfer.v1.local";
        let mut text = format!("[plugins.\"{table}\"]\nconfig_path = \"{hosts}\"\n");
        let mut snapshotters = vec!["overlayfs"];
        snapshotters.extend(self.plugin.as_ref().map(|plugin| plugin.name.as_str()));
        for snapshotter in snapshotters {
            text += &format!(
                "[[plugins.\"{table}\".unpack_config]]\nplatform = \"linux\"\nsnapshotter = \"{snapshotter}\"\n"
            );
        }
        text
    }

    fn cri_v2(&self, hosts: &str) -> String {
        let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
        format!(
            "[{cri}]\nrestrict_oom_score_adj = true\nsandbox_image = \"{sandbox}\"\n\
             [{cri}.containerd]\nsnapshotter = \"{snapshotter}\"\ndisable_snapshot_annotations = {no_labels}\n\
             default_runtime_name = \"runc\"\n\
             [{cri}.containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n\
             [{cri}.containerd.runtimes.runc.options]\nSystemdCgroup = false\n\
             [{cri}.registry]\nconfig_path = \"{hosts}\"\n",
            sandbox = self.sandbox_image(),
            snapshotter = self.snapshotter(),
            no_labels = !self.cri_labels,
        )
    }

    fn cri_v3(&self, hosts: &str) -> String {
        let images = "plugins.\"io.containerd.cri.v1.images\"";
        let runtime = "plugins.\"io.containerd.cri.v1.runtime\"";
        format!(
            "[{images}]\nsnapshotter = \"{snapshotter}\"\ndisable_snapshot_annotations = {no_labels}\n\
             [{images}.pinned_images]\nsandbox = \"{sandbox}\"\n\
             [{images}.registry]\nconfig_path = \"{hosts}\"\n\
             [{runtime}]\nrestrict_oom_score_adj = true\n\
             [{runtime}.containerd]\ndefault_runtime_name = \"runc\"\n\
             [{runtime}.containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n\
             [{runtime}.containerd.runtimes.runc.options]\nSystemdCgroup = false\n",
            sandbox = self.sandbox_image(),
            snapshotter = self.snapshotter(),
            no_labels = !self.cri_labels,
        )
    }
}

/// Writes `<dir>/<host>/hosts.toml` so that clients reach `host` at `url`, trusting `authority`.
pub fn write_hosts(dir: &Path, host: &str, url: &str, authority: Option<&Path>) -> Result<()> {
    let dir = dir.join(host);
    fs::create_dir_all(&dir)?;
    let ca = authority.map_or_else(String::new, |file| format!("ca = \"{}\"\n", file.display()));
    let capabilities = "capabilities = [\"pull\", \"resolve\", \"push\"]";
    fs::write(
        dir.join("hosts.toml"),
        format!("server = \"{url}\"\n{ca}[host.\"{url}\"]\n{capabilities}\n{ca}"),
    )?;
    Ok(())
}
