//! Credentials. No message and no log shows them.

use std::fmt;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// The text itself, only to be sent to the registry or token server that it is for.
    pub(in crate::source) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// What a registry or token server accepts as proof of identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A user name and a password or access token, for Basic authentication.
    Password {
        /// The account.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// An OAuth 2 refresh token, which token servers exchange for an access token.
    IdentityToken(Secret),
}

/// A credential with its origin, which messages name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Found {
    pub(in crate::source) credential: Credential,
    pub(in crate::source) origin: String,
}
