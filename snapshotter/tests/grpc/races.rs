//! Many clients that prepare, commit and remove the same few snapshots at the same time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cvmfs_snapshotter::proto::types::Mount;
use layer_layout::label::TARGET;
use tonic::{Code, Status};

use crate::client::{Client, labels};
use crate::conformance::layer;
use crate::daemon::Daemon;
use crate::repository::Repository;

const CLIENTS: u64 = 16;
const CALLS: usize = 250;
/// Few, so that calls meet.
const NAMES: u64 = 3;

/// What one call may be answered besides OK.
type Codes = &'static [Code];

/// The choices of one client, the same in every run (xorshift).
struct Choices(u64);

impl Choices {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Makes some files in the upper directory, for as long as it is there.
fn fill(mounts: &[Mount]) {
    let options = mounts.iter().flat_map(|mount| &mount.options);
    let upper = options.filter_map(|option| option.strip_prefix("upperdir=")).next();
    let bound = || mounts.first().filter(|mount| mount.r#type == "bind").map(|m| m.source.as_str());
    let Some(upper) = upper.or_else(bound).map(Path::new) else { return };
    for number in 0..20 {
        let directory = upper.join(format!("d{number}"));
        if fs::create_dir(&directory).and_then(|()| fs::write(directory.join("f"), "x")).is_err() {
            return;
        }
    }
}

/// Makes one call. Keys, layers and the remote layer's target have names of their own, as with containerd.
async fn call(
    client: &Client,
    choices: &mut Choices,
    target: &str,
) -> (String, Codes, Result<(), Status>) {
    const FREE: Codes = &[Code::NotFound, Code::AlreadyExists];
    const THERE: Codes = &[Code::NotFound];
    let key = format!("key {}", choices.below(NAMES));
    let view = format!("view {}", choices.below(NAMES));
    let name = format!("layer {}", choices.below(NAMES));
    let parent = match choices.below(4) {
        0 => String::new(),
        1 => "base".to_owned(),
        _ => format!("layer {}", choices.below(NAMES)),
    };
    let (what, codes, answer) = match choices.below(13) {
        0..=2 => {
            let answer = client.prepare(&key, &parent, &[]).await;
            let answer = answer.map(|mounts| fill(&mounts));
            (format!("prepare {key} on {parent:?}"), FREE, answer)
        }
        3 => {
            let labels = [(TARGET, target)];
            let answer = client.prepare(&key, &parent, &labels).await.map(|_| ());
            (format!("prepare {key} on {parent:?} for the target"), FREE, answer)
        }
        4 => (format!("view {parent:?}"), FREE, client.view(&view, &parent).await.map(|_| ())),
        5 | 6 => (format!("commit {key}"), FREE, client.commit(&name, &key, &[]).await),
        7 => {
            let which = if choices.below(2) == 0 { key } else { view };
            (format!("mounts of {which}"), THERE, client.mounts(&which).await.map(|_| ()))
        }
        8 => {
            let which = [key, view, name].into_iter().nth(choices.below(3) as usize).unwrap();
            (format!("usage of {which}"), THERE, client.usage(&which).await.map(|_| ()))
        }
        9 => {
            let info = cvmfs_snapshotter::proto::snapshots::Info {
                name,
                labels: labels(&[("k", "v")]),
                ..Default::default()
            };
            ("update".to_owned(), THERE, client.update(info, &[]).await.map(|_| ()))
        }
        10 if choices.below(4) == 0 => ("cleanup".to_owned(), &[][..], client.cleanup().await),
        10 => ("list".to_owned(), &[][..], client.list(&[]).await.map(|_| ())),
        _ => {
            let mut names = vec![key, view, name];
            names.extend(client.names(&[&format!("labels.{TARGET:?}=={target}")]).await.unwrap());
            let which = names.swap_remove(choices.below(names.len() as u64) as usize);
            let codes = &[Code::NotFound, Code::FailedPrecondition];
            (format!("remove {which}"), &codes[..], client.remove(&which).await)
        }
    };
    (what, codes, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_clients_get_only_the_contracts_codes() {
    let repository = Repository::new();
    let (_, chains) = repository.image(&["a"]);
    let daemon = Daemon::with(&[("r.org", repository.path())]).await;
    layer(&daemon, "base", "", &[]).await;
    let target = chains[0].to_string();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            // A connection for each.
            let (client, target) = (Client::new(&daemon.socket()), target.clone());
            tokio::spawn(async move {
                let mut choices = Choices(0x9e37_79b9_7f4a_7c15 ^ (number << 17));
                let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
                for _ in 0..CALLS {
                    let (what, codes, answer) = call(&client, &mut choices, &target).await;
                    let code = answer.as_ref().map_or_else(Status::code, |()| Code::Ok);
                    assert!(code == Code::Ok || codes.contains(&code), "{what}: {answer:?}");
                    let word = what.split(' ').next().unwrap();
                    let word = ["prepare", "view", "commit", "mounts", "usage", "remove"]
                        .into_iter()
                        .find(|known| *known == word && code == Code::Ok);
                    *answers.entry(word.unwrap_or("other")).or_default() += 1;
                }
                answers
            })
        })
        .collect();
    let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
    for client in clients {
        for (word, count) in client.await.unwrap() {
            *answers.entry(word).or_default() += count;
        }
    }
    for word in ["prepare", "view", "commit", "mounts", "usage", "remove"] {
        assert!(answers.get(word).is_some_and(|count| *count > 10), "{word} in {answers:?}");
    }
    // Records and directories agree, and every container could start.
    let infos = daemon.client.list(&[]).await.unwrap();
    for info in &infos {
        if info.kind() != cvmfs_snapshotter::proto::snapshots::Kind::Committed {
            daemon.client.mounts(&info.name).await.unwrap();
        }
        assert!(info.parent.is_empty() || infos.iter().any(|other| other.name == info.parent));
    }
    daemon.client.cleanup().await.unwrap();
    assert_eq!((daemon.directories().len(), daemon.trash()), (infos.len(), 0));
    assert_eq!(daemon.logged(&["ERROR"]), 0);
}
