//! `expand-wildcard` and `download-manifest`.

use std::fs;

use serde_json::{Value, json};

use super::ducc;
use super::registry::{RUDE, Registry, TAGS, manifest};

#[test]
fn a_pattern_is_expanded_over_all_pages() {
    let (directory, registry) = (tempfile::tempdir().unwrap(), Registry::start());
    for (tag, expected) in [
        ("*", "1.0.0 1.1.0 1.2.0 2.0.0-rc.1 latest"),
        ("1.*", "1.0.0 1.1.0 1.2.0"),
        ("*0", "1.0.0 1.1.0 1.2.0"),
        ("l*t", "latest"),
    ] {
        let run = ducc(
            directory.path(),
            &["expand-wildcard", "--lines", &registry.name(&format!("org/tool:{tag}"))],
        );
        let expected: String =
            expected.split(' ').map(|tag| registry.name(&format!("org/tool:{tag}\n"))).collect();
        assert_eq!((run.status, run.stdout), (0, expected), "{tag}: {}", run.stderr);
    }
}

#[test]
fn an_image_stands_for_itself_and_a_pattern_for_something() {
    let (directory, registry) = (tempfile::tempdir().unwrap(), Registry::start());
    for (image, status) in [
        ("org/tool:1.0.0", 0),
        ("org/tool:none", 0),
        ("org/tool:none*", 1),
        ("org/empty:*", 1),
        ("org/missing:*", 1),
    ] {
        let image = registry.name(image);
        let run = ducc(directory.path(), &["expand-wildcard", &image]);
        let expected = if status == 0 { format!("images:\n- {image}\n") } else { String::new() };
        assert_eq!((run.status, run.stdout), (status, expected), "{image}: {}", run.stderr);
        assert_eq!(run.stderr.contains("ducc: "), status != 0, "{image}: {}", run.stderr);
    }
    let run = ducc(directory.path(), &["expand-wildcard", "r.io/a"]);
    assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{}", run.stderr);
}

