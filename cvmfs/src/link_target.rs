//! Targets of symlinks, in which clients replace variables.
//!
//! In a stored target `$(NAME)` and `$(NAME:-default)` stand for a variable of the client's own environment, or else for
//! the default, which may be empty (the latter form since 2.1.16). There is no escape. But no variable has an empty name,
//! so a variable of that name is always its default: `$(:-$)` is a dollar sign, and what follows is plain text.
//!
//! Clients of a stock server's own (`CVMFS_SERVER_CACHE_MODE`) replace nothing and show targets as they are stored.

use std::borrow::Cow;

/// How a variable begins.
const OPEN: &[u8] = b"$(";
/// What is stored for it, so that clients show it.
const LITERAL_OPEN: &[u8] = b"$(:-$)(";
/// What separates a variable's name from its default.
const DEFAULT: &[u8] = b":-";

/// What has to be stored for clients to show `target` as it is, whatever their environment.
pub fn literal(target: &[u8]) -> Cow<'_, [u8]> {
    let Some(mut at) = find(target, OPEN) else { return Cow::Borrowed(target) };
    let (mut stored, mut rest) = (Vec::with_capacity(target.len() + LITERAL_OPEN.len()), target);
    loop {
        stored.extend_from_slice(&rest[..at]);
        stored.extend_from_slice(LITERAL_OPEN);
        rest = &rest[at + OPEN.len()..];
        match find(rest, OPEN) {
            Some(next) => at = next,
            None => break,
        }
    }
    stored.extend_from_slice(rest);
    Cow::Owned(stored)
}

/// What a client shows of a stored target if its environment has these variables. `variable` is never asked for one with
/// an empty name.
pub fn expanded(
    stored: &[u8],
    mut variable: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Cow<'_, [u8]> {
    if find(stored, OPEN).is_none() {
        return Cow::Borrowed(stored);
    }
    let (mut shown, mut rest) = (Vec::with_capacity(stored.len()), stored);
    while let Some(at) = find(rest, OPEN) {
        let inside = &rest[at + OPEN.len()..];
        // What is not closed is no variable.
        let Some(end) = inside.iter().position(|&byte| byte == b')') else { break };
        shown.extend_from_slice(&rest[..at]);
        let (name, default) = match find(&inside[..end], DEFAULT) {
            Some(colon) => (&inside[..colon], &inside[colon + DEFAULT.len()..end]),
            None => (&inside[..end], &[][..]),
        };
        let value = (!name.is_empty()).then(|| variable(name)).flatten();
        shown.extend_from_slice(value.as_deref().unwrap_or(default));
        rest = &inside[end + 1..];
    }
    shown.extend_from_slice(rest);
    Cow::Owned(shown)
}

/// What a client without any variable shows of a stored target: what it stands for, if it is [`literal`].
pub fn without_variables(stored: &[u8]) -> Cow<'_, [u8]> {
    expanded(stored, |_| None)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client whose environment has two variables.
    fn shown(stored: &str) -> String {
        let variable = |name: &[u8]| match name {
            b"HOME" => Some(b"/root".to_vec()),
            b"NONE" => Some(Vec::new()),
            _ => None,
        };
        String::from_utf8(expanded(stored.as_bytes(), variable).into_owned()).unwrap()
    }

    #[test]
    fn variables_are_those_of_clients() {
        for (stored, expected) in [
            ("", ""),
            ("../lib", "../lib"),
            ("$(HOME)", "/root"),
            ("a/$(HOME)/$(HOME)/b", "a//root//root/b"),
            ("$(NONE)x", "x"),
            ("$(OTHER)x", "x"),
            ("$(OTHER:-a/b)x", "a/bx"),
            ("$(HOME:-a)x", "/rootx"),
            ("$(OTHER:-$(HOME))", "$(HOME)"),
            ("$()x", "x"),
            ("$(:-$)(HOME)", "$(HOME)"),
            ("$(HOME", "$(HOME"),
            ("$(HOME)$(HOME", "/root$(HOME"),
            ("$HOME/(x)", "$HOME/(x)"),
            ("$", "$"),
            ("$(", "$("),
        ] {
            assert_eq!(shown(stored), expected, "{stored}");
        }
    }

    #[test]
    fn only_what_would_be_replaced_is_stored_in_other_words() {
        for (target, stored) in [
            ("../lib", "../lib"),
            ("$HOME/(x)", "$HOME/(x)"),
            ("$(HOME)/x", "$(:-$)(HOME)/x"),
            ("$($(A))", "$(:-$)($(:-$)(A))"),
            ("$(:-$)(A)", "$(:-$)(:-$)(A)"),
        ] {
            let got = String::from_utf8(literal(target.as_bytes()).into_owned()).unwrap();
            assert_eq!(got, stored);
            assert_eq!(shown(stored), target);
        }
    }

    proptest! {
        #[test]
        fn clients_show_what_was_meant(target in r"([$():x\-]|\$\(|HOME|\)){0,12}") {
            let stored = literal(target.as_bytes());
            prop_assert_eq!(shown(std::str::from_utf8(&stored).unwrap()), target.clone());
            prop_assert_eq!(&*without_variables(&stored), target.as_bytes());
        }
    }
}
