use std::io::{self, Read};

use super::*;
use crate::Error;
use crate::compression::inflate;
use crate::hash::Algorithm;

const MIB: usize = 1 << 20;

/// Bytes that look like those of files: half noise, half repetition.
fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; size];
    for block in bytes.chunks_mut(512) {
        let half = block.len() / 2;
        random.fill(&mut block[..half]);
    }
    bytes
}

fn storage() -> (tempfile::TempDir, Storage) {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::local(directory.path());
    (directory, storage)
}

/// The content of a file, read back.
fn read_back(storage: &Storage, file: &File) -> Vec<u8> {
    let object = |hash: ContentHash, kind, size| {
        let stored = storage.get(hash.object(kind)).unwrap();
        match file.compression {
            Compression::Zlib => inflate(&stored, size, "it").unwrap(),
            Compression::None => stored.to_vec(),
        }
    };
    match &file.content {
        Content::Whole(hash) => object(*hash, ObjectKind::File, file.size),
        Content::Chunks(algorithm, chunks) => {
            let mut bytes = Vec::new();
            for chunk in chunks {
                assert_eq!((chunk.hash.algorithm, chunk.offset), (*algorithm, bytes.len() as u64));
                let piece = object(chunk.hash, ObjectKind::Chunk, chunk.size);
                assert_eq!(piece.len() as u64, chunk.size);
                bytes.extend(piece);
            }
            bytes
        }
        Content::External(_) => panic!("{file:?}"),
    }
}

fn upload(objects: &Objects, files: &[Vec<u8>]) -> Vec<File> {
    let mut upload = objects.upload();
    let mut stored = Vec::new();
    for (key, content) in files.iter().enumerate() {
        upload.file(key as u64, content.len() as u64, &mut content.as_slice()).unwrap();
        stored.extend(upload.finished());
    }
    stored.extend(upload.wait().unwrap());
    stored.sort_unstable_by_key(|&(key, _)| key);
    assert_eq!(
        stored.iter().map(|&(key, _)| key).collect::<Vec<_>>(),
        (0..files.len() as u64).collect::<Vec<_>>()
    );
    stored.into_iter().map(|(_, file)| file).collect()
}

fn chunks(file: &File) -> usize {
    match &file.content {
        Content::Chunks(_, chunks) => chunks.len(),
        _ => 1,
    }
}

/// Settings that make chunks of small files.
fn small_chunks() -> Settings {
    let chunking = Chunking { minimum: 4 << 10, average: 8 << 10, maximum: 16 << 10 };
    Settings { chunking: Some(chunking), ..Settings::default() }
}

/// Stores one file.
fn upload_one(objects: &Objects, content: &[u8]) -> File {
    upload(objects, &[content.to_vec()]).remove(0)
}

#[test]
fn every_size_comes_back() {
    let sizes = [0, 1, 4096, 4 * MIB, 4 * MIB + 1, 40 * MIB];
    let files: Vec<_> = sizes.iter().map(|&size| content(size, size as u64)).collect();
    let (_directory, storage) = storage();
    let objects = Objects::new(storage.clone(), Settings::default(), None);
    let stored = upload(&objects, &files);
    for (file, content) in stored.iter().zip(&files) {
        assert_eq!(file.size, content.len() as u64);
        assert!(read_back(&storage, file) == *content, "{file:?}");
    }
    assert_eq!(stored[..5].iter().map(chunks).collect::<Vec<_>>(), [1; 5]);
    assert!(chunks(&stored[5]) >= 3);
    let statistics = objects.statistics();
    assert_eq!(statistics.content, sizes.iter().sum::<usize>() as u64);
    assert_eq!(statistics.put as usize, stored.iter().map(chunks).sum::<usize>());
    assert!(statistics.memory <= objects.settings().memory, "{statistics:?}");
}

