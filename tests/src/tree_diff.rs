//! How two trees differ, in human-readable lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use anyhow::{Result, bail};

use crate::tree::{Facts, Tree};

/// Lines in a message, after which further differences are only counted.
const MAX_LINES: usize = 40;

/// One line for each fact in which the trees differ.
pub fn differences(left: &Tree, right: &Tree) -> Vec<String> {
    let paths: BTreeSet<&Vec<u8>> = left.0.keys().chain(right.0.keys()).collect();
    let mut lines = Vec::new();
    for path in paths {
        let name = format!("/{}", show(path));
        match (left.0.get(path), right.0.get(path)) {
            (Some(left), Some(right)) => compare(&name, left, right, &mut lines),
            (Some(facts), None) => lines.push(only(&name, "left", facts)),
            (None, Some(facts)) => lines.push(only(&name, "right", facts)),
            (None, None) => {}
        }
    }
    lines
}

/// Fails with the differences if there are any; `left_name` and `right_name` say what the trees are.
pub fn ensure_same(left_name: &str, left: &Tree, right_name: &str, right: &Tree) -> Result<()> {
    let lines = differences(left, right);
    if lines.is_empty() {
        return Ok(());
    }
    let shown = lines.get(..MAX_LINES).unwrap_or(&lines).join("\n");
    bail!(
        "{left_name} (left, {} entries) and {right_name} (right, {} entries) differ in {} facts:\n{shown}",
        left.0.len(),
        right.0.len(),
        lines.len()
    )
}

fn only(name: &str, side: &str, facts: &Facts) -> String {
    format!("{name}: only {side} ({:?}, mode {:o})", facts.kind, facts.mode)
}

fn compare(name: &str, left: &Facts, right: &Facts, lines: &mut Vec<String>) {
    let mut fact = |what: &str, left: &dyn Debug, right: &dyn Debug| {
        let (left, right) = (format!("{left:?}"), format!("{right:?}"));
        if left != right {
            lines.push(format!("{name}: {what}: {left} / {right}"));
        }
    };
    fact("type", &left.kind, &right.kind);
    fact("mode", &format_args!("{:o}", left.mode), &format_args!("{:o}", right.mode));
    fact("uid", &left.uid, &right.uid);
    fact("gid", &left.gid, &right.gid);
    fact("size", &left.size, &right.size);
    fact("mtime", &left.mtime, &right.mtime);
    fact("device", &left.device, &right.device);
    fact("xattrs", &readable(&left.xattrs), &readable(&right.xattrs));
    fact("target", &left.target.as_deref().map(show), &right.target.as_deref().map(show));
    fact("hard-link group", &left.linked.as_deref().map(show), &right.linked.as_deref().map(show));
    fact("content", &left.content, &right.content);
}

fn readable(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<String, String> {
    xattrs.iter().map(|(name, value)| (show(name), show(value))).collect()
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_each_fact_that_differs() {
        let dir = tempfile::tempdir().unwrap();
        let (left, right) = (dir.path().join("left"), dir.path().join("right"));
        for root in [&left, &right] {
            fs::create_dir(root).unwrap();
            fs::write(root.join("same"), "same").unwrap();
            fs::hard_link(root.join("same"), root.join("twin")).unwrap();
        }
        fs::write(left.join("a"), "1").unwrap();
        fs::write(right.join("a"), "22").unwrap();
        fs::write(right.join("b"), "").unwrap();
        let read = |root| {
            let mut tree = Tree::read(root).unwrap().without_root();
            tree.0.values_mut().for_each(|facts| facts.mtime = (0, 0));
            tree
        };
        let lines = differences(&read(&left), &read(&right));
        let starts =
            ["/a: size: Some(1) / Some(2)", "/a: content: ", "/b: only right (File, mode "];
        assert_eq!(lines.len(), starts.len(), "{lines:?}");
        for (line, start) in lines.iter().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
        let twin = read(&left);
        assert_eq!(twin.get("twin").unwrap().linked.as_deref(), Some(b"same".as_slice()));
    }
}
