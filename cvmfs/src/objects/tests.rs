use super::*;
use crate::compression::inflate;

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
    storage.make_skeleton().unwrap();
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

#[test]
fn every_size_comes_back() {
    let sizes = [0, 1, 4096, 4 * MIB, 4 * MIB + 1, 16 * MIB, 40 * MIB];
    let files: Vec<_> = sizes.iter().map(|&size| content(size, size as u64)).collect();
    for (compression, algorithm) in [
        (Compression::Zlib, Algorithm::Sha1),
        (Compression::None, Algorithm::Shake128),
        (Compression::None, Algorithm::Rmd160),
    ] {
        let (_directory, storage) = storage();
        let settings = Settings { compression, algorithm, ..Settings::default() };
        let objects = Objects::new(storage.clone(), settings, None);
        let stored = upload(&objects, &files);
        for (file, content) in stored.iter().zip(&files) {
            assert_eq!(file.size, content.len() as u64);
            assert_eq!(file.compression, compression);
            assert!(read_back(&storage, file) == *content, "{file:?}");
            if let Content::Whole(hash) = file.content {
                assert_eq!(hash.algorithm, algorithm);
            }
        }
        assert_eq!(stored[..5].iter().map(chunks).collect::<Vec<_>>(), [1; 5]);
        assert!(chunks(&stored[6]) >= 3);
        let statistics = objects.statistics();
        assert_eq!(statistics.content, sizes.iter().sum::<usize>() as u64);
        assert!(statistics.memory <= objects.settings().memory, "{statistics:?}");
    }
}
