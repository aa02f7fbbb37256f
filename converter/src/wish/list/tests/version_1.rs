//! DUCC's lists.

use super::*;

#[test]
fn all_keys() {
    let list = sound(
        "version: 1
user: robot
cvmfs_repo: containers.example.org/sub/dir
output_format: '$(scheme)://registry.example.org/thin/$(image)'
input:
  - 'https://registry.hub.docker.com/library/debian:12'
  - https://quay.io/org/tool:v1.*
  - 'http://registry.example.org:5000/a/b:1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
ignoreErrors:
  - 'https://quay.io/org/*'
",
    );
    assert_eq!((list.version, list.complete), (1, true));
    assert_eq!(list.user.as_deref(), Some("robot"));
    assert_eq!(list.repository.as_deref(), Some("containers.example.org/sub/dir"));
    assert!(list.ignore_errors.covers("https://quay.io/org/tool:1"));
    assert!(!list.ignore_errors.covers("https://quay.io/other/tool:1"));
    let thin = "thin $(scheme)://registry.example.org/thin/$(image)";
    let digest = layer_layout::Digest::of(b"");
    assert_eq!(
        show(&list),
        [
            format!("6: https://registry.hub.docker.com/library/debian:12 {thin}"),
            format!("7: quay.io/org/tool [v1.*] {thin}"),
            format!("8: http://registry.example.org:5000/a/b:1@{digest} {thin}"),
        ]
    );
}

#[test]
fn what_ducc_reads_is_read() {
    let default = "thin $(scheme)://$(registry)/$(repository)_thin:$(tag)";
    for (text, entries) in [
        // Nothing but the images.
        ("input: ['r.io/a:1']\n", vec![format!("1: https://r.io/a:1 {default}")]),
        ("input: []\n", vec![]),
        // Keys without a value, numbers as texts, an explicit document, comments, aliases.
        ("user:\ncvmfs_repo: ~\noutput_format: ''\nignoreErrors:\ninput: []\n", vec![]),
        ("user: 12\ninput: []\n", vec![]),
        ("%YAML 1.1\n---\n# all\ninput: [] # none\n...\n", vec![]),
        (
            "cvmfs_repo: &x a.example\nuser: *x\ninput:\n- r.io/a:1\n",
            vec![format!("4: https://r.io/a:1 {default}")],
        ),
        (
            "{\"version\": 1, \"input\": [\"r.io/a:1\"]}",
            vec![format!("1: https://r.io/a:1 {default}")],
        ),
        ("input:\n- >-\n  r.io/a:1\n", vec![format!("3: https://r.io/a:1 {default}")]),
    ] {
        assert_eq!(show(&sound(text)), entries, "{text}");
    }
}

/// What is harmless is said, and the list counts.
#[test]
fn remarks() {
    let digest = layer_layout::Digest::of(b"");
    for (text, remarks) in [
        ("input: []\ncomment: x\n".to_owned(), vec!["2:1: remark: unknown key \"comment\""]),
        (
            "input:\n- r.io/a:1\n- r.io/b:1\n- https://r.io/a:1\n".to_owned(),
            vec!["4:3: remark: https://r.io/a:1 is in line 2 already"],
        ),
        (
            format!("input:\n- r.io/a@{digest}\n"),
            vec![
                "2:3: remark: the template \"$(scheme)://$(registry)/$(repository)_thin:$(tag)\" makes",
            ],
        ),
        (
            "output_format: x\ninput: []\n".to_owned(),
            vec!["1:16: remark: the template \"x\" makes \"x\", which no image can be called"],
        ),
        ("ignoreErrors: ['[']\ninput: []\n".to_owned(), vec!["1:16: remark: `[` without its `]`"]),
    ] {
        let Parsed { list, faults } = parse(text.as_bytes());
        assert!(list.unwrap().complete, "{text}");
        assert_eq!(faults.len(), remarks.len(), "{:?}", texts(&faults));
        for (fault, remark) in texts(&faults).iter().zip(remarks) {
            assert!(fault.starts_with(remark), "{fault}");
        }
    }
}
