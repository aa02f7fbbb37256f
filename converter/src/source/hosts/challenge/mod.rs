//! What a registry asks for when it answers 401: `WWW-Authenticate` (RFC 9110, section 11.6.1).
//!
//! Bearer challenges are those of the distribution project's token specification: a realm from which to fetch a token, a
//! service, and scopes. Why not the crate `http-auth`: it refuses values without quotation marks, and whatever follows
//! them, which registries and proxies do write.

mod parser;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use self::parser::Parsed;

/// The kind of authentication that a registry asks for, of those that are supported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token from a token server.
    Bearer(Bearer),
    /// User name and password with every request.
    Basic,
}

/// Where to fetch a token, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) realm: String,
    pub(super) service: Option<String>,
    /// Zero or more `repository:<name>:<actions>`.
    pub(super) scopes: Vec<String>,
}

impl Challenge {
    /// The challenge without the scopes, which are those of one repository.
    pub(super) fn general(&self) -> Self {
        match self {
            Self::Basic => Self::Basic,
            Self::Bearer(bearer) => Self::Bearer(Bearer { scopes: Vec::new(), ..bearer.clone() }),
        }
    }

    /// The best of an answer's challenges: Bearer before Basic.
    ///
    /// # Errors
    /// If there is neither: what was offered instead, for a message; nothing if there was no challenge at all.
    pub(super) fn choose(headers: &HeaderMap) -> Result<Self, String> {
        let mut challenges = Vec::new();
        let mut others = Vec::new();
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let text = String::from_utf8_lossy(value.as_bytes());
            for challenge in parser::parse(&text) {
                match Self::of(&challenge) {
                    Some(challenge) => challenges.push(challenge),
                    None => others.push(challenge.scheme),
                }
            }
            if challenges.is_empty() && others.is_empty() {
                others.push(format!("{text:?}"));
            }
        }
        let bearer = challenges.iter().position(|challenge| matches!(challenge, Self::Bearer(_)));
        match (bearer, challenges.is_empty()) {
            (Some(at), _) => Ok(challenges.swap_remove(at)),
            (None, false) => Ok(Self::Basic),
            (None, true) => Err(others.join(", ")),
        }
    }

    fn of(challenge: &Parsed) -> Option<Self> {
        if challenge.scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !challenge.scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let scopes = challenge.parameter("scope").unwrap_or_default();
        Some(Self::Bearer(Bearer {
            realm: challenge.parameter("realm").filter(|realm| !realm.is_empty())?.to_owned(),
            service: challenge.parameter("service").map(str::to_owned),
            scopes: scopes.split_whitespace().map(str::to_owned).collect(),
        }))
    }
}

impl Bearer {
    /// The scopes to ask for: those of the challenge, and `own` unless one of them covers it. So a token that
    /// was first needed for reading also serves for writing.
    pub(super) fn scopes_with(&self, own: &Scope) -> Vec<String> {
        let own = own.to_string();
        let mut scopes: Vec<String> =
            self.scopes.iter().filter(|scope| !covers(&own, scope)).cloned().collect();
        if !scopes.iter().any(|scope| covers(scope, &own)) {
            scopes.insert(0, own);
        }
        scopes
    }
}

/// Actions on a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::source) struct Scope {
    pub(in crate::source) repository: String,
    /// Comma-separated, for instance `pull,push`.
    pub(in crate::source) actions: &'static str,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "repository:{}:{}", self.repository, self.actions)
    }
}

