//! What token servers answer (token specification of the distribution project, "Token Response Fields"). Pure.
//!
//! Servers give the token as `token`, as `access_token`, or as both, of which one may be empty; and its lifetime as a
//! number, a fraction or a text. Docker takes a lifetime that makes no sense for the default.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// Lifetime of a token that comes without one (token specification of the distribution project).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// An answer with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// The token, which is not empty.
    pub(super) text: String,
    /// How long it is good for, from when it was asked for.
    pub(super) lifetime: Duration,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<Value>,
}

impl Token {
    /// Reads an answer.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it: it could hold a secret.
    pub(super) fn parse(answer: &[u8]) -> Result<Self, &'static str> {
        let answer: Answer = serde_json::from_slice(answer)
            .map_err(|_| "the token server's answer is not the JSON of a token")?;
        let Answer { token, access_token, expires_in } = answer;
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let text = filled(token).or(filled(access_token));
        let text = text.ok_or("the token server's answer has no token")?;
        let lifetime = expires_in.as_ref().and_then(lifetime).unwrap_or(DEFAULT_LIFETIME);
        Ok(Self { text, lifetime })
    }
}

/// A lifetime in seconds; `None` if it makes no sense. One that is too long to be told is the longest.
fn lifetime(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let makes_sense = seconds > 0.0;
    makes_sense.then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_token_servers() {
        let token = |text: &str, milliseconds: u64| {
            let lifetime = Duration::from_millis(milliseconds);
            Ok(Token { text: text.to_owned(), lifetime })
        };
        let no_token = Err("the token server's answer has no token");
        let no_json = Err("the token server's answer is not the JSON of a token");
        for (answer, expected) in [
            (r#"{"token":"t","expires_in":300}"#, token("t", 300_000)),
            (r#"{"access_token":"a"}"#, token("a", 60_000)),
            (r#"{"token":"t","access_token":"a"}"#, token("t", 60_000)),
            // Azure, and whatever is written in Go.
            (r#"{"token":"","access_token":"a"}"#, token("a", 60_000)),
            (r#"{"token":null,"access_token":"a","expires_in":null}"#, token("a", 60_000)),
            (r#"{"token":"t","access_token":null}"#, token("t", 60_000)),
            (r#"{"token":"t","expires_in":"300"}"#, token("t", 300_000)),
            (r#"{"token":"t","expires_in":" 300.5 "}"#, token("t", 300_500)),
            (r#"{"token":"t","expires_in":299.5}"#, token("t", 299_500)),
            (r#"{"token":"t","expires_in":3e2}"#, token("t", 300_000)),
            (r#"{"token":"t","expires_in":0}"#, token("t", 60_000)),
            (r#"{"token":"t","expires_in":-5}"#, token("t", 60_000)),
            (r#"{"token":"t","expires_in":"-5"}"#, token("t", 60_000)),
            (r#"{"token":"t","expires_in":"NaN"}"#, token("t", 60_000)),
            (r#"{"token":"t","expires_in":"soon"}"#, token("t", 60_000)),
            (r#"{"token":"t","expires_in":[5]}"#, token("t", 60_000)),
            (r#"{"token":"t","issued_at":7,"refresh_token":{}}"#, token("t", 60_000)),
            ("{}", no_token.clone()),
            (r#"{"token":"","access_token":""}"#, no_token),
            (r#"{"token":7}"#, no_json.clone()),
            ("[]", no_json.clone()),
            ("", no_json),
        ] {
            assert_eq!(Token::parse(answer.as_bytes()), expected, "{answer}");
        }
        for endless in
            [r#"{"token":"t","expires_in":1e300}"#, r#"{"token":"t","expires_in":"inf"}"#]
        {
            assert_eq!(Token::parse(endless.as_bytes()).unwrap().lifetime, Duration::MAX);
        }
    }
}
