//! Start, stop, crash, and the state afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;
use std::time::{Duration, Instant};

use layer_layout::label::TARGET;
use rustix::process::Signal;
use tonic::Code;

use crate::client::{Client, code};
use crate::conformance::layer;
use crate::daemon::{Daemon, command};
use crate::mount::mounted;
use crate::repository::{Repository, pull, top};
use crate::tree::Op;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cvmfs-snapshotter");

#[tokio::test]
async fn containers_outlive_the_daemon() {
    let repository = Repository::new();
    let (layers, chains) = repository.image(&["a", "b"]);
    let mut daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let pulled = pull(&daemon.client, "ns", &chains).await;
    let mounts = daemon.client.prepare("container", top(&pulled), &[]).await.unwrap();
    let running = mounted(&mounts, &daemon.work("running"));
    fs::write(running.join("written"), "before").unwrap();
    let before = daemon.client.list(&[]).await.unwrap();
    for signal in [Signal::TERM, Signal::INT, Signal::KILL] {
        let (status, elapsed) = daemon.stop(signal);
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
        assert_eq!(status.success(), signal != Signal::KILL);
        // After an orderly end there is no socket, so clients wait for it.
        assert_eq!(daemon.socket().exists(), signal == Signal::KILL);
        fs::write(running.join("written"), "without a daemon").unwrap();
        assert_eq!(fs::read_to_string(running.join("a")).unwrap(), "a");
        daemon.start().await;
        assert_eq!(daemon.client.list(&[]).await.unwrap(), before);
        assert_eq!(daemon.client.mounts("container").await.unwrap(), mounts);
        assert_eq!(fs::read_to_string(running.join("written")).unwrap(), "without a daemon");
    }
    // The same if a layer has vanished in the meantime: what is running goes on, other calls say what is missing.
    daemon.kill();
    let lost = repository.layerfs(&layers[0]);
    fs::rename(&lost, lost.with_extension("away")).unwrap();
    daemon.start().await;
    assert_eq!(code(daemon.client.mounts("container").await), Code::Unavailable);
    assert_eq!(fs::read_to_string(running.join("written")).unwrap(), "without a daemon");
    assert_eq!(daemon.client.list(&[]).await.unwrap(), before);
    drop(running);
    fs::rename(lost.with_extension("away"), &lost).unwrap();
    let again = mounted(&daemon.client.mounts("container").await.unwrap(), &daemon.work("again"));
    assert_eq!(fs::read_to_string(again.join("written")).unwrap(), "without a daemon");
}

#[tokio::test]
async fn one_daemon_for_one_root_and_one_socket() {
    let daemon = Daemon::plain().await;
    let refused = |text: String| {
        let config = daemon.work("other").join("config.toml");
        fs::write(&config, text).unwrap();
        let output = Command::new(PROGRAM).arg("--config").arg(&config).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let other = |name: &str| daemon.work("other").join(name);
    let (root, socket) = (daemon.root(), daemon.socket());
    let error = refused(format!("root = {root:?}\nsocket = {:?}", other("s")));
    assert!(error.contains("another cvmfs-snapshotter is using"), "{error}");
    let error = refused(format!("root = {:?}\nsocket = {socket:?}", other("root")));
    assert!(error.contains("another process is serving"), "{error}");
    fs::write(other("file"), "precious").unwrap();
    let error = refused(format!("root = {:?}\nsocket = {:?}", other("root"), other("file")));
    assert!(error.contains("is not a socket"), "{error}");
    assert_eq!(fs::read_to_string(other("file")).unwrap(), "precious");
    daemon.client.list(&[]).await.unwrap();
    // What it creates is accessible only to root.
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&socket), 0o600);
    for directory in [socket.parent().unwrap(), &root, &root.join("snapshots"), &root.join("trash")]
    {
        assert_eq!(mode(directory), 0o700, "{}", directory.display());
    }
    assert_eq!(mode(&root.join("metadata.db")), 0o600);
}

/// A reader process that a daemon was about to start when it was killed has the daemon's files for a moment.
#[tokio::test]
async fn what_a_killed_daemon_still_holds_is_waited_for() {
    let mut daemon = Daemon::plain().await;
    daemon.kill();
    let lock = fs::File::open(daemon.root().join("lock")).unwrap();
    lock.lock().unwrap();
    fs::remove_file(daemon.socket()).unwrap();
    let listener = UnixListener::bind(daemon.socket()).unwrap();
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        drop(lock);
        std::thread::sleep(Duration::from_millis(500));
        drop(listener);
    });
    let started = Instant::now();
    // The first call waits in the queue of the socket that nobody serves any more, and is repeated.
    daemon.start().await;
    release.join().unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    daemon.client.prepare("a", "", &[]).await.unwrap();
}

