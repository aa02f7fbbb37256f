//! What is wrong, where, and what it costs.

use proptest::prelude::*;

use super::*;

/// Text, faults, and the entries that are left; `None` if the list cannot be used.
type Case<'a> = (&'a str, &'a [&'a str], Option<&'a [&'a str]>);

fn check(cases: &[Case<'_>]) {
    for (text, expected, entries) in cases {
        let Parsed { list, faults } = parse(text.as_bytes());
        let faults = texts(&faults);
        assert_eq!(faults.len(), expected.len(), "{text}: {faults:#?}");
        for (fault, expected) in faults.iter().zip(*expected) {
            assert!(fault.starts_with(expected), "{text}: {fault} instead of {expected}");
        }
        let shown = list.as_ref().map(|list| {
            assert!(!list.complete, "{text}");
            let names = list.entries.iter().map(|entry| entry.images.reference().to_string());
            names.map(|name| name.replace("https://", "")).collect::<Vec<_>>()
        });
        assert_eq!(
            shown.as_deref(),
            entries.map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>()).as_deref(),
            "{text}"
        );
    }
}

#[test]
fn lists_that_cannot_be_used() {
    check(&[
        ("", &["1:1: the list is empty"], None),
        ("# nothing\n", &["1:1: the list is empty"], None),
        (
            "- r.io/a:1\n",
            &["1:1: a wish list has to be a mapping of keys to values, not a list"],
            None,
        ),
        ("input: [a\n", &["1:8: this is not YAML"], None),
        ("version: 1\n", &["1:1: the key \"input\" is missing; write `input: []`"], None),
        (
            "input:\n",
            &["1:6: input has to be a list (`input: []` if nothing is wished for), not nothing"],
            None,
        ),
        ("input: r.io/a:1\n", &["1:8: input has to be a list"], None),
        (
            "version: 3\ninput: []\n",
            &["1:10: version 3 is unknown; this program reads 1 and 2"],
            None,
        ),
        ("version: one\ninput: []\n", &["1:10: version has to be 1 or 2, not `one`"], None),
        (
            "version: '2'\ninput: []\n",
            &["1:10: version has to be 1 or 2, not the text \"2\""],
            None,
        ),
        // A slip in a key may be all there is to a list that seems empty.
        (
            "inptu:\n- r.io/a:1\n",
            &[
                "1:1: unknown key \"inptu\"; did you mean \"input\"?",
                "1:1: the key \"input\" is missing",
            ],
            None,
        ),
        (
            "input: []\noutput-format: x\n",
            &["2:1: unknown key \"output-format\"; did you mean \"output_format\"?"],
            None,
        ),
        ("input: []\ndefaults: {}\n", &["2:1: the key \"defaults\" needs `version: 2`"], None),
        ("version: 2\ninput: []\ncomment: x\n", &["3:1: unknown key \"comment\""], None),
        (
            "input: []\nuser: [a]\ncvmfs_repo: {}\n",
            &[
                "2:7: user has to be a text, not a list",
                "3:13: cvmfs_repo has to be a text, not a mapping",
            ],
            None,
        ),
        (
            "input: []\nuser: a\ninput: []\n",
            &["3:1: the key \"input\" is here for the second time; the first is in line 1"],
            None,
        ),
        ("input: []\n? [a]\n: b\n", &["2:3: a key has to be a text, not a list"], None),
        (
            "input: []\nignoreErrors: {a: b}\n",
            &["2:15: ignoreErrors has to be a text or a list of texts, not a mapping"],
            None,
        ),
        // In version 2, what is wrong with `defaults` is wrong with all images.
        (
            "version: 2
output_format: $(registry)/$(nam):$(tag)
ignoreErrors: ['[']
defaults:
  platform: all
  flat: yes
  priority: high
  tags: {newest: 0, max_age: 90, glob: [], semver: '>=1 <2', oldest: 1}
  thin: true
  credentials: a b
  platforms: [linux/amd64, 'linux/']
  exclude: {}
input: []
",
            &[
                "2:16: $(nam) is no variable; there are $(scheme), $(registry)",
                "3:16: `[` without its `]`",
                "5:3: unknown key \"platform\"; did you mean \"platforms\"?",
                "6:9: flat has to be true or false, not `yes`",
                "7:13: priority has to be a whole number, not `high`",
                "8:18: newest has to be a number above 0, not `0`",
                "8:30: \"90\" is no age: expected a number above 0 and h, d, w or y",
                "8:40: glob has to be at least one pattern, not a list",
                "8:52: \">=1 <2\" is not a range of versions",
                "8:62: unknown key \"oldest\"",
                "9:9: thin has to be a template or false, not `true`",
                "10:16: credentials has to be a name",
                "11:28: invalid platform \"linux/\"",
                "12:12: exclude has to be a text or a list of texts, not a mapping",
            ],
            None,
        ),
    ]);
}

