//! The schema for editors says what the parser says.

use serde_json::Value as Json;

use super::*;

const SCHEMA: &str = include_str!("../../../../../docs/wish-list.schema.json");

/// Who finds a fault in a list.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Finds {
    /// Nobody, there is none.
    Nobody,
    /// Parser and schema.
    Both,
    /// The parser alone: a schema sees no text, no other place in the list, and no grammar.
    Parser,
}

#[test]
fn the_schema_says_what_the_parser_says() {
    use Finds::{Both, Nobody, Parser};
    let schema: Json = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let digest = layer_layout::Digest::of(b"").to_string();
    let one = |version: u8, entry: &str| format!("version: {version}\ninput:\n  - {entry}\n");
    let first = |entry: &str| format!("output_format: r.io/t:$(tag)x\ninput: [{entry:?}]\n");
    let second = |entry: &str| one(2, entry);
    let defaults = |text: &str| format!("version: 2\ninput: []\ndefaults: {text}\n");
    let mut cases: Vec<(String, Finds)> = Vec::new();

    // Images are images in both versions.
    for (image, finds) in [
        ("r.io/a:1", Nobody),
        ("https://r.io/a:1", Nobody),
        ("http://r.io:5000/a/b-c/d__e:v1.*", Nobody),
        ("[::1]:5000/a:1", Nobody),
        ("r.io/a:*", Nobody),
        ("r.io/a:1@D", Nobody),
        ("ubuntu", Both),
        ("ubuntu:22.04", Both),
        ("r.io/A:1", Both),
        ("ftp://r.io/a:1", Both),
        ("r.io/a:1?x", Both),
        ("r.io/a:.x", Both),
        ("r.io/*:1", Both),
        ("r.io/a:*@D", Both),
        ("r.io/a@sha256:12", Both),
        ("r.io/a:1 ", Both),
        ("", Both),
        ("r.io:70000/a:1", Parser),
        ("r..io/a:1", Parser),
        ("[1:2]/a:1", Parser),
    ] {
        let image = image.replace('D', &digest);
        cases.push((first(&image), finds));
        cases.push((second(&format!("{image:?}")), finds));
        cases.push((second(&format!("image: {image:?}")), finds));
    }
    cases.extend(
        [
            // The top of version 1.
            ("input: []", Nobody),
            ("version: 1\nuser: a\ncvmfs_repo: b\noutput_format: ''\nignoreErrors: []\ninput: []", Nobody),
            ("user:\ncvmfs_repo:\noutput_format:\nignoreErrors:\ninput: []", Nobody),
            ("user: 1\ncvmfs_repo: 1.5\nignoreErrors: true\ninput: []", Nobody),
            ("version: 1", Both),
            ("input:", Both),
            ("input: r.io/a:1", Both),
            ("version: 3\ninput: []", Both),
            ("version: '1'\ninput: []", Both),
            ("version:\ninput: []", Both),
            ("comment: x\ninput: []", Both),
            ("user: [a]\ninput: []", Both),
            ("defaults: {}\ninput: []", Both),
            ("input: [{image: 'r.io/a:1'}]", Both),
            ("input: [1]", Both),
            ("output_format: $(name)\ninput: []", Both),
            ("output_format: x\ninput: []", Parser),
            ("ignoreErrors: ['[']\ninput: []", Parser),
            ("ignoreErrors: ['']\ninput: []", Both),
            ("input: [r.io/a:1, r.io/a:1]\noutput_format: r.io/t:$(tag)", Parser),
            // The top of version 2.
            ("version: 2\ninput: []", Nobody),
            ("version: 2\nuser: a\ncvmfs_repo: b\noutput_format: r.io/$(image)\nignoreErrors: x\ninput: []", Nobody),
            ("version: 2\nuser:\ninput: []", Both),
            ("version: 2\nignoreErrors:\ninput: []", Both),
            ("version: 2\noutput_format: 1\ninput: []", Both),
            ("version: 2\ncomment: x\ninput: []", Both),
            ("version: 2\ninput: [7]", Both),
            ("version: 2\ninput: [[r.io/a:1]]", Both),
            ("version: 2\ninput: [null]", Both),
            // A tag may come from the defaults, which an entry's schema does not see.
            ("version: 2\ninput: [r.io/a]\ndefaults: {tags: '*'}", Nobody),
            ("version: 2\ninput: [r.io/a]", Parser),
        ]
        .map(|(text, finds)| (text.to_owned(), finds)),
    );
    for (settings, finds) in [
        ("{}", Nobody),
        ("[]", Both),
        ("{platforms: all}", Nobody),
        ("{platforms: host}", Nobody),
        ("{platforms: arm64}", Nobody),
        ("{platforms: [linux/amd64, linux/arm/v7]}", Nobody),
        ("{platforms: [all]}", Both),
        ("{platforms: []}", Both),
        ("{platforms: 'linux/'}", Both),
        ("{platforms: a/b/c/d}", Both),
        ("{platforms: {a: b}}", Both),
        ("{exclude: '*-rc*'}", Nobody),
        ("{exclude: [a, 1.2, 3]}", Nobody),
        ("{exclude: []}", Nobody),
        ("{exclude: ''}", Both),
        ("{exclude: [[a]]}", Both),
        ("{exclude: '['}", Parser),
        ("{tags: '1.*'}", Nobody),
        ("{tags: [1.2, '2.*']}", Nobody),
        ("{tags: {glob: '*', semver: '>=1.2, <3', newest: 3, max_age: 90d}}", Nobody),
        ("{tags: {semver: 1}}", Nobody),
        ("{tags: []}", Both),
        ("{tags: {}}", Both),
        ("{tags: null}", Both),
        ("{tags: {glob: []}}", Both),
        ("{tags: {newest: 0}}", Both),
        ("{tags: {newest: 1.5}}", Both),
        ("{tags: {newest: '1'}}", Both),
        ("{tags: {max_age: 90}}", Both),
        ("{tags: {max_age: 0d}}", Both),
        ("{tags: {max_age: 90 days}}", Both),
        ("{tags: {oldest: 1}}", Both),
        ("{tags: {semver: new}}", Parser),
        ("{credentials: team-a}", Nobody),
        ("{credentials: 7}", Nobody),
        ("{credentials: a b}", Both),
        ("{credentials: ''}", Both),
        ("{credentials: null}", Both),
        ("{thin: false}", Nobody),
        ("{thin: 'r.io/$(image)'}", Nobody),
        ("{thin: true}", Both),
        ("{thin: ''}", Both),
        ("{thin: 'r.io/$(nam):1'}", Both),
        ("{thin: 'r.io/a'}", Parser),
        ("{flat: true}", Nobody),
        ("{flat: 'true'}", Both),
        ("{flat: yes}", Both),
        ("{flat: 1}", Both),
        ("{priority: -7}", Nobody),
        ("{priority: 1.5}", Both),
        ("{priority: '1'}", Both),
        ("{priority: 2147483648}", Both),
        ("{priorty: 1}", Both),
    ] {
        cases.push((defaults(settings), finds));
        // The same settings for one image that stands for several, unless they are not a mapping.
        if let Some(inner) = settings.strip_prefix('{').filter(|inner| *inner != "}") {
            let tags = if inner.starts_with("tags") { "" } else { ", tags: '*'" };
            let inner = inner.trim_end_matches('}').to_owned()
                + &"}".repeat(inner.matches('}').count() - 1);
            cases.push((second(&format!("{{image: r.io/a{tags}, {inner}}}")), finds));
        }
    }
    cases.extend([
        (second("{image: r.io/a:1, tags: '*'}"), Both),
        (second("{image: r.io/a:1, exclude: x}"), Both),
        (second("{image: 'r.io/a:*', exclude: x}"), Nobody),
        (second("{image: 'r.io/a:*', tags: x}"), Parser),
        (second("{flat: true}"), Both),
        (second("{image: r.io/a:1, imag: x}"), Both),
    ]);

    for (text, finds) in cases {
        let parsed = parse(text.as_bytes());
        let node = yaml::parse(text.as_bytes()).unwrap().unwrap();
        let by_parser = !parsed.faults.is_empty();
        let by_schema = !validator.is_valid(&json(&node));
        let found = match (by_parser, by_schema) {
            (false, false) => Nobody,
            (true, true) => Both,
            (true, false) => Parser,
            (false, true) => panic!("only the schema refuses:\n{text}"),
        };
        assert_eq!(found, finds, "{text}\n{:#?}", texts(&parsed.faults));
    }
}