#[test]
fn every_form_comes_back() {
    let sizes = [0, 1, 4 << 10, (4 << 10) + 1, 300 << 10];
    let files: Vec<_> = sizes.iter().map(|&size| content(size, size as u64)).collect();
    for compression in [Compression::Zlib, Compression::None] {
        for algorithm in [Algorithm::Sha1, Algorithm::Rmd160, Algorithm::Shake128] {
            let (_directory, storage) = storage();
            let settings = Settings { compression, algorithm, ..small_chunks() };
            let objects = Objects::new(storage.clone(), settings, None);
            for (file, content) in upload(&objects, &files).iter().zip(&files) {
                assert_eq!(file.compression, compression);
                assert!(read_back(&storage, file) == *content, "{file:?}");
                match &file.content {
                    Content::Whole(hash) => assert_eq!(hash.algorithm, algorithm),
                    Content::Chunks(used, _) => assert_eq!(*used, algorithm),
                    Content::External(_) => panic!("{file:?}"),
                }
                assert_eq!(chunks(file) > 1, content.len() > 16 << 10);
            }
            let file = objects.store_file(b"hello\n").unwrap();
            assert_eq!(read_back(&storage, &file), b"hello\n");
            let catalog = objects.store(ObjectKind::Catalog, b"SQLite").unwrap();
            assert_eq!(catalog.algorithm, algorithm);
            let stored = storage.get(catalog.object(ObjectKind::Catalog)).unwrap();
            assert_eq!(inflate(&stored, 6, "it").unwrap(), b"SQLite", "always zlib");
        }
    }
}

#[test]
fn without_chunking_only_what_does_not_fit_is_cut() {
    let (_directory, storage) = storage();
    let settings = Settings { chunking: None, memory: 4 * MIB as u64, ..Settings::default() };
    let objects = Objects::new(storage.clone(), settings, None);
    let files = [content(MIB, 1), content(3 * MIB, 2)];
    let stored = upload(&objects, &files);
    assert_eq!(stored.iter().map(chunks).collect::<Vec<_>>(), [1, 3]);
    assert!(read_back(&storage, &stored[1]) == files[1]);
    assert!(objects.statistics().memory <= objects.settings().memory);
}

#[test]
fn objects_that_are_there_are_not_put_again() {
    let (_directory, storage) = storage();
    let file = content(100 << 10, 1);
    let first = Objects::new(storage.clone(), small_chunks(), None);
    let stored = upload_one(&first, &file);
    let second = Objects::new(storage.clone(), small_chunks(), None);
    assert_eq!(upload_one(&second, &file), stored);
    let statistics = second.statistics();
    assert_eq!((statistics.put, statistics.found), (0, chunks(&stored) as u64));
    assert_eq!(statistics.known, 0);

    // A power cut may leave the beginning of an object.
    let Content::Chunks(_, list) = &stored.content else { panic!("{stored:?}") };
    let path =
        storage.local_directory().unwrap().join(list[0].hash.object(ObjectKind::Chunk).path());
    let half = std::fs::metadata(&path).unwrap().len() / 2;
    std::fs::File::options().write(true).open(&path).unwrap().set_len(half).unwrap();
    assert_eq!(upload_one(&second, &file), stored);
    assert!(read_back(&storage, &stored) == file);
    assert_eq!(second.statistics().put, 1);
}

#[test]
fn known_content_is_not_compressed_unless_its_object_has_vanished() {
    let (directory, storage) = storage();
    let index = directory.path().join("index");
    let files = [content(1000, 1), content(100 << 10, 2)];
    let run = |storage: &Storage| {
        let index = Index::open(&index).unwrap();
        let objects = Objects::new(storage.clone(), small_chunks(), Some(index));
        let stored = upload(&objects, &files);
        (stored, objects.statistics())
    };
    let (stored, statistics) = run(&storage);
    let count = stored.iter().map(chunks).sum::<usize>() as u64;
    assert_eq!((statistics.put, statistics.found, statistics.known), (count, 0, 0));
    let (again, statistics) = run(&storage);
    assert_eq!(again, stored);
    assert_eq!((statistics.put, statistics.found, statistics.known), (0, count, count));

    let Content::Whole(hash) = &stored[0].content else { panic!("{stored:?}") };
    storage.delete(vec![hash.object(ObjectKind::File).path()]).unwrap();
    let (again, statistics) = run(&storage);
    assert_eq!(again, stored);
    assert_eq!((statistics.put, statistics.found, statistics.known), (1, count - 1, count - 1));
    assert_eq!(read_back(&storage, &stored[0]), files[0]);
}