#[test]
fn lists_are_expanded_to_a_file() {
    let (directory, registry) = (tempfile::tempdir().unwrap(), Registry::start());
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    let tool = registry.name("org/tool");
    write("one.yaml", &format!("input:\n- '{tool}:1.0.0'\n- '{tool}:l*'\n"));
    write(
        "two.yaml",
        &format!("version: 2\ninput:\n- image: {tool}\n  tags: {{semver: '1', newest: 1}}\n"),
    );
    let run = ducc(
        directory.path(),
        &["expand-wildcard", "-w", "one.yaml", "--wishlist", "two.yaml", "-o", "out.yaml"],
    );
    assert_eq!((run.status, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    let written = fs::read_to_string(directory.path().join("out.yaml")).unwrap();
    assert_eq!(written, format!("images:\n- {tool}:1.0.0\n- {tool}:latest\n- {tool}:1.2.0\n"));

    write("young.yaml", &format!("version: 2\ninput:\n- image: {tool}\n  tags: {{newest: 2}}\n"));
    // An image before those of lists.
    let image = format!("{tool}:1.0.0");
    let run = ducc(directory.path(), &["expand-wildcard", &image, "-w", "young.yaml"]);
    let young = format!("- {tool}:1.1.0\n- {tool}:2.0.0-rc.1\n");
    assert_eq!(run.stdout, format!("images:\n- {image}\n{young}"), "{}", run.stderr);
    let run = ducc(directory.path(), &["expand-wildcard", &image, "-o", "out.yaml"]);
    assert_eq!((run.status, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    let written = fs::read_to_string(directory.path().join("out.yaml")).unwrap();
    assert_eq!(written, format!("images:\n- {image}\n"));
}

/// Whoever reads the file would take it for all images, and remove the others.
#[test]
fn nothing_is_written_if_an_entry_is_not_known() {
    let (directory, registry) = (tempfile::tempdir().unwrap(), Registry::start());
    let known = registry.name("org/tool:1.0.0");
    for (entry, part) in [
        (registry.name("org/missing:*"), "cannot tell which images"),
        (registry.name("org/empty:*"), "no tags at all"),
        ("ubuntu".to_owned(), "list.yaml:3:4: \"ubuntu\" is not an image"),
    ] {
        let text = format!("input:\n- '{known}'\n- '{entry}'\n");
        fs::write(directory.path().join("list.yaml"), text).unwrap();
        let run = ducc(directory.path(), &["expand-wildcard", "-w", "list.yaml", "-o", "out.yaml"]);
        assert_eq!(run.status, 1, "{entry}");
        assert!(run.stderr.contains(part), "{entry}: {}", run.stderr);
        assert!(run.stderr.contains("out.yaml is not written"), "{entry}: {}", run.stderr);
        assert!(!directory.path().join("out.yaml").exists(), "{entry}");
        let run = ducc(directory.path(), &["expand-wildcard", "-w", "list.yaml"]);
        assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{entry}");
        let run = ducc(directory.path(), &["expand-wildcard", "--lines", "-w", "list.yaml"]);
        assert_eq!((run.status, run.stdout), (1, format!("{known}\n")), "{entry}");
        let run = ducc(directory.path(), &["expand-wildcard", "--json", "-w", "list.yaml"]);
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!((run.status, &report["images"]), (1, &json!([known])), "{entry}");
        let error = report["errors"][0].as_str().unwrap();
        assert!(error.contains(part), "{entry}: {error}");
    }
}

#[test]
fn expand_wildcard_needs_something_and_prints_one_form() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["-o", "x"], &["r.io/a:1", "--json", "--lines"]] {
        let run = ducc(directory.path(), &[&["expand-wildcard"], arguments].concat());
        assert_eq!(run.status, 2, "{arguments:?}");
    }
}

#[test]
fn download_manifest_spells_as_go_does() {
    let (directory, registry) = (tempfile::tempdir().unwrap(), Registry::start());
    let original: Value = serde_json::from_str(&manifest(TAGS[0].1)).unwrap();
    let descriptor = |original: &Value| {
        json!({
            "MediaType": original["mediaType"],
            "Size": original["size"],
            "Digest": original["digest"],
        })
    };
    let expected = json!({
        "SchemaVersion": 2,
        "MediaType": original["mediaType"],
        "Config": descriptor(&original["config"]),
        "Layers": [descriptor(&original["layers"][0])],
    });
    for name in ["download-manifest", "get-manifest"] {
        let run = ducc(directory.path(), &[name, &registry.name("org/tool:1.0.0"), "x"]);
        assert_eq!(run.status, 0, "{}", run.stderr);
        assert_eq!(serde_json::from_str::<Value>(&run.stdout).unwrap(), expected);
        assert!(run.stdout.starts_with("{\n  \"SchemaVersion\": 2,\n"), "{}", run.stdout);
    }
    for image in
        [registry.name("org/tool:none"), registry.name("org/tool:1.*"), "r.io/a".to_owned()]
    {
        let run = ducc(directory.path(), &["download-manifest", &image]);
        assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{image}: {}", run.stderr);
    }
    let run = ducc(directory.path(), &["download-manifest", "-u", "robot", "r.io/a:1"]);
    assert!(run.status == 1 && run.stderr.contains("DUCC_OUTPUT_REGISTRY_PASS"), "{}", run.stderr);
}

/// Whatever a registry says: it must not command the terminal, nor forge a line.
#[test]
fn what_a_registry_says_is_shown_escaped() {
    let (directory, registry) = (tempfile::tempdir().unwrap(), Registry::start());
    let (image, pattern) = (registry.name("org/rude:1"), registry.name("org/rude:*"));
    let list = directory.path().join("list.yaml");
    fs::write(&list, format!("input:\n- '{image}'\n")).unwrap();
    let (list, place) = (list.to_str().unwrap(), directory.path().join("repository"));
    fs::create_dir(&place).unwrap();
    let (place, state) = (place.to_str().unwrap(), directory.path().to_str().unwrap());
    for arguments in [
        &["expand-wildcard", pattern.as_str()][..],
        &["expand-wildcard", "--json", &pattern],
        &["download-manifest", &image],
        &["convert-single-image", &image, place],
        &["convert-single-image", "--json", &image, place],
        &["convert", "--skip-thin-image", "--json", "--state", state, "--repository", place, list],
        &["convert", "--skip-thin-image", "--state", state, "--repository", place, list],
    ] {
        let run = ducc(directory.path(), arguments);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert_ne!(run.status, 0, "{arguments:?}: {said}");
        assert!(said.contains("no\\u001b[2J\\u009b2J\\u007f\\u202e"), "{arguments:?}: {said}");
        let bare = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!said.contains(bare), "{arguments:?}: {said}");
        assert!(!said.contains("\nducc: everything is done"), "{arguments:?}: {said}");
        if arguments.contains(&"--json") {
            let report: Value = serde_json::from_str(&run.stdout).unwrap();
            let words = RUDE.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(report.to_string().contains(&json!(words).to_string()[1..20]), "{report}");
        }
    }
}
