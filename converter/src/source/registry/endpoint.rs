//! Where a repository is: `DUCC_<N>_PROXY`, `registries.conf`, or its own registry.
//!
//! DUCC's variable is the stronger one: it replaces the registry for everything but pushes, and nothing else is
//! tried.

use layer_layout::{RegistryReference, Scheme};

use crate::source::error::{Error, Result};
use crate::source::options::Options;
use crate::source::registries_conf::{Name, Place, Places};

/// A repository of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) scheme: Scheme,
    /// `host[:port]`.
    pub(super) host: String,
    pub(super) repository: String,
    /// Whether any certificate will do, and plain HTTP, too.
    pub(super) insecure: bool,
    /// Whether there is another one to ask if this one fails.
    pub(super) is_mirror: bool,
}

/// Where to look for an image, in this order; never empty.
pub(super) fn for_pull(reference: &RegistryReference, options: &Options) -> Result<Vec<Endpoint>> {
    if let Some(proxy) = proxy(reference, options) {
        return Ok(vec![proxy]);
    }
    let Places { mirrors, own } = places(reference, options)?;
    let mirrors = mirrors.into_iter().map(|place| endpoint(reference, place, true));
    let mut endpoints: Vec<Endpoint> = mirrors.collect();
    endpoints.push(endpoint(reference, own, false));
    Ok(endpoints)
}

/// Where the list of a repository's tags is complete.
pub(super) fn for_tags(reference: &RegistryReference, options: &Options) -> Result<Endpoint> {
    match proxy(reference, options) {
        Some(proxy) => Ok(proxy),
        None => Ok(endpoint(reference, places(reference, options)?.own, false)),
    }
}

/// Where to push to: what was written. `registries.conf` only says whether it is secure.
pub(super) fn for_push(reference: &RegistryReference, options: &Options) -> Result<Endpoint> {
    let written = Place {
        host: reference.registry().to_owned(),
        repository: reference.repository().to_owned(),
        insecure: places(reference, options)?.own.insecure,
    };
    Ok(endpoint(reference, written, false))
}

fn proxy(reference: &RegistryReference, options: &Options) -> Option<Endpoint> {
    let proxy = options.credentials.mirror(reference.registry())?;
    let repository = match proxy.path.as_str() {
        "" => reference.repository().to_owned(),
        path => format!("{path}/{}", reference.repository()),
    };
    let place = Place { host: proxy.host.clone(), repository, insecure: false };
    Some(Endpoint { scheme: reference.scheme(), ..endpoint(reference, place, false) })
}

fn places(reference: &RegistryReference, options: &Options) -> Result<Places> {
    let digest = reference.digest().map(ToString::to_string);
    let name = Name {
        registry: reference.registry(),
        repository: reference.repository(),
        tag: reference.tag(),
        digest: digest.as_deref(),
    };
    let places = options.registries_conf.places(name);
    places.map_err(|reason| Error::Reference { image: reference.to_string(), reason })
}

fn endpoint(reference: &RegistryReference, place: Place, is_mirror: bool) -> Endpoint {
    let Place { host, repository, insecure } = place;
    // That the registry is written with http:// says nothing about another host.
    let scheme = if host == reference.registry() { reference.scheme() } else { Scheme::Https };
    Endpoint { scheme, host, repository, insecure, is_mirror }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(endpoints: &[Endpoint]) -> String {
        let show = |endpoint: &Endpoint| {
            let Endpoint { scheme, host, repository, insecure, is_mirror } = endpoint;
            let mark = |flag: &bool, text| if *flag { text } else { "" };
            let marks = format!("{}{}", mark(insecure, "!"), mark(is_mirror, "~"));
            format!("{marks}{scheme}://{host}/{repository}")
        };
        endpoints.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_asked_for_what() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("registries.conf");
        let conf = r#"
            [[registry]]
            prefix = "r.example/team"
            location = "new.example/old-team"
            insecure = true
            [[registry.mirror]]
            location = "mirror.example/r"
            [[registry]]
            prefix = "r.example/secret"
            blocked = true
        "#;
        std::fs::write(&file, conf).unwrap();
        let registries_conf = crate::source::RegistriesConf::from_file(&file).unwrap();
        let options = Options { registries_conf, ..Options::default() };
        for (name, pull, tags, push) in [
            (
                "http://r.example/team/a:1",
                "~https://mirror.example/r/a !https://new.example/old-team/a",
                "!https://new.example/old-team/a",
                "!http://r.example/team/a",
            ),
            (
                "http://r.example/other/a:1",
                "http://r.example/other/a",
                "http://r.example/other/a",
                "http://r.example/other/a",
            ),
        ] {
            let reference: RegistryReference = name.parse().unwrap();
            assert_eq!(shown(&for_pull(&reference, &options).unwrap()), pull, "{name}");
            assert_eq!(shown(&[for_tags(&reference, &options).unwrap()]), tags, "{name}");
            assert_eq!(shown(&[for_push(&reference, &options).unwrap()]), push, "{name}");
        }
        // DUCC's variable is stronger than the file.
        let set = [
            ("DUCC_AUTH_REGISTRIES", "R"),
            ("DUCC_R_IDENT", "r.example"),
            ("DUCC_R_PROXY", "cache.example:5000/r"),
        ];
        let variable = |name: &str| {
            let found = set.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.into())
        };
        let credentials = crate::source::Credentials::from_variables(variable).unwrap();
        let proxied = Options { credentials, ..options.clone() };
        let reference: RegistryReference = "r.example/team/a:1".parse().unwrap();
        let cache = "https://cache.example:5000/r/team/a";
        assert_eq!(shown(&for_pull(&reference, &proxied).unwrap()), cache);
        assert_eq!(shown(&[for_tags(&reference, &proxied).unwrap()]), cache);
        let own = "!https://r.example/team/a";
        assert_eq!(shown(&[for_push(&reference, &proxied).unwrap()]), own);

        let blocked: RegistryReference = "r.example/secret/a:1".parse().unwrap();
        let message = for_pull(&blocked, &options).unwrap_err().to_string();
        assert!(
            message.contains("r.example/secret/a:1") && message.contains("blocks"),
            "{message}"
        );
        assert!(for_push(&blocked, &options).is_err());
    }
}
