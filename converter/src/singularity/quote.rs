//! Quoting for POSIX shells.

/// A word that every POSIX shell reads as exactly `text` (POSIX.1, Shell Command Language, 2.2.2
/// "Single-Quotes": nothing between single quotes is special, and a single quote cannot occur there). A
/// single quote is put in double quotes, not after a backslash: the shell that is built into Apptainer reads
/// `'\''` in an assignment as two characters.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}

/// Whether `name` can be the name of a shell variable (POSIX.1, Base Definitions, 3.230 "Name").
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, valid) in [
            ("PATH", true),
            ("_x1", true),
            ("", false),
            ("1a", false),
            ("a.b", false),
            ("a;b", false),
        ] {
            assert_eq!(is_name(name), valid, "{name:?}");
        }
    }
}
