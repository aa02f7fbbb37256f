//! A kubelet in miniature: drives containerd through the Kubernetes Container Runtime Interface (`runtime/v1`).

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    AuthConfig, ContainerConfig, ContainerMetadata, ContainerState, ContainerStatusRequest,
    CreateContainerRequest, ExecSyncRequest, ImageSpec, KeyValue, LinuxContainerConfig,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, ListPodSandboxRequest, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PullImageRequest,
    RemoveContainerRequest, RemoveImageRequest, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, StopContainerRequest, StopPodSandboxRequest,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::containerd::{Containerd, Settings};
use crate::node::Node;

/// How long a single call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a container may run in [`Cri::run`].
const RUN_TIMEOUT: Duration = Duration::from_secs(120);

/// A client; its calls block.
#[derive(Debug)]
pub struct Cri {
    runtime: tokio::runtime::Runtime,
    images: ImageServiceClient<Channel>,
    pods: RuntimeServiceClient<Channel>,
    cgroup_parent: String,
    logs: PathBuf,
    /// How often a failed call is repeated, as kubelet does.
    retries: u32,
}

/// A running sandbox.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its id.
    pub id: String,
    config: PodSandboxConfig,
}

/// How a container starts.
#[derive(Debug, Clone, Default)]
pub struct Start<'a> {
    /// Name within the pod and of the log.
    pub name: &'a str,
    /// Reference or id of a pulled image.
    pub image: &'a str,
    /// Replaces the image's entry point, unless empty.
    pub command: &'a [&'a str],
    /// Replaces the image's command, unless empty.
    pub args: &'a [&'a str],
    /// Additional environment variables.
    pub env: &'a [(&'a str, &'a str)],
}

/// The result of a container or of a command in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Exit status.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Starts a containerd and pulls the sandbox image that `settings` name, if any.
pub fn start(node: &Rc<Node>, settings: Settings) -> Result<Containerd> {
    let sandbox = settings.sandbox.clone();
    let containerd = Containerd::start(node, settings)?;
    if let Some(sandbox) = sandbox {
        Cri::of(&containerd)?.pull(&sandbox, None).context("pulling the sandbox image")?;
    }
    Ok(containerd)
}

impl Cri {
    /// A new client of `containerd`.
    pub fn of(containerd: &Containerd) -> Result<Self> {
        let node = containerd.node();
        Self::connect(&containerd.socket(), node.name(), &node.make_dir("pods")?)
    }

    /// Connects to containerd's `socket`. Containers get the control group `/<cgroup>/…`, logs go below `logs`.
    pub fn connect(socket: &Path, cgroup: &str, logs: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint =
            Endpoint::from_shared(format!("unix://{}", socket.display()))?.timeout(CALL_TIMEOUT);
        let channel = runtime
            .block_on(endpoint.connect())
            .with_context(|| format!("connecting to {}", socket.display()))?;
        Ok(Self {
            runtime,
            images: ImageServiceClient::new(channel.clone()),
            pods: RuntimeServiceClient::new(channel),
            cgroup_parent: format!("/{cgroup}"),
            logs: logs.to_path_buf(),
            retries: 0,
        })
    }

    /// Repeats failed calls up to `retries` times, with growing pauses, as kubelet would.
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    fn call<T, F>(&self, what: &str, mut make: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let mut attempt = 0;
        loop {
            match self.runtime.block_on(make()) {
                Ok(response) => return Ok(response.into_inner()),
                Err(_) if attempt < self.retries => {
                    attempt += 1;
                    thread::sleep(Duration::from_millis(200) * attempt);
                }
                Err(status) => bail!("{what}: {:?}: {}", status.code(), status.message()),
            }
        }
    }

    /// Pulls an image, with user name and password if given; returns its id.
    pub fn pull(&self, reference: &str, user: Option<(&str, &str)>) -> Result<String> {
        let auth = user.map(|(name, password)| AuthConfig {
            username: name.to_owned(),
            password: password.to_owned(),
            ..AuthConfig::default()
        });
        let request = PullImageRequest { image: Some(spec(reference)), auth, sandbox_config: None };
        let what = format!("pulling {reference}");
        let answer = self.call(&what, || {
            let mut images = self.images.clone();
            let request = request.clone();
            async move { images.pull_image(request).await }
        })?;
        Ok(answer.image_ref)
    }

