//! The assignments of a shell script, without a shell.
//!
//! Configuration files of stock servers are scripts that the server runs. They are lists of `NAME=VALUE`, and no
//! more than that is understood: quotes, escapes and comments. Nothing is run or looked up, so of a value that only a
//! shell could tell no more is known than that it is set.

use std::collections::BTreeMap;

/// The assignments of a script by name; the last one counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Assignments(BTreeMap<String, Value>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    /// With `$` or a backquote in it.
    ForAShell(String),
}

impl Assignments {
    /// Reads a script. What is no assignment is skipped.
    pub(crate) fn parse(script: &str) -> Self {
        let mut values = BTreeMap::new();
        let mut rest = script;
        while !rest.is_empty() {
            let (words, after) = command(rest);
            rest = after;
            let exported =
                words.first().is_some_and(|word| matches!(word.raw, "export" | "readonly"));
            for word in words.into_iter().skip(usize::from(exported)) {
                let Some((name, value)) = word.assignment() else { break };
                values.insert(name, value);
            }
        }
        Self(values)
    }

    /// The value of a name, if there is one that is not empty.
    ///
    /// # Errors
    /// The reason, if only a shell could tell it.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&str>, String> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(Value::ForAShell(raw)) => Err(format!(
                "{name} is set to {raw}, which only a shell can tell; write the value out"
            )),
        }
    }
}

/// A word of a command: as it is in the script, and as a shell would take it.
struct Word<'a> {
    raw: &'a str,
    text: String,
    for_a_shell: bool,
}

impl Word<'_> {
    fn assignment(self) -> Option<(String, Value)> {
        let (name, _) = self.raw.split_once('=')?;
        let mut letters = name.bytes();
        let first = letters.next()?;
        if !(first.is_ascii_alphabetic() || first == b'_')
            || !letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return None;
        }
        let value = match self.for_a_shell {
            true => Value::ForAShell(self.raw[name.len() + 1..].to_owned()),
            false => Value::Text(self.text[name.len() + 1..].to_owned()),
        };
        Some((name.to_owned(), value))
    }
}

/// The words of the next command, and what follows it.
fn command(script: &str) -> (Vec<Word<'_>>, &str) {
    let mut words = Vec::new();
    let mut rest = script;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r']);
        rest = match rest.chars().next() {
            None => return (words, ""),
            Some('\n' | ';' | '&' | '|') => return (words, &rest[1..]),
            Some('#') => {
                let end = rest.find('\n').unwrap_or(rest.len());
                &rest[end..]
            }
            Some('\\') if rest[1..].starts_with('\n') => &rest[2..],
            Some(_) => {
                let (word, after) = word(rest);
                words.push(word);
                after
            }
        };
    }
}

/// The first word, and what follows it.
fn word(script: &str) -> (Word<'_>, &str) {
    let mut text = String::new();
    let mut for_a_shell = false;
    let mut quote = None;
    let mut letters = script.char_indices();
    let end = loop {
        let Some((at, letter)) = letters.next() else { break script.len() };
        match (quote, letter) {
            (None, ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|') => break at,
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None | Some('"'), '$' | '`') => {
                for_a_shell = true;
                text.push(letter);
            }
            (None | Some('"'), '\\') => match letters.next() {
                Some((_, '\n')) | None => {}
                // Between double quotes, a backslash before other letters is a letter itself.
                Some((_, next)) if quote.is_some() && !"\\\"$`".contains(next) => {
                    text.extend(['\\', next]);
                }
                Some((_, next)) => text.push(next),
            },
            _ => text.push(letter),
        }
    };
    (Word { raw: &script[..end], text, for_a_shell }, &script[end..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_those_of_a_shell() {
        for (script, expected) in [
            ("A=1", Some("1")),
            ("A=1\nA=2\n", Some("2")),
            ("  A=1  # comment", Some("1")),
            ("# A=1", None),
            ("A=a#b", Some("a#b")),
            ("A='a # b'", Some("a # b")),
            ("A=\"3 days ago\"", Some("3 days ago")),
            ("A=a'b'\"c\"d", Some("abcd")),
            ("A='\\n$x`'", Some("\\n$x`")),
            ("A=\"\\\"\\\\\\a\\$\"", Some("\"\\\\a$")),
            ("A=a\\ b", Some("a b")),
            ("A=a\\\nb", Some("ab")),
            ("A='a\nb'", Some("a\nb")),
            ("A=1; B=2", Some("1")),
            ("B=2 A=1", Some("1")),
            ("export A=1", Some("1")),
            ("readonly A=1\r\n", Some("1")),
            ("A=", None),
            ("A=''", None),
            ("A = 1", None),
            ("echo A=1", None),
            ("1A=1\nA B=1\nA-B=1\nAB=1", None),
            ("A=a=b", Some("a=b")),
            ("A='open", Some("open")),
            ("A=ü", Some("ü")),
            ("\"A\"=1", None),
        ] {
            assert_eq!(Assignments::parse(script).get("A"), Ok(expected), "{script:?}");
        }
    }

    #[test]
    fn nothing_is_run_or_guessed() {
        for script in ["A=$B", "A=${B}x", "A=\"$(id)\"", "A=`id`", "B=1\nA=\"$B\""] {
            let reason = Assignments::parse(script).get("A").unwrap_err();
            assert!(reason.contains("only a shell"), "{script:?}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn every_script_is_read_to_its_end(script in "[A=\\\\'\"$`;# \nü]{0,12}", value in "[^'\0]*") {
            let quoted = Assignments::parse(&format!("A='{value}'\n"));
            prop_assert_eq!(quoted.get("A"), Ok(Some(value.as_str()).filter(|value| !value.is_empty())));
            // A command on a line of its own is found whatever precedes it.
            if !script.contains(['\'', '"', '\\', '#']) {
                let parsed = Assignments::parse(&format!("{script}\nB=1"));
                prop_assert_eq!(parsed.get("B"), Ok(Some("1")));
            }
            Assignments::parse(&script);
        }
    }
}
