//! Runs the daemon: socket, readiness, shutdown.
//!
//! The daemon has no mounts, and no state outside its root directory, so it may end at any time without undoing
//! anything.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, setrlimit, umask};
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::directories::HANDOVER;
use crate::log::Level;
use crate::service::Handler;
use crate::snapshots::Snapshots;
use crate::status;

/// How long running calls may take after a signal. containerd repeats calls that were cut off.
const GRACE: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT. SIGHUP makes it read the configuration `file` again, of which `config` is the
/// content at the start.
///
/// # Errors
/// If the root directory or the socket cannot be used.
pub async fn run(file: &Path, config: &Config, log: &Level) -> Result<()> {
    raise_file_limit();
    // By default only root can use what is created; what containers see gets its mode explicitly.
    umask(Mode::from_raw_mode(0o077));
    let snapshots = Snapshots::open(config)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // After the root directory was locked, because a socket that exists is then that of a daemon that was killed.
    let (listener, is_kept) = match inherited()? {
        Some(listener) => (listener, true),
        None => (listen(&config.socket)?, false),
    };
    snapshots.start();
    if let Some(address) = config.status_address {
        tokio::spawn(status::serve(address, snapshots.clone()));
    }
    if let Some(interval) = sd_notify::watchdog_enabled() {
        tokio::spawn(keep_watchdog(snapshots.clone(), interval / 2));
    }
    let reloaded = snapshots.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = Server::builder()
        .add_service(Handler::service(snapshots))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
            // An error means that the sender is gone, which also ends the service.
            let _ = stopped.await;
        });
    let mut serving = tokio::spawn(serving);
    let socket = config.socket.display();
    info!(%socket, is_kept, root = %config.root.display(), "ready");
    notify(NotifyState::Ready);
    let name = loop {
        tokio::select! {
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
            _ = hangup.recv() => reload(file, config, &reloaded, log).await,
            ended = &mut serving => return ended?.context("the gRPC server ended"),
        }
    };
    info!(signal = name, "ending; snapshots and mounts stay as they are");
    notify(NotifyState::Stopping);
    // A client that finds no socket waits for one, but a client whose connection is refused gives up at once.
    if !is_kept && let Err(error) = fs::remove_file(&config.socket) {
        warn!(%error, "cannot remove the socket");
    }
    drop(stop);
    if tokio::time::timeout(GRACE, &mut serving).await.is_err() {
        info!("not waiting for the calls that still run");
    }
    Ok(())
}

/// Deep trees need many open directories. Nothing here uses select(2), so the highest limit does no harm.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot notify the service manager");
    }
}

/// Reads the configuration again, and uses the repositories and the log level in it. If it is wrong, everything stays
/// as it is: a mistake must not take a node's repositories away.
async fn reload(file: &Path, config: &Config, snapshots: &Snapshots, log: &Level) {
    let new = match Config::load(file) {
        Ok(new) => new,
        Err(error) => {
            error!(%error, "the configuration is wrong; going on with the one before");
            return;
        }
    };
    log.set(new.log_level);
    if let Err(error) = snapshots.reload(&new).await {
        error!(%error, "cannot look at the snapshots with the new configuration");
    }
    let repositories = new.repositories.len();
    info!(repositories, "the configuration was read again");
    let fixed = |config: &Config| {
        (config.root.clone(), config.socket.clone(), config.log_format, config.status_address)
    };
    if fixed(&new) != fixed(config) {
        warn!("root, socket, log-format and status-address need a restart");
    }
}

/// The socket that the service manager listens on, if it does (sd_listen_fds(3)). It keeps it while the daemon is away,
/// so that clients wait for the next one instead of being turned away.
fn inherited() -> Result<Option<UnixListener>> {
    let mut passed = listenfd::ListenFd::from_env();
    if passed.len() > 1 {
        bail!("the service manager has passed {} sockets: pass one", passed.len());
    }
    let listener = passed.take_unix_listener(0).context(
        "the service manager has passed something else than a listening unix socket: ListenStream= in \
         the socket unit has to be a path",
    )?;
    let Some(listener) = listener else { return Ok(None) };
    listener.set_nonblocking(true)?;
    Ok(Some(UnixListener::from_std(listener)?))
}

/// Tells the service manager now and then that calls are answered (sd_watchdog_enabled(3)), as long as that is so. It
/// says nothing of repositories: without one the daemon works, and a restart would not bring it back.
async fn keep_watchdog(snapshots: Snapshots, interval: Duration) {
    loop {
        match snapshots.answers().await {
            Ok(()) => notify(NotifyState::Watchdog),
            Err(error) => warn!(%error, "the records cannot be read"),
        }
        tokio::time::sleep(interval).await;
    }
}

/// Whether somebody listens on the socket, who does not stop soon.
fn is_served(socket: &Path) -> bool {
    let deadline = Instant::now() + HANDOVER;
    while UnixStream::connect(socket).is_ok() {
        if Instant::now() >= deadline {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Listens on a socket of mode 0600. The socket of a dead daemon is replaced; anything else in its place is an error.
fn listen(socket: &Path) -> Result<UnixListener> {
    if let Some(directory) = socket.parent() {
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at {}", socket.display()));
        }
        Ok(found) if !found.file_type().is_socket() => {
            bail!("{} is not a socket: remove it, or choose another path", socket.display());
        }
        Ok(_) if is_served(socket) => {
            bail!(
                "another process is serving {}: stop it, or choose another socket",
                socket.display()
            );
        }
        Ok(_) => {}
    }
    // Made under another name and moved into place, so that the socket never has another mode, and is never
    // missing for a client.
    let new = PathBuf::from(format!("{}~", socket.display()));
    let _ = fs::remove_file(&new);
    let before = umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(&new);
    umask(before);
    let listener = listener.with_context(|| format!("cannot listen on {}", new.display()))?;
    fs::rename(&new, socket).with_context(|| format!("cannot create {}", socket.display()))?;
    Ok(listener)
}
