//! Everything that a mounted repository can do to its clients, and what is promised then: a pull becomes a download
//! within the time-out, a container that cannot start says why, whatever needs no repository goes on, and when the
//! repository is back, that is noticed without a restart.

use std::fs;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tonic::Code;

use crate::daemon::Daemon;
use crate::faulty::{Fault, Faulty};
use crate::repository::{Repository, layer, pull, remotes, top};

/// The time-out of the daemon is a second, for the pull and for the look at what is below.
const PROMPT: Duration = Duration::from_secs(4);

/// How long a repository that is back may go unnoticed: silences of one and two seconds, and a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

enum Trouble {
    Fault(Fault),
    Crash,
    Unmounted,
    /// The layer has been collected; it is not the repository that is in trouble.
    Collected,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_repository_does() {
    let outer = Repository::new();
    let mount_point = outer.path().join("mounted");
    fs::create_dir(&mount_point).unwrap();
    let image = |repository: &Repository, name: &str| {
        let names = [format!("{name} 1"), format!("{name} 2")];
        repository.image(&[&names[0], &names[1]])
    };
    let repository = Repository::new();
    let (layers, chains) = image(&repository, "old");
    let mut mounted = Some(Faulty::mount(repository.path(), &mount_point));
    let daemon = Daemon::with(&[("r.org", &mount_point)]).await;
    let client = &daemon.client;
    let pulled = pull(client, "ns", &chains).await;
    assert_eq!(remotes(&pulled), [true, true]);
    client.prepare("container", top(&pulled), &[]).await.unwrap();
    let at = mount_point.display().to_string();
    let unseen: Vec<_> = crate::repository::chains(&[layer("unseen")]);

    for (number, (name, trouble, parts)) in [
        ("hangs", Trouble::Fault(Fault::Hangs("")), &["answer", "cvmfs_config probe"][..]),
        ("hangs below", Trouble::Fault(Fault::Hangs(".layers")), &["answer"]),
        ("hangs in chains", Trouble::Fault(Fault::Hangs(".chains")), &[]),
        ("failing", Trouble::Fault(Fault::Fails("", Errno::IO)), &["Input/output error", "probe"]),
        (
            "failing below",
            Trouble::Fault(Fault::Fails(".layers", Errno::IO)),
            &["Input/output error"],
        ),
        ("denied", Trouble::Fault(Fault::Fails("", Errno::ACCESS)), &["Permission denied"]),
        ("stale", Trouble::Fault(Fault::Fails("", Errno::STALE)), &["Stale"]),
        ("crashed", Trouble::Crash, &["endpoint is not connected", "cvmfs_config probe"]),
        ("not mounted", Trouble::Unmounted, &["mounted", "cvmfs_config probe"]),
        ("collected", Trouble::Collected, &["remove the image and pull it again"]),
    ]
    .into_iter()
    .enumerate()
    {
        let fuse = mounted.as_mut().unwrap();
        let (lost, away) = (repository.layerfs(&layers[1]), repository.path().join("away"));
        match trouble {
            Trouble::Fault(fault) => fuse.set(fault),
            Trouble::Crash => fuse.crash(),
            Trouble::Unmounted => fuse.unmount(),
            Trouble::Collected => fs::rename(&lost, &away).unwrap(),
        }
        // A pull is a download.
        let namespace = format!("pull {number}");
        let started = Instant::now();
        assert_eq!(remotes(&pull(client, &namespace, &unseen).await), [false], "{name}");
        assert!(started.elapsed() < PROMPT, "{name}: {:?}", started.elapsed());
        client.remove(&format!("{namespace}/0/{}", unseen[0])).await.unwrap();
        // A container that cannot work is told why; the repository and the remedy are named.
        let started = Instant::now();
        if parts.is_empty() {
            // What it needs is not affected, but the repository may be left alone at the moment.
            if let Err(status) = client.mounts("container").await {
                assert_eq!(status.code(), Code::Unavailable, "{name}: {status}");
            }
        } else {
            for status in [
                client.mounts("container").await.unwrap_err(),
                client.prepare("another", top(&pulled), &[]).await.unwrap_err(),
            ] {
                assert_eq!(status.code(), Code::Unavailable, "{name}: {status}");
                for part in parts.iter().chain(&["r.org", at.as_str()]) {
                    assert!(status.message().contains(part), "{name}: {part} in {status}");
                }
            }
        }
        assert!(started.elapsed() < PROMPT, "{name}: {:?}", started.elapsed());
        // What needs no repository does not wait.
        let started = Instant::now();
        client.prepare("local", "", &[]).await.unwrap();
        client.mounts("local").await.unwrap();
        client.usage("local").await.unwrap();
        client.stat("container").await.unwrap();
        client.usage(top(&pulled)).await.unwrap();
        client.remove("local").await.unwrap();
        client.cleanup().await.unwrap();
        client.list(&[]).await.unwrap();
        assert!(started.elapsed() < PROMPT, "{name}: {:?}", started.elapsed());
        // And it comes back.
        match trouble {
            Trouble::Fault(_) => fuse.heal(),
            Trouble::Crash | Trouble::Unmounted => {
                mounted.take();
                mounted = Some(Faulty::mount(repository.path(), &mount_point));
            }
            Trouble::Collected => fs::rename(&away, &lost).unwrap(),
        }
        let started = Instant::now();
        while let Err(status) = client.mounts("container").await {
            assert!(started.elapsed() < PATIENCE, "{name}: {status}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (_, new) = image(&repository, name);
        let pulled = pull(client, "ns", &new).await;
        assert_eq!(remotes(&pulled), [true, true], "{name}");
    }
    assert_eq!(daemon.logged(&["ERROR"]), 0);
    drop(mounted);
}
