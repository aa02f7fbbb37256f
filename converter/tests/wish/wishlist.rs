//! `wishlist check`.

use std::fs;

use serde_json::{Value, json};

use super::ducc;

#[test]
fn all_faults_of_all_lists_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("good.yaml", "cvmfs_repo: x.example.org\ninput:\n- r.io/a:1\ncomment: x\n");
    write("bad.yaml", "input:\n- r.io/a:1\n- ubuntu\n- r.io/B:1\n");
    write("broken.yaml", "inptu: []\n");
    let run = ducc(directory.path(), &["wishlist", "check", "good.yaml"]);
    let expected = "good.yaml:4:1: remark: unknown key \"comment\"\ngood.yaml: sound, 1 entries\n";
    assert_eq!((run.status, run.stdout.as_str()), (0, expected), "{}", run.stderr);

    let lists = ["good.yaml", "bad.yaml", "broken.yaml", "none.yaml"];
    let run = ducc(directory.path(), &[&["wishlist", "check"][..], &lists].concat());
    assert_eq!(run.status, 1);
    let lines: Vec<_> = run.stdout.lines().skip(2).collect();
    for (line, expected) in lines.iter().zip([
        "bad.yaml:3:3: \"ubuntu\" is not an image: expected registry/repository:tag",
        "bad.yaml:4:8: \"r.io/B:1\" is not an image: character 'B'",
        "broken.yaml:1:1: unknown key \"inptu\"; did you mean \"input\"?",
        "broken.yaml:1:1: the key \"input\" is missing",
        "cannot read the wish list none.yaml: cannot read none.yaml: No such file",
    ]) {
        assert!(line.starts_with(expected), "{line} instead of {expected}");
    }
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert!(run.stderr.contains("3 of 4 wish lists have to be mended"), "{}", run.stderr);
}

#[test]
fn json_says_the_same() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("bad.yaml"), "cvmfs_repo: x\ninput: [ubuntu]\n").unwrap();
    let run = ducc(directory.path(), &["wishlist", "check", "--json", "bad.yaml", "none.yaml"]);
    assert_eq!(run.status, 1);
    let mut report: Value = serde_json::from_str(&run.stdout).unwrap();
    let problem = report["lists"][0]["faults"][0]["problem"].take();
    assert!(problem.as_str().unwrap().starts_with("\"ubuntu\" is not an image"), "{problem}");
    let error = report["lists"][1]["error"].take();
    assert!(error.as_str().unwrap().contains("No such file"), "{error}");
    let fault = json!({"line": 2, "column": 9, "severity": "entry", "problem": null});
    let bad = json!({"list": "bad.yaml", "sound": false, "entries": 0, "cvmfs_repo": "x", "faults": [fault]});
    let none = json!({"list": "none.yaml", "sound": false, "faults": [], "error": null});
    assert_eq!(report, json!({"lists": [bad, none]}));
}

#[test]
fn what_is_no_place_for_a_list_is_a_usage_error() {
    let directory = tempfile::tempdir().unwrap();
    let run = ducc(directory.path(), &["wishlist", "check", "git+https://h/r"]);
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("expected // and the path of the list"), "{}", run.stderr);
}

/// The lists in the documentation are sound.
#[test]
fn the_examples_in_the_documentation_are_sound() {
    let directory = tempfile::tempdir().unwrap();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wish-lists.md");
    let page = fs::read_to_string(page).unwrap();
    let examples: Vec<_> = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("```")?.0))
        .filter(|example| example.contains("input:"))
        .collect();
    assert!(examples.len() >= 2, "{examples:?}");
    for example in examples {
        fs::write(directory.path().join("example.yaml"), example).unwrap();
        let run = ducc(directory.path(), &["wishlist", "check", "example.yaml"]);
        assert_eq!((run.status, run.stdout.lines().count()), (0, 1), "{example}\n{}", run.stdout);
    }
}
