//! Commands that ask registries, with the settings that all of them have; and the sources of `prune-images`.

use std::fs;

use super::registry::Registry;
use super::{Run, ducc};

/// A name that leads nowhere, but for a configuration by which it is the test's registry.
const HOST: &str = "images.example.invalid";

#[test]
fn registries_conf_is_honoured_everywhere() {
    let (directory, registry) = (tempfile::tempdir().unwrap(), Registry::start());
    let address = registry.name("");
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let conf =
        format!("[[registry]]\nprefix = \"{HOST}\"\nlocation = \"{address}\"\ninsecure = true\n");
    fs::write(directory.path().join("registries.conf"), conf).unwrap();
    fs::write(directory.path().join("empty.conf"), "").unwrap();
    fs::write(directory.path().join("list.yaml"), format!("input: ['{HOST}/org/tool:1.*']\n"))
        .unwrap();
    fs::create_dir(directory.path().join("repository")).unwrap();
    let (image, pattern) = (format!("{HOST}/org/tool:1.0.0"), format!("{HOST}/org/tool:1.*"));
    for command in [
        vec!["download-manifest", &image],
        vec!["expand-wildcard", &pattern],
        vec!["expand-wildcard", "-w", "list.yaml"],
        vec!["prune-images", "repository", "list.yaml", "--dry-run"],
    ] {
        for (conf, status) in [("registries.conf", 0), ("empty.conf", 1)] {
            let options = ["--attempts", "1", "--registries-conf", conf];
            let run = ducc(directory.path(), &[&command[..], &options].concat());
            assert_eq!(run.status, status, "{command:?} {conf}: {run:?}");
        }
    }
}

#[test]
fn pruning_reads_its_sources_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    fs::create_dir(directory.path().join("repository")).unwrap();
    let prune = |options: &[&str]| -> Run {
        let all = [&["prune-images", "repository", "--dry-run"][..], options].concat();
        ducc(directory.path(), &all)
    };
    let none = prune(&[]);
    assert!(none.status == 1 && none.stderr.contains("--expanded-images"), "{none:?}");

    write("images.yaml", "images:\n- r.io/a:1\n");
    write("list.yaml", "input: []\n");
    write("mine.yaml", "wishlists: [list.yaml]\nexpanded_images: [images.yaml]\n");
    assert_eq!(prune(&["--config", "mine.yaml"]).status, 0);
    write("ducc-prune.yaml", "wishlists:\n- list.yaml\n");
    let found = prune(&[]);
    assert!(found.status == 0 && found.stderr.contains("ducc-prune.yaml"), "{found:?}");

    // What cannot be read makes nothing unwanted, wherever it is named.
    write("ducc-prune.yaml", "wishlists:\n- lost.yaml\n");
    for options in [&["list.yaml"][..], &[]] {
        let lost = prune(options);
        assert!(lost.status == 1 && lost.stderr.contains("lost.yaml"), "{lost:?}");
    }
    write("ducc-prune.yaml", "wishlist:\n- list.yaml\n");
    let wrong = prune(&["list.yaml"]);
    assert!(wrong.status == 1 && wrong.stderr.contains("did you mean"), "{wrong:?}");
    let missing = prune(&["--config", "none.yaml"]);
    assert!(missing.status == 1 && missing.stderr.contains("none.yaml"), "{missing:?}");
}
