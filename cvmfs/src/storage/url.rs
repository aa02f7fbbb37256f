//! How people spell a storage.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::{Error, Result};

/// Where a storage is. As text `file:///DIR` or `s3://BUCKET/PREFIX?SETTING=VALUE&…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageUrl {
    /// A directory of this machine. The text is taken as it is, nothing is percent-decoded.
    Local(PathBuf),
    /// A part of an S3 bucket.
    S3(Box<S3Url>),
}

/// A part of an S3 bucket and how to reach it. Settings of the URL have the names of the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Url {
    /// The bucket.
    pub bucket: String,
    /// What all keys of the repository begin with, without a slash at either end; may be empty.
    pub prefix: String,
    /// The server, if it is not Amazon's: scheme, host and port.
    pub endpoint: Option<Url>,
    /// The region that requests are signed for.
    pub region: Option<String>,
    /// Whether the endpoint may be spoken to without TLS.
    pub allow_http: bool,
    /// Whether the bucket is named in the host rather than in the path. Amazon's always are.
    pub virtual_host: bool,
    /// A canned access control list for everything that is put, such as `public-read`.
    pub acl: Option<String>,
    /// An HTTP proxy.
    pub proxy: Option<Url>,
    /// How long the server may take to answer, in seconds. An upload gets one more for each 64 KiB.
    pub timeout: Duration,
    /// How often a failed request is repeated.
    pub retries: usize,
    /// How many requests there may be at a time.
    pub parallel: NonZeroUsize,
    /// The key, if it does not come from the environment (`AWS_…`). It is never part of the text.
    pub credentials: Option<Credentials>,
}

/// A key for a bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Its name.
    pub access_key: String,
    /// The secret.
    pub secret_key: String,
}

const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: usize = 10;
const PARALLEL: NonZeroUsize = NonZeroUsize::new(32).unwrap();

impl S3Url {
    /// A part of a bucket with no settings but defaults.
    pub fn new(bucket: &str, prefix: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            endpoint: None,
            region: None,
            allow_http: false,
            virtual_host: false,
            acl: None,
            proxy: None,
            timeout: TIMEOUT,
            retries: RETRIES,
            parallel: PARALLEL,
            credentials: None,
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        fn parse<T: FromStr>(name: &str, value: &str, expected: &str) -> Result<T, String> {
            value.parse().map_err(|_| format!("{name}={value} is not {expected}"))
        }
        match name {
            "endpoint" => self.endpoint = Some(web(name, value)?),
            "region" => self.region = Some(value.to_owned()),
            "allow_http" => self.allow_http = parse(name, value, "true or false")?,
            "virtual_host" => self.virtual_host = parse(name, value, "true or false")?,
            "acl" => self.acl = Some(value.to_owned()),
            "proxy" => self.proxy = Some(web(name, value)?),
            "timeout" => {
                let seconds = parse::<std::num::NonZeroU32>(name, value, "a number of seconds")?;
                self.timeout = Duration::from_secs(u64::from(seconds.get()));
            }
            "retries" => self.retries = parse(name, value, "a number")?,
            "parallel" => self.parallel = parse(name, value, "a number above 0")?,
            _ => {
                return Err(format!(
                    "there is no setting {name}; known are endpoint, region, allow_http, virtual_host, acl, \
                     proxy, timeout, retries, parallel"
                ));
            }
        }
        Ok(())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        let bucket = url.host_str().unwrap_or_default();
        if bucket.is_empty() {
            return Err("it names no bucket".to_owned());
        }
        if url.port().is_some() || !url.username().is_empty() || url.fragment().is_some() {
            return Err("it has a port, a user or a fragment; the server is given by ?endpoint=URL, the key by \
                        AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
                .to_owned());
        }
        if url.path().contains('%') || url.path().contains("//") {
            return Err("keys may have letters, digits and -._~ between single slashes".to_owned());
        }
        let mut s3 = Self::new(bucket, url.path());
        for (name, value) in url.query_pairs() {
            s3.set(&name, &value)?;
        }
        s3.check()?;
        Ok(s3)
    }

    /// Whether the settings fit together.
    pub(super) fn check(&self) -> Result<(), String> {
        match &self.endpoint {
            Some(endpoint) if endpoint.scheme() == "http" && !self.allow_http => {
                Err(format!("{endpoint} has no TLS; if that is meant, add allow_http=true"))
            }
            _ => Ok(()),
        }
    }
}

