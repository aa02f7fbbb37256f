use std::path::Path;
use std::sync::Arc;

use super::{Name, Place, Places, RegistriesConf, file};
use crate::source::error::ReferenceError;

fn conf(text: &str) -> RegistriesConf {
    let mut rules = Vec::new();
    file::add(&mut rules, Path::new("/etc/containers/registries.conf"), text).unwrap();
    RegistriesConf(Arc::new(rules))
}

/// Looks `registry/repository[:tag][@digest]` up.
fn places(conf: &RegistriesConf, name: &str) -> Result<Places, ReferenceError> {
    let (name, digest) = name.split_once('@').map_or((name, None), |(a, b)| (a, Some(b)));
    let (registry, path) = name.split_once('/').unwrap();
    let (repository, tag) = path.split_once(':').map_or((path, None), |(a, b)| (a, Some(b)));
    conf.places(Name { registry, repository, tag, digest })
}

/// All places in order, `!` for insecure ones.
fn shown(places: &Places) -> String {
    let show = |place: &Place| {
        let Place { host, repository, insecure } = place;
        format!("{}{host}/{repository}", if *insecure { "!" } else { "" })
    };
    let all = places.mirrors.iter().chain([&places.own]);
    all.map(show).collect::<Vec<_>>().join(" ")
}

/// The example of `containers-registries.conf(5)`, and more.
const EXAMPLE: &str = r#"
unqualified-search-registries = ["docker.io"]
short-name-mode = "enforcing"

[[registry]]
prefix = "example.com/foo"
insecure = false
blocked = false
location = "internal-registry-for-example.com/bar"

[[registry.mirror]]
location = "example-mirror-0.local/mirror-for-foo"

[[registry.mirror]]
location = "example-mirror-1.local/mirrors/foo/"
insecure = true
pull-from-mirror = "digest-only"

[[registry.mirror]]
location = "example-mirror-2.local"
pull-from-mirror = "tag-only"

[[registry]]
location = "example.com"

[[registry]]
location = "registry.example:5000"
insecure = true

[[registry]]
prefix = "*.example.org"
[[registry.mirror]]
location = "cache.example.net/org"

[[registry]]
prefix = "*.deep.example.org"
location = "deep.example.net"

[[registry]]
prefix = "evil.example"
blocked = true

[[registry]]
prefix = "evil.example/good"

[[registry]]
location = "docker.io"
mirror-by-digest-only = true
[[registry.mirror]]
location = "hub.local"

[[registry]]
prefix = "pinned.example/a:1"
location = "other.example/b:1"

[aliases]
"x" = "docker.io/library/x"
"#;

