//! A real S3 server in front of a directory, with faults.

use std::sync::atomic::{AtomicUsize, Ordering};

use faulty_s3::{ACCESS_KEY, BUCKET, Fault, FaultyS3, SECRET_KEY};
use http::Method;

use super::*;

/// The storage `repo` of a server.
fn url(server: &FaultyS3) -> S3Url {
    let StorageUrl::S3(url) = server.url("repo", "").parse().unwrap() else { panic!("no S3") };
    let credentials =
        Credentials { access_key: ACCESS_KEY.to_owned(), secret_key: SECRET_KEY.to_owned() };
    S3Url { credentials: Some(credentials), ..*url }
}

fn open(url: S3Url) -> Storage {
    Storage::open(&StorageUrl::S3(Box::new(url))).unwrap()
}

/// The text of an error with its causes.
fn text(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

/// Tests cases at the same time, because most of the time they wait.
fn side_by_side<T: Send>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| test(case));
        }
    });
}

#[test]
fn a_bucket_keeps_objects() {
    let server = FaultyS3::start().unwrap();
    let storage = open(url(&server));
    keeps_objects(&storage);
    replaces_files_on_a_condition(&storage);
    assert_eq!(storage.local_directory(), None);
}

#[test]
fn a_bucket_may_be_nothing_but_the_repository() {
    let server = FaultyS3::start().unwrap();
    let storage = open(S3Url { prefix: String::new(), ..url(&server) });
    keeps_objects(&storage);
    let (id, stored) = object(b"one");
    storage.put_if_absent(id, stored).unwrap();
    assert!(server.directory("").join(id.path()).exists());
}

#[test]
fn one_of_two_wins_in_a_bucket() {
    let server = FaultyS3::start().unwrap();
    lets_one_of_two_win(&open(url(&server)), 100);
}

#[test]
fn a_storage_can_be_used_from_the_threads_of_a_runtime() {
    let server = FaultyS3::start().unwrap();
    let storage = open(url(&server));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        keeps_objects(&storage);
        // Its own runtime ends here, in an asynchronous context.
        drop(storage);
    });
}

#[test]
fn headers_are_those_of_stock_servers() {
    let server = FaultyS3::start().unwrap();
    let storage = open(S3Url { acl: Some("public-read".to_owned()), ..url(&server) });
    let (id, stored) = object(b"one");
    storage.put_if_absent(id, stored).unwrap();
    storage.replace_file(MANIFEST, Bytes::from_static(b"1"), Expected::Any).unwrap();
    let puts: Vec<_> = server
        .requests()
        .into_iter()
        .filter(|request| request.method == Method::PUT)
        .map(|request| {
            let header = |name| request.headers[name].to_str().unwrap().to_owned();
            let path = request.uri.path().to_owned();
            (path, header("content-type"), header("cache-control"), header("x-amz-acl"))
        })
        .collect();
    let expected = [
        (format!("/{BUCKET}/repo/{}", id.path()), "application/octet-stream", "max-age=259200"),
        (format!("/{BUCKET}/repo/{MANIFEST}"), "application/x-cvmfs", "max-age=61"),
    ];
    let expected = expected.map(|(path, kind, cache)| {
        (path, kind.to_owned(), cache.to_owned(), "public-read".to_owned())
    });
    assert_eq!(puts, expected);
}

#[test]
fn a_few_faults_do_no_harm() {
    let faults = [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(429),
        Fault::HangUp,
        Fault::LoseAnswer,
        Fault::Stall(Duration::from_millis(400)),
    ];
    side_by_side(faults, |fault| {
        let server = FaultyS3::start().unwrap();
        let storage = open(S3Url { timeout: Duration::from_millis(200), ..url(&server) });
        let count = AtomicUsize::new(0);
        server.fail(move |_| {
            count.fetch_add(1, Ordering::Relaxed).is_multiple_of(4).then_some(fault)
        });
        let (id, stored) = object(b"one");
        storage.put_if_absent(id, stored.clone()).unwrap();
        assert!(storage.exists(id).unwrap(), "{fault:?}");
        assert_eq!(storage.get(id).unwrap(), stored, "{fault:?}");
        assert_eq!(listed(&storage, id), [(id.path(), 3)], "{fault:?}");
        replaces_files_on_a_condition(&storage);
        storage.delete(vec![id.path()]).unwrap();
        assert!(!storage.exists(id).unwrap(), "{fault:?}");
    });
}

#[test]
fn a_lost_answer_is_no_lost_race() {
    let server = FaultyS3::start().unwrap();
    let storage = open(S3Url { retries: 1, ..url(&server) });
    let puts = AtomicUsize::new(0);
    server.fail(move |request| {
        let lost =
            request.method == Method::PUT && puts.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        lost.then_some(Fault::LoseAnswer)
    });
    let one = Bytes::from_static(b"1");
    assert!(storage.replace_file(MANIFEST, one, Expected::Absent).unwrap().is_some());
    assert_eq!(
        storage.replace_file(MANIFEST, Bytes::from_static(b"2"), Expected::Absent).unwrap(),
        None
    );
    let (content, version) = storage.read_file(MANIFEST).unwrap().unwrap();
    assert_eq!(content, "1");
    let two = Bytes::from_static(b"2");
    assert!(storage.replace_file(MANIFEST, two, Expected::Version(version)).unwrap().is_some());
}

