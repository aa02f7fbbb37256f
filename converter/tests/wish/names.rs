//! `check-image-syntax` and `version`.

use super::ducc;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn check_image_syntax_prints_duccs_table() {
    let directory = tempfile::tempdir().unwrap();
    let expected = "\
+------------+-------------------------------+
|    KEY     |             VALUE             |
+------------+-------------------------------+
| Name       | https://gitlab.cern.ch/a/b:v4 |
| User       |                               |
| Scheme     | https                         |
| Registry   | gitlab.cern.ch                |
| Repository | a/b                           |
| Tag        | v4                            |
| Digest     |                               |
| IsThin     | false                         |
+------------+-------------------------------+
";
    for name in ["check-image-syntax", "check-image", "image-check"] {
        // Only the first image counts.
        let run = ducc(directory.path(), &[name, "gitlab.cern.ch/a/b:v4", "x"]);
        assert_eq!((run.status, run.stdout.as_str()), (0, expected), "{name}: {}", run.stderr);
    }
}

#[test]
fn check_image_syntax_prints_duccs_csv() {
    let directory = tempfile::tempdir().unwrap();
    for (image, line) in [
        (
            format!("https://gitlab.cern.ch/foo/test/bar:v4@{D}"),
            format!(
                "https://gitlab.cern.ch/foo/test/bar:v4@{D},,https,gitlab.cern.ch,foo/test/bar,v4,{D},false"
            ),
        ),
        (
            "http://r.io:5000/a:1".to_owned(),
            "http://r.io:5000/a:1,,http,r.io:5000,a,1,,false".to_owned(),
        ),
        (format!("r.io/a@{D}"), format!("https://r.io/a@{D},,https,r.io,a,,{D},false")),
        ("r.io/a:v1.*".to_owned(), "https://r.io/a:v1.*,,https,r.io,a,v1.*,,false".to_owned()),
    ] {
        for flag in ["-z", "--machine-friendly"] {
            let run = ducc(directory.path(), &["check-image-syntax", flag, &image]);
            let expected =
                format!("name,user,scheme,registry,repository,tag,digest,is_thin\n{line}\n");
            assert_eq!((run.status, run.stdout), (0, expected), "{image}: {}", run.stderr);
        }
    }
}

#[test]
fn what_is_no_image_has_status_1_and_what_is_no_command_line_2() {
    let directory = tempfile::tempdir().unwrap();
    for image in ["ubuntu:22.04", "r.io/a", "ftp://r.io/a:1", ""] {
        let run = ducc(directory.path(), &["check-image-syntax", "-z", image]);
        assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{image}");
        assert!(run.stderr.contains("invalid image reference"), "{image}: {}", run.stderr);
    }
    assert_eq!(ducc(directory.path(), &["check-image-syntax"]).status, 2);
}

#[test]
fn version_is_one_line() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["version", "v"] {
        let run = ducc(directory.path(), &[name]);
        assert_eq!((run.status, run.stdout), (0, format!("{}\n", env!("CARGO_PKG_VERSION"))));
    }
}

#[test]
fn programs_get_the_parts_of_a_name() {
    let directory = tempfile::tempdir().unwrap();
    for (image, status, expected) in [
        (
            "http://r.io:5000/a/b:1.*",
            0,
            serde_json::json!({
                "name": "http://r.io:5000/a/b:1.*",
                "scheme": "http",
                "registry": "r.io:5000",
                "repository": "a/b",
                "tag": "1.*",
                "is_pattern": true,
            }),
        ),
        ("", 1, serde_json::Value::Null),
    ] {
        let run = ducc(directory.path(), &["check-image-syntax", "--json", image]);
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(run.status, status, "{image}: {}", run.stderr);
        match status {
            0 => assert_eq!(report, expected),
            _ => assert!(report["error"].is_string(), "{report}"),
        }
    }
}
