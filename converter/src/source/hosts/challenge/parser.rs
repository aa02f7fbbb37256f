//! The grammar of `WWW-Authenticate` (RFC 9110, section 11.6.1), read generously.
//!
//! Commas separate challenges, parameters and, in quotes, actions. Registries and proxies write values without quotation
//! marks that need some, or leave commas out. Whatever can only mean one thing is understood.

/// A challenge: a scheme and its parameters, in their order and as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) scheme: String,
    parameters: Vec<Parameter>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parameter {
    name: String,
    value: String,
    is_quoted: bool,
}

/// Schemes that may stand alone, so that they do not continue a value before them.
const SCHEMES: [&str; 6] = ["basic", "bearer", "digest", "negotiate", "ntlm", "mutual"];

impl Parsed {
    /// The value of a parameter; its name is given in lower case.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        let found = parameters.find(|parameter| parameter.name.eq_ignore_ascii_case(name))?;
        Some(&found.value)
    }
}

/// All challenges of a header's value. What makes no sense is passed over.
pub(super) fn parse(text: &str) -> Vec<Parsed> {
    let mut challenges: Vec<Parsed> = Vec::new();
    for piece in pieces(text) {
        let (word, rest) = split_word(piece);
        if continues_scope(challenges.last(), piece) {
            let last = challenges.last_mut().and_then(|challenge| challenge.parameters.last_mut());
            if let Some(Parameter { value, .. }) = last {
                value.push(',');
                value.push_str(piece);
            }
        } else if is_token(word) && !rest.starts_with('=') {
            let mut challenge = Parsed { scheme: word.to_owned(), parameters: Vec::new() };
            parameters(rest, &mut challenge.parameters);
            challenges.push(challenge);
        } else if let Some(challenge) = challenges.last_mut() {
            parameters(piece, &mut challenge.parameters);
        }
    }
    challenges
}

/// The text between commas that are not in quotes.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let separator = move |c: char| {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' => return !is_quoted,
            _ => {}
        }
        false
    };
    text.split(separator).map(str::trim).filter(|piece| !piece.is_empty())
}

/// The first word, and what follows it without the space between.
fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(is_token)
}

/// Whether a piece is a further action of a scope that should have been in quotes: `scope=repository:a:pull,push`.
fn continues_scope(challenge: Option<&Parsed>, piece: &str) -> bool {
    let last = challenge.and_then(|challenge| challenge.parameters.last());
    last.is_some_and(|last| {
        last.name.eq_ignore_ascii_case("scope")
            && !last.is_quoted
            && is_token(piece)
            && !SCHEMES.iter().any(|scheme| piece.eq_ignore_ascii_case(scheme))
    })
}

/// Reads `name=value` again and again.
fn parameters(text: &str, found: &mut Vec<Parameter>) {
    let mut text = text.trim();
    while let Some((name, rest)) = text.split_once('=') {
        let name = name.trim().to_owned();
        let rest = rest.trim_start();
        let (value, is_quoted);
        (value, text, is_quoted) = match rest.strip_prefix('"') {
            Some(rest) => {
                let (value, rest) = quoted(rest);
                (value, rest, true)
            }
            None => {
                let (value, rest) = unquoted(rest);
                (value.to_owned(), rest, false)
            }
        };
        if is_token(&name) {
            found.push(Parameter { name, value, is_quoted });
        }
    }
}

/// What is in quotes, and what follows them. If they are not closed, all of it is.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, text[at + 1..].trim_start()),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// A value without quotes goes on to the end, or to where another parameter begins.
fn unquoted(text: &str) -> (&str, &str) {
    let spaces = text.char_indices().filter(|(_, c)| c.is_whitespace());
    for (at, _) in spaces {
        let rest = text[at..].trim_start();
        if rest.split_once('=').is_some_and(|(name, _)| is_token(name.trim_end())) {
            return (text[..at].trim_end(), rest);
        }
    }
    (text, "")
}
