//! Metrics and health over HTTP.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::daemon::Daemon;
use crate::faulty::{Fault, Faulty};
use crate::repository::{Repository, chains, layer, pull, top};

/// An address that nobody uses at the moment.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The status and the body of a page.
fn page(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_moves_with_every_repository_that_goes() {
    let (repository, outer) = (Repository::new(), Repository::new());
    let (_, published) = repository.image(&["a", "b"]);
    let fuse = Faulty::mount(repository.path(), outer.path());
    let mut daemon = Daemon::with(&[("r.org", outer.path())]).await;
    let address = free();
    daemon.configure_also(&format!("status-address = {address:?}"));
    daemon.restart().await;
    let client = &daemon.client;
    let pulled = pull(client, "ns", &published).await;
    client.prepare("container", top(&pulled), &[]).await.unwrap();
    client.stat("nosuch").await.unwrap_err();
    let has = |line: &str| page(&address, "/metrics").1.lines().any(|found| found == line);
    for line in [
        "cvmfs_snapshotter_layers_total{outcome=\"hit\",repository=\"r.org\"} 2",
        "cvmfs_snapshotter_repository_usable{repository=\"r.org\"} 1",
        "cvmfs_snapshotter_repository_unusable_seconds{repository=\"r.org\"} 0",
        "cvmfs_snapshotter_snapshots{kind=\"committed\",content=\"repository\"} 2",
        "cvmfs_snapshotter_snapshots{kind=\"active\",content=\"local\"} 1",
        "cvmfs_snapshotter_calls_total{call=\"Prepare\",code=\"ALREADY_EXISTS\"} 2",
        "cvmfs_snapshotter_calls_total{call=\"Stat\",code=\"NOT_FOUND\"} 1",
        "cvmfs_snapshotter_call_seconds_count{call=\"Prepare\"} 3",
    ] {
        assert!(has(line), "{line} in {}", page(&address, "/metrics").1);
    }
    for (number, (fault, word)) in
        [(Fault::Fails("", Errno::IO), "failing"), (Fault::Hangs(""), "silent")]
            .into_iter()
            .enumerate()
    {
        fuse.set(fault);
        pull(client, &number.to_string(), &chains(&[layer(word)])).await;
        assert!(has("cvmfs_snapshotter_repository_usable{repository=\"r.org\"} 0"), "{word}");
        // The daemon is well, and says what is not.
        for path in ["/healthz", "/readyz"] {
            let (status, body) = page(&address, path);
            assert_eq!(status, 200);
            let line = format!("ok\nrepository r.org {word} for ");
            assert!(body.starts_with(&line), "{word}: {body}");
        }
        fuse.heal();
        let started = Instant::now();
        // Without a pull: the daemon looks by itself.
        while !has("cvmfs_snapshotter_repository_usable{repository=\"r.org\"} 1") {
            assert!(started.elapsed() < Duration::from_secs(20), "{word}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(has("cvmfs_snapshotter_layers_total{outcome=\"unavailable\",repository=\"\"} 2"));
    assert_eq!(page(&address, "/readyz"), (200, "ok\nrepository r.org usable\n".to_owned()));
    assert_eq!(page(&address, "/").0, 404);
}

/// Containers start, whoever has the port.
#[tokio::test]
async fn a_port_that_is_taken_stops_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut daemon = Daemon::plain().await;
    let address = taken.local_addr().unwrap();
    daemon.configure_also(&format!("status-address = \"{address}\""));
    daemon.restart().await;
    daemon.client.prepare("container", "", &[]).await.unwrap();
    assert_eq!(daemon.logged(&["ERROR", &address.to_string(), "status-address"]), 1);
}