#[tokio::test]
async fn ready_means_that_the_socket_answers() {
    let mut daemon = Daemon::plain().await;
    daemon.stop(Signal::TERM);
    // The stale socket of a daemon that was killed.
    drop(UnixListener::bind(daemon.socket()).unwrap());
    let path = daemon.work("notify").join("socket");
    let notified = UnixDatagram::bind(&path).unwrap();
    notified.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let log = daemon.work("notify").join("log");
    let mut process =
        command(&[], daemon.config(), &log).env("NOTIFY_SOCKET", &path).spawn().unwrap();
    let mut message = [0; 100];
    let length = notified.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1\n");
    Client::new(&daemon.socket()).list(&[]).await.unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&process), Signal::TERM)
        .unwrap();
    let length = notified.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"STOPPING=1\n");
    assert!(process.wait().unwrap().success());
}

#[tokio::test]
async fn what_a_crash_leaves_is_removed_at_the_next_start() {
    let mut daemon = Daemon::plain().await;
    layer(&daemon, "base", "", &[Op::File("file", "x", 0o644)]).await;
    let known = daemon.directories();
    daemon.kill();
    fs::create_dir_all(daemon.root().join("snapshots/77/fs/dir")).unwrap();
    fs::create_dir_all(daemon.root().join("trash/5/fs/dir")).unwrap();
    daemon.start().await;
    assert_eq!(daemon.directories(), known);
    let started = Instant::now();
    while daemon.trash() > 0 {
        assert!(started.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The number is not used again.
    daemon.client.prepare("next", "base", &[]).await.unwrap();
    assert!(daemon.directories().contains(&"78".to_owned()), "{:?}", daemon.directories());
}

#[tokio::test]
async fn a_lost_directory_is_reported_and_the_rest_works() {
    let mut daemon = Daemon::plain().await;
    layer(&daemon, "base", "", &[]).await;
    let before = daemon.directories();
    daemon.client.prepare("lost one", "base", &[]).await.unwrap();
    let lost = daemon.new_directory(&before);
    daemon.client.prepare("good one", "base", &[]).await.unwrap();
    fs::remove_dir_all(lost).unwrap();
    daemon.restart().await;
    assert_eq!(daemon.logged(&["ERROR", "lost one", "missing or damaged"]), 1);
    assert_eq!(daemon.logged(&["ERROR", "good one"]), 0);
    daemon.client.stat("lost one").await.unwrap();
    let status = daemon.client.mounts("lost one").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("pull the image again"), "{status}");
    daemon.client.remove("lost one").await.unwrap();
    mounted(&daemon.client.mounts("good one").await.unwrap(), &daemon.work("m"));
}

#[tokio::test]
async fn a_lost_store_does_not_cost_the_files() {
    let mut daemon = Daemon::plain().await;
    layer(&daemon, "base", "", &[]).await;
    let mounts = daemon.client.prepare("container", "base", &[]).await.unwrap();
    let running = mounted(&mounts, &daemon.work("running"));
    fs::write(running.join("written"), "x").unwrap();
    let before = daemon.directories();
    daemon.kill();
    for file in ["metadata.db", "metadata.db-wal", "metadata.db-shm"] {
        fs::remove_file(daemon.root().join(file)).unwrap();
    }
    for _ in 0..2 {
        daemon.start().await;
        daemon.client.cleanup().await.unwrap();
        let now = daemon.directories();
        assert!(before.iter().all(|name| now.contains(name)), "{now:?}");
        daemon.client.prepare(&format!("new {}", now.len()), "", &[]).await.unwrap();
        daemon.kill();
    }
    assert_eq!(fs::read_to_string(running.join("written")).unwrap(), "x");
    assert_eq!(daemon.logged(&["ERROR", "the metadata store was lost"]), 1);
    daemon.start().await;
}

#[tokio::test]
async fn a_damaged_store_is_not_replaced() {
    let mut daemon = Daemon::plain().await;
    layer(&daemon, "base", "", &[]).await;
    daemon.stop(Signal::TERM);
    let file = daemon.root().join("metadata.db");
    // Opening and closing it moves what is in the write-ahead log into the file.
    let set_version = |version: i32| {
        let database = rusqlite::Connection::open(&file).unwrap();
        database.pragma_update(None, "user_version", version).unwrap();
    };
    set_version(1);
    let good = fs::read(&file).unwrap();
    set_version(99);
    let newer = fs::read(&file).unwrap();
    for (content, expected) in [
        (b"nonsense".repeat(1000), "stop containerd, move it away"),
        (newer, "use a newer release"),
    ] {
        fs::write(&file, &content).unwrap();
        let output = Command::new(PROGRAM).arg("--config").arg(daemon.config()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(error.contains(expected), "{error}");
        assert_eq!(fs::read(&file).unwrap(), content);
    }
    fs::write(&file, good).unwrap();
    daemon.start().await;
    daemon.client.stat("base").await.unwrap();
}

#[test]
fn the_command_line_helps() {
    let run = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let (status, text) = run(&["--help"]);
    assert_eq!(status, Some(0));
    for part in ["--config <FILE>", "/etc/cvmfs-snapshotter/config.toml", "proxy plugin"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("repository-reader"), "{text}");
    let (status, text) = run(&["--version"]);
    assert_eq!(
        (status, text.trim()),
        (Some(0), concat!("cvmfs-snapshotter ", env!("CARGO_PKG_VERSION")))
    );
    let (status, text) = run(&["--config", "/nonexistent/config.toml"]);
    assert_eq!(status, Some(2));
    assert!(text.contains("/nonexistent/config.toml") && text.contains("[[repository]]"), "{text}");
}

/// What a client in the test below knows for certain.
#[derive(Default)]
struct Known {
    there: BTreeSet<String>,
    gone: BTreeSet<String>,
}

/// Prepares, commits and removes until told to stop. A call that was cut off is repeated, as a client would do; the
/// response may then be that it has already been carried out.
async fn work(
    client: Client,
    number: usize,
    target: String,
    stop: tokio::sync::watch::Receiver<bool>,
) -> Known {
    let mut known = Known::default();
    for round in 0.. {
        if *stop.borrow() {
            break;
        }
        let (key, name) = (format!("{number}/{round} active"), format!("{number}/{round}"));
        let labels = [(TARGET, target.as_str())];
        let remote = round % 3 == 0;
        loop {
            let answer = client.prepare(&key, "", if remote { &labels } else { &[] }).await;
            match code(answer) {
                Code::Ok | Code::AlreadyExists => break,
                Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => panic!("prepare: {other}"),
            }
        }
        if remote {
            continue;
        }
        loop {
            match code(client.commit(&name, &key, &[]).await) {
                Code::Ok | Code::AlreadyExists | Code::NotFound => break,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        if round % 2 == 0 {
            known.there.insert(name);
            continue;
        }
        loop {
            match code(client.remove(&name).await) {
                Code::Ok | Code::NotFound => break,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        known.gone.insert(name);
    }
    known
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_under_load() {
    let repository = Repository::new();
    let (_, chains) = repository.image(&["a"]);
    let mut daemon = Daemon::with(&[("r.org", repository.path())]).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let target = chains[0].to_string();
    let workers: Vec<_> = (0..3)
        .map(|n| {
            tokio::spawn(work(Client::new(&daemon.socket()), n, target.clone(), stopped.clone()))
        })
        .collect();
    for round in 0..15_u64 {
        tokio::time::sleep(Duration::from_millis(20 + round * 7)).await;
        daemon.restart().await;
    }
    stop.send(true).unwrap();
    let (mut there, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for worker in workers {
        let known = worker.await.unwrap();
        there.extend(known.there);
        gone.extend(known.gone);
    }
    daemon.restart().await;
    let names: BTreeSet<_> = daemon.client.names(&[]).await.unwrap().into_iter().collect();
    assert!(there.len() > 5, "too little happened: {}", there.len());
    assert_eq!(
        there.difference(&names).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "lost after OK"
    );
    assert_eq!(gone.intersection(&names).collect::<Vec<_>>(), Vec::<&String>::new(), "came back");
    daemon.client.cleanup().await.unwrap();
    assert_eq!((daemon.directories().len(), daemon.trash()), (names.len(), 0));
    assert_eq!(daemon.logged(&["ERROR"]), 0);
}