#[test]
fn several_uploads_share_the_memory() {
    let (_directory, storage) = storage();
    let memory = 1 << 20;
    let chunking = Chunking { minimum: 32 << 10, average: 64 << 10, maximum: 256 << 10 };
    let settings = Settings { memory, chunking: Some(chunking), threads: 3, ..Settings::default() };
    let objects = Objects::new(storage.clone(), settings, None);
    std::thread::scope(|scope| {
        for upload_number in 0..6 {
            let (objects, storage) = (&objects, &storage);
            scope.spawn(move || {
                let sizes = [700 << 10, 10, 32 << 10, 0, 900 << 10, 2 << 10];
                let files: Vec<_> = sizes
                    .iter()
                    .enumerate()
                    .map(|(number, &size)| content(size, upload_number * 10 + number as u64))
                    .collect();
                for (file, content) in upload(objects, &files).iter().zip(&files) {
                    assert!(read_back(storage, file) == *content);
                }
            });
        }
    });
    let statistics = objects.statistics();
    assert!(statistics.memory > memory / 4 && statistics.memory <= memory, "{statistics:?}");
    assert_eq!(objects.core.budget.reserve(memory).bytes(), memory, "all is given back");
}

/// A thread that compresses is slower than the reader, which would fill all memory with files that wait.
#[test]
fn small_files_take_a_small_part_of_the_memory() {
    let (_directory, storage) = storage();
    let memory = 16 * MIB as u64;
    let settings = Settings { memory, threads: 1, ..Settings::default() };
    let objects = Objects::new(storage, settings, None);
    let files: Vec<_> = (0..1000).map(|number| content(8 << 10, number)).collect();
    upload(&objects, &files);
    let peak = objects.statistics().memory;
    assert!(peak > 0 && peak <= memory / 8, "{peak}");
}

#[test]
fn the_largest_chunk_passes_through_the_least_memory() {
    let (_directory, storage) = storage();
    for memory in [1, 4096] {
        let settings = Settings { memory, threads: 2, ..small_chunks() };
        let objects = Objects::new(storage.clone(), settings, None);
        let file = content(20 << 10, memory);
        assert!(read_back(&storage, &upload_one(&objects, &file)) == file);
    }
}

/// Gives some bytes, then fails.
struct Broken(usize);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.0);
        self.0 -= count;
        match count {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            count => Ok(count),
        }
    }
}

#[test]
fn content_must_be_what_was_announced() {
    let (_directory, storage) = storage();
    let objects = Objects::new(storage, small_chunks(), None);
    let large = content(100 << 10, 1);
    let mut cases: Vec<(&str, u64, Box<dyn Read>)> = vec![
        ("short", 5, Box::new(io::Cursor::new(b"1234".to_vec()))),
        ("long", 3, Box::new(io::Cursor::new(b"1234".to_vec()))),
        ("broken", 2000, Box::new(Broken(1000))),
        ("large and short", 200 << 10, Box::new(io::Cursor::new(large.clone()))),
        ("large and long", 50 << 10, Box::new(io::Cursor::new(large))),
        ("large and broken", 100 << 10, Box::new(Broken(50 << 10))),
    ];
    for (name, size, content) in &mut cases {
        let mut upload = objects.upload();
        let error = upload.file(1, *size, content).unwrap_err();
        assert!(matches!(error, Error::Content(_)), "{name}: {error}");
        assert!(upload.file(2, 0, &mut io::empty()).is_err(), "{name}");
        assert!(upload.wait().is_err(), "{name}");
    }
}

#[test]
fn a_failing_storage_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    // There is no place for objects.
    std::fs::write(directory.path().join("data"), "").unwrap();
    let objects = Objects::new(Storage::local(directory.path()), small_chunks(), None);
    let mut upload = objects.upload();
    let file = content(100 << 10, 1);
    let error = loop {
        match upload.file(1, file.len() as u64, &mut file.as_slice()) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Storage { .. }), "{error}");
    let error = upload.wait().unwrap_err();
    assert!(matches!(error, Error::Stopped(_)), "{error}");

    let mut upload = objects.upload();
    upload.file(1, 1, &mut b"1".as_slice()).unwrap();
    let error = upload.wait().unwrap_err();
    assert!(matches!(error, Error::Storage { .. }), "{error}");
    let error = objects.store(ObjectKind::Catalog, b"SQLite").unwrap_err();
    assert!(matches!(error, Error::Storage { .. }), "{error}");
}

