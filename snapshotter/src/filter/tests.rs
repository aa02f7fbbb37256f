use super::*;
use crate::snapshot::{SnapshotKind, Timestamp};

fn info() -> Info {
    let labels =
        [("a.b", "1"), ("containerd.io/snapshot.ref", "sha256:abc"), ("odd", "a,\"\n/|\u{e9}")];
    Info {
        name: "k8s.io/17/extract sha256:1".to_owned(),
        parent: String::new(),
        kind: SnapshotKind::Active,
        created: Timestamp(0),
        updated: Timestamp(0),
        labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    }
}

#[test]
fn matching() {
    for (filter, expected) in [
        ("", true),
        // presence
        ("name", true),
        ("parent", true),
        ("kind", true),
        ("labels", false),
        ("labels.a.b", true),
        ("labels.\"a.b\"", true),
        ("labels.a", false),
        ("nosuch", false),
        ("\"name\"", true),
        // equality
        ("kind==active", true),
        ("kind==Active", false),
        ("kind!=view", true),
        ("parent==\"\"", true),
        ("parent!=\"\"", false),
        ("name==\"k8s.io/17/extract sha256:1\"", true),
        ("labels.\"containerd.io/snapshot.ref\"==sha256:abc", true),
        ("labels.\"containerd.io/snapshot.ref\"==sha256:abc,parent==\"\"", true),
        ("labels.\"containerd.io/snapshot.ref\"==sha256:abc,parent==x", false),
        ("labels.a.b==1", true),
        ("labels.a.b==\"1\"", true),
        ("labels.a.b!=2", true),
        // absent fields
        ("labels.none==x", false),
        ("labels.none==\"\"", false),
        ("labels.none!=x", true),
        ("labels.none!=\"\"", true),
        ("labels.none~=/^$/", true),
        ("labels.none~=/./", false),
        // regular expressions: unanchored, a broken one matches nothing
        ("name~=extract", true),
        ("name~=/^k8s.io/", true),
        ("name~=|^k8s.io/|", true),
        ("name~=/^k8s.io\\/17\\/extract/", true),
        ("name~=\"^k8s.io/17\"", true),
        ("name~=^k8s", true),
        ("name~=(", false),
        ("name~=/[/", false),
        // white space between tokens
        ("  kind ==  active,  name", true),
        // quoting
        ("labels.odd==\"a,\\\"\\n/|\\u00e9\"", true),
        ("labels.odd==\"a,\\\"\\n/|\\303\\251\"", true),
        ("labels.odd==\"a,\\\"\\x0a/|\\U000000e9\"", true),
        ("labels.a.b==\"\\061\"", true),
        ("labels.a.b=='1'", false),
        ("labels.a.b==\"\\xff\"", false),
        ("kind==a=b", false),
    ] {
        let filters = Filters::parse(&[filter]).unwrap();
        assert_eq!(filters.matches(&info()), expected, "{filter}");
    }
}

#[test]
fn any_of_several() {
    assert!(Filters::parse::<&str>(&[]).unwrap().matches(&info()));
    assert!(Filters::parse(&["kind==view", "kind==active"]).unwrap().matches(&info()));
    assert!(Filters::parse(&["kind==view", ""]).unwrap().matches(&info()));
    assert!(!Filters::parse(&["kind==view", "name==x"]).unwrap().matches(&info()));
}

#[test]
fn errors_show_where() {
    for (filter, at) in [
        ("a=b", 1),
        ("a===b", 1),
        ("a==", 3),
        ("==b", 0),
        (",", 0),
        ("a,", 2),
        ("a==b,", 5),
        ("a==b,,c", 5),
        ("a==b c", 4),
        ("a==b ", 4),
        ("a ", 2),
        ("a b", 2),
        ("a.==b", 2),
        (".a", 0),
        ("labels.a/b==c", 8),
        ("labels.a-b", 8),
        ("a==/x/", 3),
        ("a==|x|", 3),
        ("/a/==b", 0),
        ("a==\"x", 5),
        ("a==\"x\ny\"", 5),
        ("a==\"\\'\"", 4),
        ("a~=/\\d/", 4),
        ("a~=/\\\"/", 4),
        ("a==\"\\8\"", 4),
        ("a==\"\\61\"", 4),
        ("a==\"\\400\"", 4),
        ("a==\"\\x4\"", 4),
        ("a==\"\\U00110000\"", 4),
        ("a==\"\\", 4),
        ("name~=/^k8s.io/x", 15),
        ("a==\0", 3),
        (" ", 1),
    ] {
        let error = Filters::parse(&["name", filter]).unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
        let message = error.to_string();
        assert!(message.contains(&format!("at byte {at}:")), "{filter:?}: {message}");
    }
}

#[test]
fn the_parent_of_what_containerd_asks() {
    let asked = "labels.\"containerd.io/snapshot.ref\"==sha256:abc,parent==\"ns/1/x y\"";
    for (filters, expected) in [
        (&[asked][..], Some("ns/1/x y")),
        (&[], None),
        (&["name==a"], None),
        (&["parent!=a"], None),
        (&["parent==a", "name==b"], None),
    ] {
        assert_eq!(Filters::parse(filters).unwrap().parent(), expected);
    }
}
