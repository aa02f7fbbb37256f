//! Eight publishers of one repository in a bucket, as fast as each can: with turns, and without.

use std::time::{Duration, Instant};

use cvmfs_repository::hash::Algorithm;
use cvmfs_repository::keys::Keys;
use cvmfs_repository::objects::{Objects, Settings};
use cvmfs_repository::publication::Edits;
use cvmfs_repository::storage::{Credentials, S3Url, Storage, StorageUrl};
use cvmfs_repository::{Creation, Repository, Turn};
use faulty_s3::{ACCESS_KEY, Fault, FaultyS3, SECRET_KEY};
use http::Method;

use super::{Site, path};

const PUBLISHERS: usize = 8;
const REVISIONS: usize = 2;
/// How long each request takes.
const LATENCY: Duration = Duration::from_millis(5);

/// Publishes from all of them at a time, and returns how many attempts that took, for how many revisions.
fn publish(in_turns: bool) -> (usize, usize) {
    let server = FaultyS3::start().unwrap();
    let StorageUrl::S3(url) = server.url("repo", "").parse().unwrap() else { panic!("no S3") };
    let credentials =
        Credentials { access_key: ACCESS_KEY.to_owned(), secret_key: SECRET_KEY.to_owned() };
    let url = StorageUrl::S3(Box::new(S3Url { credentials: Some(credentials), ..*url }));
    let storage = Storage::open(&url).unwrap();
    let fqrn: cvmfs_repository::fqrn::Fqrn = "test.example.org".parse().unwrap();
    let settings = Settings { algorithm: Algorithm::Sha1, ..Settings::default() };
    let objects = Objects::new(storage.clone(), settings, None);
    let keys = Keys::generate(&fqrn).unwrap();
    let creation = Creation::default();
    let repository = Repository::create(storage.clone(), fqrn, keys, &objects, &creation).unwrap();
    let dir = tempfile::TempDir::new().unwrap();
    let keys = dir.path().to_owned();
    let site = Site { _dir: dir, keys, storage, objects, repository };
    server.fail(|_| Some(Fault::Stall(LATENCY)));

    let begun = Instant::now();
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let site = &site;
            scope.spawn(move || {
                for revision in 0..REVISIONS {
                    let turn = in_turns.then(|| site.repository.turn(&mut || true));
                    let session = site.repository.begin().unwrap();
                    let seen = site.repository.snapshot().unwrap();
                    let mut edits = Edits::since(&seen);
                    let at = format!("/p{publisher}/{revision}");
                    edits.put(&path(&at), site.file(at.as_bytes()), None);
                    if revision > 0 {
                        edits.rely_on(&path(&format!("/p{publisher}/{}", revision - 1)));
                    }
                    site.repository.publish(&edits, &site.objects, &session).unwrap();
                    turn.into_iter().for_each(Turn::end);
                }
            });
        }
    });
    let took = begun.elapsed();
    server.heal();
    let total = PUBLISHERS * REVISIONS;
    let manifests = server.requests().into_iter().filter(|request| {
        request.method == Method::PUT && request.uri.path().ends_with("/.cvmfspublished")
    });
    let attempts = manifests.count() - 1;
    println!("{attempts} attempts at {total} revisions in {took:?}");
    let newest = site.repository.snapshot().unwrap();
    assert_eq!(newest.manifest().revision, 1 + total as u64);
    assert_eq!(newest.counters().own.regular, total as u64);
    site.sound();
    (attempts, total)
}

#[test]
fn eight_publishers_of_a_bucket_get_through_without_being_in_each_others_way_for_long() {
    let (attempts, total) = publish(false);
    assert!(attempts <= 6 * total, "{attempts} attempts at {total} revisions");
}

#[test]
fn publishers_that_take_turns_do_nothing_in_vain() {
    let (attempts, total) = publish(true);
    assert_eq!(attempts, total);
}
