//! Challenges of registries, and answers of token servers.

#[path = "../../../src/source/hosts/challenge/mod.rs"]
#[allow(dead_code, reason = "the converter uses more of it")]
mod challenge;
#[path = "../../../src/source/hosts/token.rs"]
mod token;

use challenge::{Challenge, Scope};
use http::HeaderMap;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use token::Token;

/// Reads each line as a `WWW-Authenticate`.
pub fn check_challenges(lines: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in lines.split(|&byte| byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    match Challenge::choose(&headers) {
        Err(offered) => assert_eq!(offered.is_empty(), headers.is_empty(), "{offered}"),
        Ok(challenge) => {
            if let Challenge::Bearer(bearer) = &challenge {
                assert!(!bearer.realm.is_empty());
                assert!(!bearer.scopes.iter().any(|it| it.is_empty() || it.contains(' ')));
                let own = Scope { repository: "a/b".to_owned(), actions: "pull" };
                assert!(bearer.scopes_with(&own).len() <= bearer.scopes.len() + 1);
                assert!(!bearer.scopes_with(&own).is_empty());
            }
            assert_eq!(challenge.general(), challenge.general().general());
        }
    }
}

/// Reads the answer of a token server.
pub fn check_token(answer: &[u8]) {
    match Token::parse(answer) {
        Ok(token) => assert!(!token.text.is_empty() && !token.lifetime.is_zero()),
        Err(reason) => assert!(!reason.is_empty()),
    }
}