/// Every key that the parser knows is in the schema, and the other way round.
#[test]
fn the_schema_has_the_parsers_keys() {
    let schema: Json = serde_json::from_str(SCHEMA).unwrap();
    let keys = |pointer: &str| {
        let mut keys: Vec<String> =
            schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let sorted = |keys: &[&str]| {
        let mut keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys("/else/properties"), sorted(&KEYS_1));
    assert_eq!(keys("/then/properties"), sorted(&KEYS_2));
    assert_eq!(keys("/then/properties/defaults/properties"), sorted(&settings::KEYS));
    let entry: Vec<&str> = std::iter::once("image").chain(settings::KEYS).collect();
    assert_eq!(keys("/definitions/entry_2/anyOf/1/properties"), sorted(&entry));
}

/// What an editor sees: YAML's core schema (YAML 1.2.2, section 10.3).
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::List(nodes) => nodes.iter().map(json).collect(),
        Value::Map(pairs) => {
            let key = |key: &Node| match &key.value {
                Value::Text(text) => text.text.clone(),
                other => panic!("{other:?} is no key"),
            };
            Json::Object(pairs.iter().map(|(name, value)| (key(name), json(value))).collect())
        }
        Value::Text(text) => match text.text.as_str() {
            "true" | "True" | "TRUE" if text.plain => Json::Bool(true),
            "false" | "False" | "FALSE" if text.plain => Json::Bool(false),
            number
                if text.plain && number.starts_with(|c: char| c.is_ascii_digit() || c == '-') =>
            {
                serde_json::from_str(number).unwrap_or_else(|_| Json::String(number.to_owned()))
            }
            other => Json::String(other.to_owned()),
        },
    }
}