/// Whether scope `a` allows everything that `b` allows.
fn covers(a: &str, b: &str) -> bool {
    let (Some((a_name, a_actions)), Some((b_name, b_actions))) =
        (a.rsplit_once(':'), b.rsplit_once(':'))
    else {
        return a == b;
    };
    let allowed: Vec<&str> = a_actions.split(',').collect();
    a_name == b_name && b_actions.split(',').all(|action| allowed.contains(&action))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scopes: &[&str]) -> Result<Challenge, String> {
        Ok(Challenge::Bearer(Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        }))
    }

    #[test]
    fn challenges() {
        let r = "https://auth.example/token";
        for (headers, expected) in [
            (vec![r#"Basic realm="a registry""#], Ok(Challenge::Basic)),
            (vec!["basic"], Ok(Challenge::Basic)),
            (
                vec![
                    r#"Bearer realm="https://auth.example/token",service="s",scope="repository:a/b:pull,push""#,
                ],
                bearer(r, Some("s"), &["repository:a/b:pull,push"]),
            ),
            (
                vec![
                    r#"bearer Realm="https://auth.example/token" , scope="repository:a:pull repository:b:pull,push registry:catalog:*""#,
                ],
                bearer(
                    r,
                    None,
                    &["repository:a:pull", "repository:b:pull,push", "registry:catalog:*"],
                ),
            ),
            (
                vec![
                    r#"Bearer realm="https://auth.example/token",error="insufficient_scope, \"x\" = 1""#,
                ],
                bearer(r, None, &[]),
            ),
            (
                vec![r#"Bearer realm="https://a.example/?a=b,c\"d\\",service=plain"#],
                bearer(r#"https://a.example/?a=b,c"d\"#, Some("plain"), &[]),
            ),
            // Without quotation marks, without commas, without an end.
            (
                vec!["Bearer realm=https://auth.example/token,service=s,scope=repository:a/b:pull"],
                bearer(r, Some("s"), &["repository:a/b:pull"]),
            ),
            (
                vec!["Bearer realm=https://auth.example/token,scope=repository:a:pull,push"],
                bearer(r, None, &["repository:a:pull,push"]),
            ),
            (
                vec!["Bearer realm=https://auth.example/token,scope=repository:a:pull,Basic"],
                bearer(r, None, &["repository:a:pull"]),
            ),
            (
                vec![
                    "Bearer scope=repository:a:pull repository:b:pull,push, realm=https://auth.example/token",
                ],
                bearer(r, None, &["repository:a:pull", "repository:b:pull,push"]),
            ),
            (
                vec![r#"Bearer realm="https://auth.example/token" service="s" scope="a:b:c""#],
                bearer(r, Some("s"), &["a:b:c"]),
            ),
            (vec!["Bearer realm=https://auth.example/token service=s"], bearer(r, Some("s"), &[])),
            (
                vec![r#"Bearer service="s",realm="https://auth.example/token"#],
                bearer(r, Some("s"), &[]),
            ),
            (
                vec![r#"Bearer realm = "https://auth.example/token", service = s"#],
                bearer(r, Some("s"), &[]),
            ),
            (vec![r#",, Bearer ,realm="https://auth.example/token",,"#], bearer(r, None, &[])),
            // Several challenges, in one header or in several.
            (
                vec![
                    r#"Negotiate, Digest realm="a, Bearer realm=\"x\"", nonce=n, Basic realm="b, c", Bearer realm="https://auth.example/token", scope="repository:a:pull,push", NTLM dG9rZW4="#,
                ],
                bearer(r, None, &["repository:a:pull,push"]),
            ),
            (
                vec![r#"Basic realm="x", Bearer realm="https://auth.example/token""#],
                bearer(r, None, &[]),
            ),
            (
                vec![r#"Basic realm="x""#, r#"Bearer realm="https://auth.example/token""#],
                bearer(r, None, &[]),
            ),
            (vec!["Negotiate", r#"Basic realm="x""#], Ok(Challenge::Basic)),
            (vec![r#"Basic realm="x", ###"#], Ok(Challenge::Basic)),
            // Nothing that could be answered.
            (vec![], Err(String::new())),
            (
                vec!["Negotiate", r#"Digest realm="x", nonce="y""#],
                Err("Negotiate, Digest".to_owned()),
            ),
            (vec![r#"Bearer service="no realm""#], Err("Bearer".to_owned())),
            (vec![r#"Bearer realm="""#], Err("Bearer".to_owned())),
            (vec!["=="], Err(r#""==""#.to_owned())),
        ] {
            let mut map = HeaderMap::new();
            for header in &headers {
                map.append(WWW_AUTHENTICATE, header.parse().unwrap());
            }
            assert_eq!(Challenge::choose(&map), expected, "{headers:?}");
        }
    }

    #[test]
    fn scopes() {
        let own = Scope { repository: "a/b".to_owned(), actions: "pull,push" };
        for (challenge, asked) in [
            (vec![], vec!["repository:a/b:pull,push"]),
            (vec!["repository:a/b:pull"], vec!["repository:a/b:pull,push"]),
            (vec!["repository:a/b:push,pull"], vec!["repository:a/b:pull,push"]),
            (vec!["repository:a/b:pull,push,delete"], vec!["repository:a/b:pull,push,delete"]),
            (vec!["repository:c:pull"], vec!["repository:a/b:pull,push", "repository:c:pull"]),
            (vec!["odd"], vec!["repository:a/b:pull,push", "odd"]),
        ] {
            let scopes = challenge.iter().map(|&scope| scope.to_owned()).collect();
            let bearer = Bearer { realm: String::new(), service: None, scopes };
            assert_eq!(bearer.scopes_with(&own), asked, "{challenge:?}");
        }
    }
}