    /// Removes an image.
    pub fn remove_image(&self, reference: &str) -> Result<()> {
        self.call(&format!("removing {reference}"), || {
            let mut images = self.images.clone();
            let request = RemoveImageRequest { image: Some(spec(reference)) };
            async move { images.remove_image(request).await }
        })?;
        Ok(())
    }

    /// Starts a sandbox on the host's network.
    pub fn run_pod(&self, name: &str) -> Result<Pod> {
        let logs = self.logs.join(name);
        fs::create_dir_all(&logs)?;
        let network =
            NamespaceOption { network: NamespaceMode::Node.into(), ..NamespaceOption::default() };
        let mut config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: name.to_owned(),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            log_directory: logs.to_string_lossy().into_owned(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup_parent.clone(),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(network),
                    ..LinuxSandboxSecurityContext::default()
                }),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        };
        let mut attempt = 0;
        let answer = self.call(&format!("starting pod {name}"), || {
            // A failed sandbox keeps its name, so kubelet counts the attempts.
            if let Some(metadata) = &mut config.metadata {
                metadata.attempt = attempt;
            }
            attempt += 1;
            let mut pods = self.pods.clone();
            let request = RunPodSandboxRequest {
                config: Some(config.clone()),
                runtime_handler: String::new(),
            };
            async move { pods.run_pod_sandbox(request).await }
        })?;
        Ok(Pod { id: answer.pod_sandbox_id, config })
    }

    /// Creates a container; returns its id.
    pub fn create(&self, pod: &Pod, start: &Start<'_>) -> Result<String> {
        let strings =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let env = start
            .env
            .iter()
            .map(|(key, value)| KeyValue { key: (*key).to_owned(), value: (*value).to_owned() });
        let mut config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: start.name.to_owned(), attempt: 0 }),
            image: Some(spec(start.image)),
            command: strings(start.command),
            args: strings(start.args),
            envs: env.collect(),
            log_path: format!("{}.log", start.name),
            linux: Some(LinuxContainerConfig::default()),
            ..ContainerConfig::default()
        };
        let mut attempt = 0;
        let answer = self.call(&format!("creating container {}", start.name), || {
            if let Some(metadata) = &mut config.metadata {
                metadata.attempt = attempt;
            }
            attempt += 1;
            let mut pods = self.pods.clone();
            let request = CreateContainerRequest {
                pod_sandbox_id: pod.id.clone(),
                config: Some(config.clone()),
                sandbox_config: Some(pod.config.clone()),
            };
            async move { pods.create_container(request).await }
        })?;
        Ok(answer.container_id)
    }

    fn start_once(&self, container: &str) -> Result<()> {
        let mut pods = self.pods.clone();
        let request = StartContainerRequest { container_id: container.to_owned() };
        let answer = self.runtime.block_on(pods.start_container(request));
        answer.map(|_| ()).map_err(|status| {
            anyhow!("starting container {container}: {:?}: {}", status.code(), status.message())
        })
    }

    /// The exit status if the container has ended.
    pub fn exit_code(&self, container: &str) -> Result<Option<i32>> {
        let answer = self.call(&format!("asking for container {container}"), || {
            let mut pods = self.pods.clone();
            let request =
                ContainerStatusRequest { container_id: container.to_owned(), verbose: false };
            async move { pods.container_status(request).await }
        })?;
        let status = answer.status.context("a container without status")?;
        Ok((status.state() == ContainerState::ContainerExited).then_some(status.exit_code))
    }

    /// Runs a command in a running container.
    pub fn exec(&self, container: &str, command: &[&str]) -> Result<Ended> {
        let words: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let answer = self.call(&format!("{command:?} in container {container}"), || {
            let mut pods = self.pods.clone();
            let request = ExecSyncRequest {
                container_id: container.to_owned(),
                cmd: words.clone(),
                timeout: 60,
            };
            async move { pods.exec_sync(Request::new(request)).await }
        })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ended {
            code: answer.exit_code,
            stdout: text(&answer.stdout),
            stderr: text(&answer.stderr),
        })
    }

    /// What the container `name` of `pod` has printed so far; its exit status is given as 0.
    pub fn logs(&self, pod: &Pod, name: &str) -> Result<Ended> {
        let file = Path::new(&pod.config.log_directory).join(format!("{name}.log"));
        let log =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let mut ended = Ended { code: 0, stdout: String::new(), stderr: String::new() };
        for line in log.lines() {
            // `TIME stdout|stderr F|P text`, where P is a part of a line.
            let mut fields = line.splitn(4, ' ').skip(1);
            let (stream, tag, text) =
                (fields.next(), fields.next(), fields.next().unwrap_or_default());
            let out = if stream == Some("stderr") { &mut ended.stderr } else { &mut ended.stdout };
            out.push_str(text);
            if tag == Some("F") {
                out.push('\n');
            }
        }
        Ok(ended)
    }

    /// Stops a container at once.
    pub fn stop(&self, container: &str) -> Result<()> {
        self.call(&format!("stopping container {container}"), || {
            let mut pods = self.pods.clone();
            let request = StopContainerRequest { container_id: container.to_owned(), timeout: 0 };
            async move { pods.stop_container(request).await }
        })?;
        Ok(())
    }

    /// Removes a container.
    pub fn remove(&self, container: &str) -> Result<()> {
        self.call(&format!("removing container {container}"), || {
            let mut pods = self.pods.clone();
            let request = RemoveContainerRequest { container_id: container.to_owned() };
            async move { pods.remove_container(request).await }
        })?;
        Ok(())
    }

    /// Stops and removes a pod with its containers.
    pub fn remove_pod(&self, pod: &Pod) -> Result<()> {
        self.call(&format!("stopping pod {}", pod.id), || {
            let mut pods = self.pods.clone();
            let request = StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() };
            async move { pods.stop_pod_sandbox(request).await }
        })?;
        self.call(&format!("removing pod {}", pod.id), || {
            let mut pods = self.pods.clone();
            let request = RemovePodSandboxRequest { pod_sandbox_id: pod.id.clone() };
            async move { pods.remove_pod_sandbox(request).await }
        })?;
        Ok(())
    }

    /// Creates and starts a container of `pod` under the name `<name>-<attempt>`. If it does not start, another one is
    /// created, as often as calls are repeated, as kubelet does. Returns id and name.
    pub fn launch(&self, pod: &Pod, start: &Start<'_>) -> Result<(String, String)> {
        let mut attempt = 0;
        loop {
            let name = format!("{}-{attempt}", start.name);
            let started =
                self.create(pod, &Start { name: &name, ..start.clone() }).and_then(|container| {
                    // A container that failed to start stays failed.
                    self.start_once(&container)?;
                    Ok(container)
                });
            match started {
                Ok(container) => return Ok((container, name)),
                Err(_) if attempt < self.retries => attempt += 1,
                Err(error) => return Err(error),
            }
            thread::sleep(Duration::from_millis(200) * attempt);
        }
    }

    /// Runs a pod with one container of a pulled image to its end, removes both, and returns what it printed.
    pub fn run(&self, name: &str, image: &str, command: &[&str]) -> Result<Ended> {
        let pod = self.run_pod(name)?;
        let start = Start { name: "main", image, command, ..Start::default() };
        let (container, log) = match self.launch(&pod, &start) {
            Ok(launched) => launched,
            Err(error) => {
                self.remove_pod(&pod)?;
                return Err(error);
            }
        };
        let deadline = Instant::now() + RUN_TIMEOUT;
        let code = loop {
            if let Some(code) = self.exit_code(&container)? {
                break code;
            }
            if Instant::now() > deadline {
                bail!("container {name} is still running after {RUN_TIMEOUT:?}");
            }
            thread::sleep(Duration::from_millis(20));
        };
        let printed = self.logs(&pod, &log)?;
        self.remove_pod(&pod)?;
        Ok(Ended { code, ..printed })
    }

    /// Stops and removes every pod, including those that failed to start.
    pub fn remove_all_pods(&self) -> Result<()> {
        let pods = self.call("listing pods", || {
            let mut pods = self.pods.clone();
            async move { pods.list_pod_sandbox(ListPodSandboxRequest { filter: None }).await }
        })?;
        for pod in pods.items {
            self.remove_pod(&Pod { id: pod.id, config: PodSandboxConfig::default() })?;
        }
        Ok(())
    }
}

fn spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.to_owned(), ..ImageSpec::default() }
}