#[test]
fn a_bad_entry_does_not_lose_the_others() {
    check(&[
        (
            "input:\n- r.io/a:1\n- ubuntu:22.04\n- r.io/b:1\n- 'r.io/UP:1'\n-\n- [r.io/c:1]\n- image: r.io/d:1\n- r.io/e:1\n",
            &[
                "3:3: \"ubuntu:22.04\" is not an image: expected registry/repository:tag",
                "5:9: \"r.io/UP:1\" is not an image: character 'U' is not allowed in a repository",
                "6:2: an entry of `input` has to be the name of an image, not nothing",
                "7:3: an entry of `input` has to be the name of an image, not a list",
                "8:3: an entry of `input` has to be the name of an image (mappings need `version: 2`), not a mapping",
            ],
            Some(&["r.io/a:1", "r.io/b:1", "r.io/e:1"]),
        ),
        (
            "input: ['', 'r.io/a', 'oci:dir']\n",
            &[
                "1:10: \"\" is not an image",
                "1:20: \"r.io/a\" is not an image: expected `:tag`",
                "1:24: \"oci:dir\" is not an image",
            ],
            Some(&[]),
        ),
        (
            "version: 2
input:
  - r.io/a:1
  - r.io/b
  - image: r.io/c:1
    tags: '*'
    exclude: x
  - image: r.io/d:1.*
    tags: {glob: '2.*'}
  - image: r.io/e
    tags: {}
  - imag: r.io/f:1
  - image: r.io/g:1
    image: r.io/h:1
  - image: r.io/i:1
    flat: 1
    priority: 1.5
  - image: [r.io/j:1]
  - image: ubuntu
    tags: '*'
  - 7
  - image: r.io/k:*
    platforms: []
    thin: r.io/$(repository)
  - r.io/z:1
",
            &[
                "4:11: \"r.io/b\" is not an image: expected `:tag`, `@sha256:…` or the key `tags`",
                "6:5: \"tags\" chooses among tags, but r.io/c:1 has one already",
                "7:5: \"exclude\" chooses among tags, but r.io/c:1 has one already",
                "8:12: https://r.io/d:1.* has a pattern already",
                "10:18: \"r.io/e\" is not an image",
                "11:11: tags has to be a pattern, a list or a mapping, not a mapping",
                "12:5: unknown key \"imag\"; did you mean \"image\"?",
                "12:5: the key \"image\" is missing",
                "14:5: the key \"image\" is here for the second time; the first is in line 13",
                "16:11: flat has to be true or false, not `1`",
                "17:15: priority has to be a whole number, not `1.5`",
                "18:12: image has to be the name of an image, not a list",
                "19:12: \"ubuntu\" is not an image",
                "21:5: \"7\" is not an image",
                "23:16: platforms has to be host, all or at least one platform, not a list",
                "24:11: the template \"r.io/$(repository)\" makes",
            ],
            Some(&["r.io/a:1", "r.io/z:1"]),
        ),
    ]);
}

#[test]
fn a_pattern_with_a_digest_is_no_image() {
    let digest = layer_layout::Digest::of(b"");
    for version in [1, 2] {
        let text = format!("version: {version}\ninput: ['r.io/a:*@{digest}']\n");
        let faults = texts(&parse(text.as_bytes()).faults);
        assert!(faults[0].contains("has a pattern and a digest"), "{faults:?}");
    }
}

/// Pieces of lists, so that chance finds its way into them.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "version: 1",
        "version: 2",
        "input:",
        "  - ",
        "- ",
        "defaults:",
        "image: ",
        "tags: ",
        "{",
        "}",
        "[",
        "]",
        ": ",
        ", ",
        "\n",
        "\n  ",
        "\n    ",
        "'",
        "\"",
        "r.io/a:1",
        "r.io/a:*",
        "r.io/a",
        "&a ",
        "*a",
        "!x ",
        "|",
        ">-",
        "? ",
        "---",
        "...",
        "#",
        "é",
        "\u{feff}",
        "\t",
        "glob",
        "semver: '>=1'",
        "newest: 1",
        "max_age: 1d",
        "thin: ",
        "$(tag)",
        "$(",
        "false",
        "<<: ",
        "%YAML 1.2",
        "\\",
        "\0",
        "output_format: ",
        "ignoreErrors: ",
    ];
    prop_oneof![
        4 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        1 => ".{0,6}",
    ]
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(pieces in prop::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        let Parsed { list, faults } = parse(text.as_bytes());
        prop_assert!(list.is_some() || !faults.is_empty(), "{text:?} is neither good nor bad");
        // YAML ends lines with either.
        let lines = text.matches(['\n', '\r']).count() + 1;
        for fault in faults {
            prop_assert!(fault.at.line <= lines && fault.at.column >= 1, "{fault} in {text:?}");
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let Parsed { list, faults } = parse(&bytes);
        prop_assert!(list.is_some() || !faults.is_empty());
    }
}
