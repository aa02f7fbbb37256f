use layer_layout::Digest;

use super::*;

fn find(chain: ChainId) -> Question {
    Question::Find { chain, layers: Vec::new(), parent: Parent::None }
}

fn chain() -> ChainId {
    Digest::of(b"chain").into()
}

#[test]
fn a_root_that_cannot_be_opened_is_not_a_miss() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "x").unwrap();
    for name in ["nosuch", "file"] {
        for question in [find(chain()), Question::Check { paths: Vec::new() }] {
            let answer = answer(&directory.path().join(name), &question);
            assert!(matches!(answer, Answer::Broken { .. }), "{name}: {answer:?}");
        }
    }
}

#[test]
fn an_empty_mount_point_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let Answer::Miss(miss) = answer(directory.path(), &find(chain())) else { panic!() };
    assert_eq!(miss, Miss::NoImages);
    assert!(miss.to_string().contains("is it mounted?"), "{miss}");
    std::fs::create_dir(directory.path().join(".chains")).unwrap();
    let Answer::Miss(miss) = answer(directory.path(), &find(chain())) else { panic!() };
    assert_eq!(miss.to_string(), "not there");
}

#[test]
fn a_hit_tells_resolved_paths() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("real");
    let link = directory.path().join("mounted");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let layers = real.join(".layers/aa/layerfs");
    std::fs::create_dir_all(&layers).unwrap();
    let at = real.join(path::chain_layer(&chain()));
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("../../../.layers/aa/layerfs", at).unwrap();
    // The root may be reached through a link: an administrator put it there.
    for root in [&real, &link] {
        let Answer::Found(found) = answer(root, &find(chain())) else { panic!() };
        assert_eq!(
            (found.layer.as_str(), found.rootfs, found.by),
            (".layers/aa/layerfs", None, FoundBy::Chain)
        );
    }
    std::fs::create_dir(real.join(path::chain_rootfs(&chain()))).unwrap();
    let Answer::Found(found) = answer(&link, &find(chain())) else { panic!() };
    assert_eq!(found.rootfs.as_deref(), Some(path::chain_rootfs(&chain()).as_str()));
    for (paths, expected) in [
        (vec![], Answer::Present),
        (vec![found.layer.clone(), found.rootfs.clone().unwrap()], Answer::Present),
        (vec![found.layer, "gone".to_owned()], Answer::Gone { path: "gone".to_owned() }),
    ] {
        assert_eq!(answer(&link, &Question::Check { paths }), expected);
    }
}

/// The kernel answers EAGAIN then.
#[test]
fn renames_elsewhere_do_not_disturb() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("repository");
    std::fs::create_dir_all(root.join(".layers/aa/layerfs")).unwrap();
    let at = root.join(path::chain_layer(&chain()));
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("../../../.layers/aa/layerfs", at).unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    std::fs::create_dir(&one).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::rename(&one, &two).unwrap();
                std::fs::rename(&two, &one).unwrap();
            }
        });
        let answers: Vec<_> = (0..5000).map(|_| answer(&root, &find(chain()))).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let other = answers.iter().find(|answer| !matches!(answer, Answer::Found(_)));
        assert_eq!(other, None);
    });
}

#[test]
fn questions_and_answers_are_single_lines() {
    let question = Question::Find {
        chain: chain(),
        layers: vec![Digest::of(b"l").into()],
        parent: Parent::Chain(chain()),
    };
    let line = serde_json::to_string(&question).unwrap();
    assert!(!line.contains('\n'));
    assert_eq!(serde_json::from_str::<Question>(&line).unwrap(), question);
    let answer = Answer::Gone { path: "a\nb".to_owned() };
    let line = serde_json::to_string(&answer).unwrap();
    assert!(!line.contains('\n'));
    assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
}