#[test]
fn what_nobody_waits_for_is_not_stored() {
    let (_directory, storage) = storage();
    let settings = Settings { threads: 1, ..Settings::default() };
    let objects = Objects::new(storage, settings, None);
    let mut upload = objects.upload();
    for number in 0..20 {
        let file = content(MIB, number);
        upload.file(number, file.len() as u64, &mut file.as_slice()).unwrap();
    }
    drop(upload);
    let memory = objects.settings().memory;
    drop(objects.core.budget.reserve(memory));
    assert!(objects.statistics().put < 20, "{:?}", objects.statistics());
    // And the workers are fine.
    assert_eq!(upload_one(&objects, b"x").size, 1);
}

mod s3 {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use faulty_s3::{ACCESS_KEY, Fault, FaultyS3, SECRET_KEY};

    use super::*;
    use crate::storage::{Credentials, S3Url, StorageUrl};

    /// Longer than a healthy server takes on a busy machine.
    const LONG: Duration = Duration::from_secs(30);

    fn open(server: &FaultyS3, retries: usize, timeout: Duration) -> Storage {
        let StorageUrl::S3(url) = server.url("repo", "parallel=8").parse().unwrap() else {
            panic!("no S3")
        };
        let credentials =
            Credentials { access_key: ACCESS_KEY.to_owned(), secret_key: SECRET_KEY.to_owned() };
        let url = S3Url { credentials: Some(credentials), retries, timeout, ..*url };
        Storage::open(&StorageUrl::S3(Box::new(url))).unwrap()
    }

    fn files() -> Vec<Vec<u8>> {
        (0..40).map(|number| content(number * 1000, number as u64)).collect()
    }

    #[test]
    fn files_come_back_from_a_bad_server() {
        let server = FaultyS3::start().unwrap();
        let storage = open(&server, 10, Duration::from_millis(500));
        let count = AtomicUsize::new(0);
        server.fail(move |_| match count.fetch_add(1, Ordering::Relaxed) % 60 {
            3 | 33 => Some(Fault::Status(503)),
            7 | 37 => Some(Fault::HangUp),
            11 | 41 => Some(Fault::LoseAnswer),
            17 => Some(Fault::Stall(Duration::from_secs(1))),
            _ => None,
        });
        let index = tempfile::tempdir().unwrap();
        let index = index.path().join("index");
        let objects =
            Objects::new(storage.clone(), small_chunks(), Some(Index::open(&index).unwrap()));
        let stored = upload(&objects, &files());
        server.heal();
        for (file, content) in stored.iter().zip(&files()) {
            assert!(read_back(&storage, file) == *content);
        }
        let put = objects.statistics().put;
        drop(objects);

        let Content::Whole(hash) = &stored[1].content else { panic!("{stored:?}") };
        storage.delete(vec![hash.object(ObjectKind::File).path()]).unwrap();
        server.requests();
        let index = Some(Index::open(&index).unwrap());
        let objects = Objects::new(open(&server, 10, LONG), small_chunks(), index);
        assert_eq!(upload(&objects, &files()), stored);
        let statistics = objects.statistics();
        assert_eq!((statistics.put, statistics.known), (1, put - 1));
        let puts = server.requests().iter().filter(|request| request.method == "PUT").count();
        assert_eq!(puts, 1);
    }

    #[test]
    fn a_server_that_fails_for_good_is_told() {
        let server = FaultyS3::start().unwrap();
        let objects = Objects::new(open(&server, 1, LONG), small_chunks(), None);
        server.fail(|request| (request.method == "PUT").then_some(Fault::Status(500)));
        let mut upload = objects.upload();
        upload.file(1, 1, &mut b"1".as_slice()).unwrap();
        let error = upload.wait().unwrap_err();
        assert!(matches!(error, Error::Storage { .. }), "{error}");
        // Nothing is left in memory.
        drop(objects.core.budget.reserve(objects.settings().memory));
    }
}