impl StorageUrl {
    /// The last name of the directory or key that the repository is in.
    pub fn last_name(&self) -> Option<&str> {
        match self {
            Self::Local(path) => path.file_name()?.to_str(),
            Self::S3(s3) => s3.prefix.rsplit('/').next(),
        }
    }
}

/// The URL of a web server.
pub(crate) fn web(name: &str, value: &str) -> Result<Url, String> {
    match Url::parse(value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(format!("{name}={value} is no http:// or https:// URL")),
    }
}

impl FromStr for StorageUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("file://").filter(|path| path.starts_with('/')) {
            return Ok(Self::Local(PathBuf::from(path)));
        }
        let parsed = match text.starts_with("s3://") {
            true => S3Url::parse(text).map(|s3| Self::S3(Box::new(s3))),
            false => {
                Err("expected file:///DIRECTORY or s3://BUCKET/PREFIX?endpoint=URL".to_owned())
            }
        };
        parsed.map_err(|reason| Error::InvalidStorage { storage: format!("{text:?}"), reason })
    }
}

impl fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "file://{}", path.display()),
            Self::S3(s3) => s3.fmt(f),
        }
    }
}

impl fmt::Display for S3Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::new("", "");
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let text = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
        let settings = [
            ("endpoint", self.endpoint.as_ref().map(text)),
            ("region", self.region.clone()),
            ("allow_http", self.allow_http.then(|| "true".to_owned())),
            ("virtual_host", self.virtual_host.then(|| "true".to_owned())),
            ("acl", self.acl.clone()),
            ("proxy", self.proxy.as_ref().map(text)),
            (
                "timeout",
                (self.timeout != default.timeout).then(|| self.timeout.as_secs().to_string()),
            ),
            ("retries", (self.retries != default.retries).then(|| self.retries.to_string())),
            ("parallel", (self.parallel != default.parallel).then(|| self.parallel.to_string())),
        ];
        for (name, value) in settings {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        match query.finish() {
            query if query.is_empty() => Ok(()),
            query => write!(f, "?{query}"),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storages_are_spelled_as_urls() {
        let full = "s3://images/sub/repo.example.org?endpoint=http%3A%2F%2Flocalhost%3A9000&region=eu&allow_http=true\
                    &virtual_host=true&acl=public-read&proxy=http%3A%2F%2Fproxy%3A3128&timeout=5&retries=3&parallel=7";
        for text in [
            "file:///srv/cvmfs/repo.example.org",
            "s3://images",
            "s3://images/repo.example.org",
            full,
        ] {
            let url: StorageUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
        }
        let StorageUrl::S3(s3) = full.parse().unwrap() else { panic!("{full}") };
        assert_eq!(
            *s3,
            S3Url {
                endpoint: Some("http://localhost:9000".parse().unwrap()),
                region: Some("eu".to_owned()),
                allow_http: true,
                virtual_host: true,
                acl: Some("public-read".to_owned()),
                proxy: Some("http://proxy:3128".parse().unwrap()),
                timeout: Duration::from_secs(5),
                retries: 3,
                parallel: NonZeroUsize::new(7).unwrap(),
                ..S3Url::new("images", "sub/repo.example.org")
            }
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_reason() {
        for (text, reason) in [
            ("/srv/cvmfs", "expected file:///"),
            ("file://srv", "expected file:///"),
            ("s3:///x", "no bucket"),
            ("s3://bucket:80/x", "?endpoint=URL"),
            ("s3://key@bucket/x", "AWS_ACCESS_KEY_ID"),
            ("s3://bucket/a b", "letters"),
            ("s3://bucket/a//b", "single slashes"),
            ("s3://bucket/x?endpoint=localhost:9000", "no http:// or https:// URL"),
            ("s3://bucket/x?endpoint=http://localhost:9000", "allow_http=true"),
            ("s3://bucket/x?allow_http=yes", "true or false"),
            ("s3://bucket/x?parallel=0", "above 0"),
            ("s3://bucket/x?timeout=0", "seconds"),
            ("s3://bucket/x?colour=blue", "known are endpoint"),
        ] {
            let error = text.parse::<StorageUrl>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials =
            Credentials { access_key: "name".to_owned(), secret_key: "secret".to_owned() };
        let s3 = S3Url { credentials: Some(credentials), ..S3Url::new("bucket", "") };
        for text in [format!("{s3:?}"), s3.to_string()] {
            assert!(!text.contains("secret\""), "{text}");
        }
    }
}
