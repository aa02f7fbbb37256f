//! What a round keeps in step.

use layer_layout::{ImageReference, PublicName, RegistryReference};

use crate::convert::{Again, Request, ThinRequest};
use crate::source;
use crate::wish::Platforms;

/// An image that somebody wishes to have in the repository.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where it comes from; not a wildcard.
    pub reference: RegistryReference,
    /// The name under which it is published.
    pub name: PublicName,
    /// For which platforms.
    pub platforms: Platforms,
    /// Whether it gets a flat root and a public path.
    pub flat: bool,
    /// The thin image that goes with it.
    pub thin: Option<ThinRequest>,
    /// The account for pushing the thin image, whose password is in the environment.
    pub user: Option<String>,
    /// The name of the credentials for the registry; without one they are found by the registry's name.
    pub credentials: Option<String>,
    /// Images with a higher one come first.
    pub priority: i32,
    /// Whether the round succeeds even if this image fails.
    pub may_fail: bool,
}

/// What is common to the images of a round.
#[derive(Debug, Clone)]
pub struct Common {
    /// How to fetch.
    pub source: source::Options,
    /// What is made although it is there.
    pub again: Again,
    /// The password of the accounts that push thin images.
    pub push_password: Option<String>,
}

impl Wanted {
    pub(super) fn request(&self, common: &Common) -> source::Result<Request> {
        Ok(Request {
            reference: ImageReference::Registry(self.reference.clone()),
            name: Some(self.name.clone()),
            platforms: match &self.platforms {
                Platforms::HostOnly => None,
                Platforms::All => Some(source::Platforms::All),
                Platforms::List(platforms) => Some(source::Platforms::Listed(platforms.clone())),
            },
            at: None,
            flat: self.flat,
            thin: self.thin.clone(),
            again: common.again.clone(),
            source: self.source(common)?,
        })
    }

    /// How the image is fetched.
    pub(super) fn source(&self, common: &Common) -> source::Result<source::Options> {
        let mut options = common.source.clone();
        if let Some(name) = &self.credentials {
            options.credentials = options.credentials.named(name, self.reference.registry())?;
        }
        Ok(options)
    }

    /// How its thin image is pushed.
    pub(super) fn push(&self, common: &Common) -> source::Options {
        let mut options = common.source.clone();
        if let (Some(thin), Some(user), Some(password)) =
            (&self.thin, &self.user, &common.push_password)
        {
            let registry = thin.reference.registry();
            options.credentials = options.credentials.with_login(registry, user, password);
        }
        options
    }

    /// All that makes a difference to what has to be published. If it is the same as in an earlier round, and so is the
    /// image, nothing has to be done.
    pub(super) fn fingerprint(&self, common: &Common) -> String {
        let thin = match &self.thin {
            Some(thin) => format!("{:?} {}", thin.form, thin.reference),
            None => "none".to_owned(),
        };
        // Images that nobody has changed have to be looked at when the policy has.
        let policy = match &common.source.policy {
            Some(policy) => policy.fingerprint().to_string(),
            None => "none".to_owned(),
        };
        let Self { reference, platforms, flat, .. } = self;
        let platform = &common.source.platform;
        format!("{reference} {platforms:?} {platform} flat={flat} thin={thin} policy={policy}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Policy;

    /// Two Ed25519 keys.
    const KEYS: [&str; 2] = [
        "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",
        "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    ];

    fn policy(keys: &[usize]) -> Option<Policy> {
        let directory = tempfile::tempdir().unwrap();
        let files = keys.iter().map(|&key| {
            let file = directory.path().join(format!("{key}-{}.pub", keys.len()));
            let pem =
                format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", KEYS[key]);
            std::fs::write(&file, pem).unwrap();
            file
        });
        let files: Vec<_> = files.collect();
        (!files.is_empty()).then(|| Policy::from_files(files).unwrap())
    }

    #[test]
    fn the_keys_of_the_policy_count_and_not_where_they_are() {
        let wanted = Wanted {
            reference: "r.io/a:1".parse().unwrap(),
            name: "r.io/a:1".parse().unwrap(),
            platforms: Platforms::HostOnly,
            flat: true,
            thin: None,
            user: None,
            credentials: None,
            priority: 0,
            may_fail: false,
        };
        let fingerprint = |keys: &[usize]| {
            let source = source::Options { policy: policy(keys), ..source::Options::default() };
            let common = Common { source, again: Again::default(), push_password: None };
            wanted.fingerprint(&common)
        };
        let all = [fingerprint(&[]), fingerprint(&[0]), fingerprint(&[1]), fingerprint(&[0, 1])];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{one}");
        }
        assert_eq!(fingerprint(&[0]), all[1]);
        assert_eq!(fingerprint(&[1, 0]), all[3]);
        assert_eq!(fingerprint(&[0, 0]), all[1]);
    }
}