#[test]
fn many_faults_end_with_a_clear_error() {
    let cases = [
        (Fault::Status(500), "is the S3 server well"),
        (Fault::HangUp, "is the S3 server well"),
        (Fault::Stall(Duration::from_secs(60)), "is the S3 server well"),
        (Fault::Status(403), "check AWS_ACCESS_KEY_ID"),
        (Fault::NoBucket, "make the bucket first"),
    ];
    side_by_side(cases, |(fault, advice)| {
        let server = FaultyS3::start().unwrap();
        let timeout = Duration::from_millis(200);
        let storage = open(S3Url { retries: 2, timeout, ..url(&server) });
        let (id, stored) = object(b"one");
        server.fail(move |request| (request.method == Method::PUT).then_some(fault));
        let refused = storage.put_if_absent(id, stored.clone()).unwrap_err();
        server.fail(move |_| Some(fault));
        for error in [
            refused,
            storage.put_if_absent(id, stored).unwrap_err(),
            storage.get(id).unwrap_err(),
            storage.list(0, &mut |_| Ok(())).unwrap_err(),
            storage.replace_file(MANIFEST, Bytes::new(), Expected::Absent).unwrap_err(),
        ] {
            let text = text(&error);
            assert!(text.contains(advice) && text.contains(BUCKET), "{fault:?}: {text}");
        }
    });
}

#[test]
fn what_is_set_up_wrongly_is_named() {
    let server = FaultyS3::start().unwrap();
    let (id, stored) = object(b"one");
    let wrong = Credentials { access_key: ACCESS_KEY.to_owned(), secret_key: "x".to_owned() };
    let stranger = open(S3Url { credentials: Some(wrong), ..url(&server) });
    let closed = S3Url { endpoint: Some("http://127.0.0.1:1".parse().unwrap()), ..url(&server) };
    let nowhere = open(S3Url { retries: 1, ..closed });
    for (storage, advice) in
        [(stranger, "check AWS_ACCESS_KEY_ID"), (nowhere, "reachable from here")]
    {
        for error in [
            storage.put_if_absent(id, stored.clone()).unwrap_err(),
            storage.read_file(MANIFEST).unwrap_err(),
        ] {
            let text = text(&error);
            assert!(text.contains(advice), "{text}");
        }
    }
}

#[test]
fn a_server_that_ignores_conditions_is_refused() {
    side_by_side(["if-none-match", "if-match"], |condition| {
        let server = FaultyS3::start().unwrap();
        let storage = open(url(&server));
        let (id, stored) = object(b"one");
        storage.put_if_absent(id, stored).unwrap();
        server.fail(move |request| {
            request.headers.contains_key(condition).then_some(Fault::Status(200))
        });
        let one = Bytes::from_static(b"1");
        for _ in 0..2 {
            let error = storage.replace_file(MANIFEST, one.clone(), Expected::Absent).unwrap_err();
            assert!(error.to_string().contains("ignores conditions"), "{condition}: {error}");
        }
        assert!(storage.replace_file(MANIFEST, one, Expected::Any).unwrap().is_some());
    });
}

/// What tells whether conditions are heeded changes nothing.
#[test]
fn a_server_is_tried_with_an_object_that_stays_as_it_is() {
    let server = FaultyS3::start().unwrap();
    let storage = open(url(&server));
    let (id, stored) = object(b"one");
    storage.put_if_absent(id, stored.clone()).unwrap();
    server.requests();
    for (content, expected) in [(b"1", Expected::Absent), (b"2", Expected::Any)] {
        let content = Bytes::copy_from_slice(content);
        assert!(storage.replace_file(MANIFEST, content, expected).unwrap().is_some());
    }
    let tried: Vec<_> = server
        .requests()
        .into_iter()
        .filter(|request| request.uri.path().ends_with(&id.path()))
        .map(|request| {
            let asked = |name| request.headers.contains_key(name);
            assert_eq!(request.method, Method::PUT);
            (asked("if-none-match"), asked("if-match"))
        })
        .collect();
    assert_eq!(tried, [(true, false), (false, true)], "each condition once");
    assert_eq!(storage.get(id).unwrap(), stored);
}

/// Who may write in the bucket can exchange objects, and make files of any size.
#[test]
fn a_bucket_is_not_taken_on_trust() {
    let server = FaultyS3::start().unwrap();
    let storage = open(url(&server));
    let at = |path: &str| server.directory("repo").join(path);
    let size = |id| {
        let (tell, told) = std::sync::mpsc::channel();
        storage.stored_size_then(id, move |size| tell.send(size.unwrap()).unwrap());
        told.recv().unwrap()
    };
    storage.inspect_all();
    for kind in [ObjectKind::File, ObjectKind::Catalog] {
        let stored = Bytes::from_static(b"one");
        let id = Algorithm::Sha1.hash(&stored).object(kind);
        assert!(storage.put_if_absent(id, stored.clone()).unwrap());
        assert!(!storage.put_if_absent(id, stored.clone()).unwrap(), "it is sound");
        assert_eq!(size(id), Some(3));
        fs::write(at(&id.path()), "?ne").unwrap();
        assert_eq!(size(id), None);
        assert!(storage.put_if_absent(id, stored.clone()).unwrap(), "{kind:?}");
        assert_eq!(storage.get(id).unwrap(), stored);
        assert_eq!(size(id), Some(3));
    }
    File::create(at(MANIFEST)).unwrap().set_len(2 << 20).unwrap();
    let error = text(&storage.read_file(MANIFEST).unwrap_err());
    assert!(error.contains("more than 1048576 bytes"), "{error}");
}
