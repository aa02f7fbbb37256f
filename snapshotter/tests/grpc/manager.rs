//! What a service manager does for the daemon: keeps its socket, watches it, and takes capabilities away.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use layer_layout::overlay::{OPAQUE_VALUE, TRUSTED_OPAQUE};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::conformance::layer;
use crate::daemon::{Daemon, command};
use crate::mount::mounted;
use crate::remote::names;
use crate::repository::{Repository, pull, remotes, top};
use crate::tree::Op;

/// The test holds the socket, as a socket unit does, and passes it to each daemon as its file 3 (sd_listen_fds(3)).
#[tokio::test]
async fn a_socket_that_is_kept_turns_nobody_away() {
    let mut daemon = Daemon::plain().await;
    layer(&daemon, "base", "", &[]).await;
    daemon.stop(Signal::TERM);
    let socket = daemon.socket();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let start = || {
        let log = daemon.work("kept").join("log");
        let mut passing = std::process::Command::new("sh");
        let program = command(&[], daemon.config(), &log);
        passing.args([
            "-c",
            "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<&0 0</dev/null",
            "sh",
        ]);
        passing.arg(program.get_program()).args(program.get_args());
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        passing.stdin(OwnedFd::from(listener.try_clone().unwrap())).stderr(log).spawn().unwrap()
    };
    for signal in [Signal::TERM, Signal::KILL, Signal::TERM] {
        // Asked before there is a daemon.
        let early = Client::new(&socket);
        let asked = tokio::spawn(async move { early.stat("base").await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!asked.is_finished());
        let mut process = start();
        asked.await.unwrap().unwrap();
        kill_process(Pid::from_child(&process), signal).unwrap();
        process.wait().unwrap();
        assert!(socket.exists());
    }
}

#[tokio::test]
async fn the_watchdog_is_fed() {
    let mut daemon = Daemon::plain().await;
    daemon.stop(Signal::TERM);
    let path = daemon.work("notify").join("socket");
    let notified = UnixDatagram::bind(&path).unwrap();
    notified.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let log = daemon.work("notify").join("log");
    let started = Instant::now();
    let mut process = command(&[], daemon.config(), &log)
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .spawn()
        .unwrap();
    let mut fed = 0;
    while fed < 5 {
        let mut message = [0; 100];
        let length = notified.recv(&mut message).unwrap();
        fed += usize::from(&message[..length] == b"WATCHDOG=1\n");
    }
    assert!(started.elapsed() > Duration::from_millis(700), "{:?}", started.elapsed());
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    process.wait().unwrap();
}

/// Whether the daemon does everything that containers need, whoever their files belong to.
async fn does_its_work(daemon: &Daemon, name: &str) -> Result<(), String> {
    let client = &daemon.client;
    let text = |status: tonic::Status| status.to_string();
    let [lower, upper, container] =
        ["lower", "upper", "container"].map(|what| format!("{name} {what}"));
    layer(daemon, &lower, "", &[Op::File("low", "x", 0o644)]).await;
    let before = daemon.directories();
    client.prepare("p", &lower, &[]).await.map_err(text)?;
    let directory = daemon.new_directory(&before).join("fs");
    // As an image's layer can leave it.
    fs::create_dir(directory.join("locked")).unwrap();
    fs::write(directory.join("locked/file"), "x").unwrap();
    let locked = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(directory.join("locked"), locked).unwrap();
    for path in [directory.join("locked"), directory.clone()] {
        std::os::unix::fs::lchown(path, Some(7), Some(8)).unwrap();
    }
    xattr::set(&directory, TRUSTED_OPAQUE, OPAQUE_VALUE).unwrap();
    client.commit(&upper, "p", &[]).await.map_err(text)?;
    client.prepare(&container, &upper, &[]).await.map_err(text)?;
    let seen = names(daemon, &container).await;
    if seen != ["locked"] {
        return Err(format!("an opaque root shows {seen:?}"));
    }
    for key in [&container, &upper, &lower] {
        client.remove(key).await.map_err(text)?;
    }
    client.cleanup().await.map_err(text)?;
    match (daemon.directories().len(), daemon.trash()) {
        (0, 0) => Ok(()),
        left => Err(format!("directories and trash: {left:?}")),
    }
}

/// The capabilities in the unit are enough, and none is too much.
#[tokio::test]
async fn the_units_capabilities_are_those_that_are_needed() {
    let unit =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/systemd/cvmfs-snapshotter.service");
    let unit = fs::read_to_string(unit).unwrap();
    let bounds = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let bounds: Vec<_> = bounds.unwrap().split(' ').collect();
    let set = |without: Option<&str>| {
        let kept = bounds.iter().filter(|bound| Some(**bound) != without);
        let kept = kept.map(|bound| bound.strip_prefix("CAP_").unwrap().to_lowercase());
        format!("-all{}", kept.map(|bound| format!(",+{bound}")).collect::<String>())
    };
    let capabilities: Vec<_> =
        std::iter::once(None).chain(bounds.iter().map(|bound| Some(*bound))).collect();
    for without in capabilities {
        // A new one each time, because a daemon that lacks something leaves something.
        let mut daemon = Daemon::plain().await;
        let set = set(without);
        daemon.restart_with(&["setpriv", "--inh-caps=-all", "--bounding-set", &set]).await;
        let done = does_its_work(&daemon, "any").await;
        assert_eq!(done.is_ok(), without.is_none(), "without {without:?}: {done:?}");
        drop(mounted(&daemon.client.prepare("last", "", &[]).await.unwrap(), &daemon.work("m")));
    }
}

/// Repositories come, move and go without a restart, and a mistake changes nothing.
#[tokio::test]
async fn the_configuration_is_read_again() {
    let (one, two) = (Repository::new(), Repository::new());
    let (_, of_one) = one.image(&["a"]);
    let (_, of_two) = two.image(&["b", "c"]);
    let daemon = Daemon::with(&[("one.org", one.path())]).await;
    let client = &daemon.client;
    let reloaded = async |number: usize, message: &str| {
        daemon.reload();
        let started = Instant::now();
        while daemon.logged(&[message]) < number {
            assert!(started.elapsed() < Duration::from_secs(10), "{message}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    const AGAIN: &str = "the configuration was read again";
    let pulled = pull(client, "ns", &of_one).await;
    client.prepare("container", top(&pulled), &[]).await.unwrap();
    assert_eq!(remotes(&pull(client, "before", &of_two[..1]).await), [false]);
    client.remove(&format!("before/0/{}", of_two[0])).await.unwrap();
    daemon.configure(&[("one.org", one.path()), ("two.org", two.path())]);
    reloaded(1, AGAIN).await;
    assert_eq!(remotes(&pull(client, "after", &of_two).await), [true, true]);
    // A mistake.
    let text = fs::read_to_string(daemon.config()).unwrap();
    fs::write(daemon.config(), format!("{text}nonsense = 1\n")).unwrap();
    reloaded(1, "going on with the one before").await;
    client.mounts("container").await.unwrap();
    // One moves, the other goes; and less is logged.
    let elsewhere = one.path().with_extension("elsewhere");
    fs::rename(one.path(), &elsewhere).unwrap();
    daemon.configure(&[("one.org", &elsewhere)]);
    let text = fs::read_to_string(daemon.config()).unwrap();
    fs::write(daemon.config(), text.replace("\"debug\"", "\"info\"")).unwrap();
    reloaded(2, AGAIN).await;
    assert_eq!(names(&daemon, "container").await, ["a"]);
    assert_eq!(daemon.logged(&["WARN", "two.org", "not configured any more"]), 2);
    let lines = daemon.logged(&["DEBUG"]);
    client.prepare("quiet", "", &[]).await.unwrap();
    assert_eq!(daemon.logged(&["DEBUG"]), lines);
    // What needs a restart says so.
    daemon.configure_also("status-address = \"127.0.0.1:0\"");
    reloaded(1, "need a restart").await;
    fs::rename(&elsewhere, one.path()).unwrap();
}