#[test]
fn where_an_image_is_looked_for() {
    let conf = conf(EXAMPLE);
    let digest = "sha256:aa";
    for (name, expected) in [
        // Nobody says anything about it.
        ("r.example/a/b:1", "r.example/a/b"),
        ("registry.example/a:1", "registry.example/a"),
        // Prefix, location, mirrors.
        (
            "example.com/foo/image:latest",
            "example-mirror-0.local/mirror-for-foo/image example-mirror-2.local/image \
             internal-registry-for-example.com/bar/image",
        ),
        (
            &format!("example.com/foo/image@{digest}"),
            "example-mirror-0.local/mirror-for-foo/image !example-mirror-1.local/mirrors/foo/image \
             internal-registry-for-example.com/bar/image",
        ),
        // Whole components only, and the longest prefix.
        ("example.com/food:1", "example.com/food"),
        ("example.com/x/foo:1", "example.com/x/foo"),
        ("example.com.evil.net/foo:1", "example.com.evil.net/foo"),
        ("example.com:5000/foo:1", "example.com:5000/foo"),
        ("registry.example:5000/a:1", "!registry.example:5000/a"),
        // Wildcards.
        ("a.example.org/x/y:1", "cache.example.net/org/x/y a.example.org/x/y"),
        ("a.b.example.org/x:1", "cache.example.net/org/x a.b.example.org/x"),
        ("example.org/x:1", "example.org/x"),
        ("aexample.org/x:1", "aexample.org/x"),
        ("evil.net/a.example.org/x:1", "evil.net/a.example.org/x"),
        ("a.example.org.evil.net/x:1", "a.example.org.evil.net/x"),
        ("a.deep.example.org/x:1", "deep.example.net/x"),
        // Docker Hub by all its names; the name stays as written.
        ("docker.io/library/a:1", "docker.io/library/a"),
        (&format!("docker.io/library/a@{digest}"), "hub.local/library/a docker.io/library/a"),
        (
            &format!("registry.hub.docker.com/library/a@{digest}"),
            "hub.local/library/a registry.hub.docker.com/library/a",
        ),
        ("evil.example/good/a:1", "evil.example/good/a"),
        ("pinned.example/a:1", "other.example/b"),
        ("pinned.example/a:2", "pinned.example/a"),
    ] {
        assert_eq!(shown(&places(&conf, name).unwrap()), expected, "{name}");
    }
    let error = places(&conf, "evil.example/a:1").unwrap_err();
    assert_eq!(error.to_string(), "/etc/containers/registries.conf blocks it");
    // The whole repository was the prefix, and a host alone takes its place.
    let error = places(&conf, "example.com/foo:1").unwrap_err();
    assert!(matches!(error, ReferenceError::NoRepository { location, .. }
        if location == "example-mirror-2.local"));
}

#[test]
fn files_that_are_wrong() {
    for (text, part) in [
        ("[[registry]]\nlocation = 5", "line 2"),
        ("registry = 5", "not a registries.conf"),
        ("[registries.search]\nregistries = []", "version 1"),
        ("[[registry]]\ninsecure = true", "neither prefix nor location"),
        ("[[registry]]\nlocation = \"https://a\"", "scheme"),
        ("[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\ninsecure = true", "location"),
        ("[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\nlocation = \"\"", "mirror without"),
        ("[[registry]]\nprefix = \"a.*\"", "elsewhere than in *.domain"),
        ("[[registry]]\nprefix = \"a\"\nlocation = \"*.b\"", "* in a location"),
        (
            "[[registry]]\nlocation = \"a\"\nmirror-by-digest-only = true\n[[registry.mirror]]\n\
             location = \"b\"\npull-from-mirror = \"all\"",
            "both mirror-by-digest-only",
        ),
        (
            "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\nlocation = \"b\"\n\
             pull-from-mirror = \"never\"",
            "never",
        ),
    ] {
        let error = file::add(&mut Vec::new(), Path::new("/x.conf"), text).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("/x.conf"), "{text}: {error}");
    }
}

#[test]
fn later_files_replace_rules() {
    let directory = tempfile::tempdir().unwrap();
    let main = directory.path().join("registries.conf");
    assert_eq!(RegistriesConf::from_files(&main).unwrap().0.len(), 0);
    assert!(RegistriesConf::from_file(&main).is_err());
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let rule = |prefix: &str, location: &str| {
        format!("[[registry]]\nprefix = \"{prefix}\"\nlocation = \"{location}\"\n")
    };
    write("registries.conf", &(rule("a", "main") + &rule("b", "main")));
    write("registries.conf.d/20.conf", &rule("b", "late"));
    write("registries.conf.d/10.conf", &(rule("b", "early") + &rule("c", "early")));
    write("registries.conf.d/30.conf.bak", "broken");
    let conf = RegistriesConf::from_files(&main).unwrap();
    for (name, expected) in [("a/x:1", "main/x"), ("b/x:1", "late/x"), ("c/x:1", "early/x")] {
        assert_eq!(shown(&places(&conf, name).unwrap()), expected);
    }
    // A file that is named is read alone.
    let conf = RegistriesConf::from_file(&main).unwrap();
    assert_eq!(shown(&places(&conf, "c/x:1").unwrap()), "c/x");
}
