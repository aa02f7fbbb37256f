//! What is mounted for local snapshots, and for containers in user namespaces.

use std::fs;
use std::os::unix::fs::MetadataExt;

use layer_layout::label::{GID_MAPPING, TARGET, UID_MAPPING};
use layer_layout::overlay::{OPAQUE_VALUE, USER_OPAQUE};
use tonic::Code;

use crate::client::{Client, code};
use crate::conformance::layer;
use crate::daemon::Daemon;

/// The first mount as one text, with the daemon's root as `R`.
async fn shape(daemon: &Daemon, key: &str) -> String {
    let mounts = daemon.client.mounts(key).await.unwrap();
    assert_eq!(mounts.len(), 1);
    let root = daemon.root().join("snapshots").display().to_string();
    let mount = &mounts[0];
    assert_eq!(mount.target, "");
    format!("{} {} {}", mount.r#type, mount.source, mount.options.join(" ")).replace(&root, "R")
}

#[tokio::test]
async fn shapes_of_local_mounts() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    layer(&daemon, "one", "", &[]).await; // 1
    layer(&daemon, "two", "one", &[]).await; // 2
    layer(&daemon, "three", "two", &[]).await; // 3
    let index =
        if fs::exists("/sys/module/overlay/parameters/index").unwrap() { "index=off " } else { "" };
    for (number, kind, parent, expected) in [
        (4, "active", "", "bind R/4/fs rw rbind".to_owned()),
        (5, "view", "", "bind R/5/fs ro rbind".to_owned()),
        (6, "view", "one", "bind R/1/fs ro rbind".to_owned()),
        (7, "view", "two", format!("overlay overlay {index}lowerdir=R/2/fs:R/1/fs")),
        (
            8,
            "active",
            "one",
            format!("overlay overlay {index}workdir=R/8/work upperdir=R/8/fs lowerdir=R/1/fs"),
        ),
        (
            9,
            "active",
            "three",
            format!(
                "overlay overlay {index}workdir=R/9/work upperdir=R/9/fs \
                 lowerdir=R/3/fs:R/2/fs:R/1/fs"
            ),
        ),
    ] {
        let key = format!("key {number}");
        let given = match kind {
            "view" => client.view(&key, parent).await.unwrap(),
            _ => client.prepare(&key, parent, &[]).await.unwrap(),
        };
        assert_eq!(shape(&daemon, &key).await, expected);
        assert_eq!(client.mounts(&key).await.unwrap(), given);
        assert_eq!(client.mounts(&key).await.unwrap(), given);
    }
}

/// As in a rootless containerd, where `trusted.*` attributes cannot be written.
#[tokio::test]
async fn in_a_user_namespace_marks_are_user_attributes() {
    let mut daemon = Daemon::plain().await;
    layer(&daemon, "base", "", &[]).await;
    daemon.client.prepare("bare", "", &[]).await.unwrap();
    daemon.restart_with(&["unshare", "--user", "--map-root-user"]).await;
    daemon.client.prepare("over", "base", &[]).await.unwrap();
    let overlay = shape(&daemon, "over").await;
    assert!(overlay.contains(" userxattr "), "{overlay}");
    assert!(!shape(&daemon, "bare").await.contains("userxattr"));
    // The opaque mark that ends a chain is a `user.*` one, too.
    let upper = daemon.root().join("snapshots/3/fs");
    xattr::set(upper, USER_OPAQUE, OPAQUE_VALUE).unwrap();
    daemon.client.commit("opaque", "over", &[]).await.unwrap();
    daemon.client.prepare("top", "opaque", &[]).await.unwrap();
    assert!(shape(&daemon, "top").await.ends_with("lowerdir=R/3/fs"));
}

async fn mapped(client: &Client, key: &str, parent: &str, uids: &str, gids: &str) -> Code {
    code(client.prepare(key, parent, &[(UID_MAPPING, uids), (GID_MAPPING, gids)]).await)
}

#[tokio::test]
async fn id_mapping_of_local_layers() {
    let daemon = Daemon::plain().await;
    let client = &daemon.client;
    layer(&daemon, "one", "", &[]).await;
    for (key, parent) in [("bare", ""), ("over", "one")] {
        let before = daemon.directories();
        assert_eq!(mapped(client, key, parent, "0:1000:10", "0:2000:10,10:1:1").await, Code::Ok);
        let upper = fs::metadata(daemon.new_directory(&before).join("fs")).unwrap();
        assert_eq!((upper.uid(), upper.gid()), (1000, 2000));
        let options = client.mounts(key).await.unwrap().remove(0).options;
        assert_eq!(options[..2], ["uidmap=0:1000:10", "gidmap=0:2000:10,10:1:1"]);
    }
    let state = (client.list(&[]).await.unwrap(), daemon.directories());
    for (uids, gids) in [("0:1", "0:1:1"), ("0:1:1", "x"), ("1:1:1", "0:1:1"), ("0:1:1", "")] {
        assert_eq!(
            mapped(client, "x", "one", uids, gids).await,
            Code::InvalidArgument,
            "{uids} {gids}"
        );
    }
    client.cleanup().await.unwrap();
    assert_eq!((client.list(&[]).await.unwrap(), daemon.directories()), state);
    // An image's author can put any label on a layer that is being unpacked.
    let hostile = [(UID_MAPPING, "0:1000:10"), (GID_MAPPING, "nonsense"), (TARGET, "sha256:x")];
    let options = client.prepare("extract", "one", &hostile).await.unwrap().remove(0).options;
    assert!(!options.iter().any(|option| option.contains("map=")), "{options:?}");
}
