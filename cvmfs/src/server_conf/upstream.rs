//! How stock servers spell a storage: `CVMFS_UPSTREAM_STORAGE` of a repository's `server.conf`, for S3 with a
//! configuration file of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::assignments::Assignments;
use crate::storage::{Credentials, S3Url, StorageUrl, web};
use crate::{Error, Result};

/// What a stock server puts on objects if its configuration says nothing: without it, nobody could read them.
const DEFAULT_ACL: &str = "public-read";

/// The storage of a text `local,TEMPORARY,DIRECTORY` or `S3,TEMPORARY,PREFIX@CONFIGURATION`. The S3 configuration
/// file is read.
///
/// # Errors
/// If it is another kind of storage, or the configuration file cannot be read or lacks something.
pub(super) fn parse(text: &str) -> Result<StorageUrl> {
    let unusable = |reason: &str| Error::InvalidStorage {
        storage: text.to_owned(),
        reason: reason.to_owned(),
    };
    let parts: Vec<&str> = text.splitn(3, ',').collect();
    let &[kind, _temporary, place] = parts.as_slice() else {
        return Err(unusable("expected KIND,TEMPORARY,PLACE"));
    };
    match kind {
        "local" => Ok(StorageUrl::Local(PathBuf::from(place))),
        "S3" => {
            let (prefix, file) = place
                .split_once('@')
                .ok_or_else(|| unusable("expected S3,TEMPORARY,PREFIX@CONFIGURATION"))?;
            let path = Path::new(file);
            let settings = fs::read_to_string(path).map_err(|cause| Error::System {
                action: "read the S3 configuration",
                path: path.to_owned(),
                cause,
            })?;
            bucket(prefix, &settings)
                .map(|url| StorageUrl::S3(Box::new(url)))
                .map_err(|reason| Error::Settings { path: path.to_owned(), reason })
        }
        "gw" => Err(unusable("the repository is behind a gateway; publish on the gateway's host")),
        _ => Err(unusable("only local and S3 storage is known")),
    }
}

/// The bucket of a stock S3 configuration file.
fn bucket(prefix: &str, file: &str) -> Result<S3Url, String> {
    let assignments = Assignments::parse(file);
    let optional = |name: &str| assignments.get(name);
    let needed = |name: &str| optional(name)?.ok_or_else(|| format!("it does not set {name}"));
    let flag = |name: &str, default| Ok::<_, String>(optional(name)?.map_or(default, is_on));
    let number = |name: &str| match optional(name)? {
        None => Ok(None),
        Some(value) => value.parse::<u32>().map(Some).map_err(|_| format!("{name} is no number")),
    };
    if optional("CVMFS_S3_FLAVOR")? == Some("azure") {
        return Err("Azure's own protocol is not known, only S3".to_owned());
    }
    let tls = flag("CVMFS_S3_USE_HTTPS", false)?;
    let mut endpoint =
        format!("{}://{}", if tls { "https" } else { "http" }, needed("CVMFS_S3_HOST")?);
    if let Some(port) = number("CVMFS_S3_PORT")? {
        endpoint = format!("{endpoint}:{port}");
    }
    let mut url = S3Url {
        endpoint: Some(web("CVMFS_S3_HOST", &endpoint)?),
        region: optional("CVMFS_S3_REGION")?.map(str::to_owned),
        allow_http: !tls,
        virtual_host: flag("CVMFS_S3_DNS_BUCKETS", true)?,
        acl: Some(optional("CVMFS_S3_X_AMZ_ACL")?.unwrap_or(DEFAULT_ACL).to_owned()),
        proxy: optional("CVMFS_S3_PROXY")?.map(|url| web("CVMFS_S3_PROXY", url)).transpose()?,
        credentials: Some(Credentials {
            access_key: needed("CVMFS_S3_ACCESS_KEY")?.to_owned(),
            secret_key: needed("CVMFS_S3_SECRET_KEY")?.to_owned(),
        }),
        ..S3Url::new(needed("CVMFS_S3_BUCKET")?, prefix)
    };
    if let Some(seconds) = number("CVMFS_S3_TIMEOUT")?.filter(|&seconds| seconds > 0) {
        url.timeout = Duration::from_secs(u64::from(seconds));
    }
    if let Some(retries) = number("CVMFS_S3_MAX_RETRIES")? {
        url.retries = usize::try_from(retries).unwrap_or(usize::MAX);
    }
    let parallel = number("CVMFS_S3_MAX_NUMBER_OF_PARALLEL_CONNECTIONS")?;
    if let Some(parallel) = parallel.and_then(|n| usize::try_from(n).ok()?.try_into().ok()) {
        url.parallel = parallel;
    }
    Ok(url)
}

/// What stock tools take for "yes".
fn is_on(value: &str) -> bool {
    ["yes", "on", "true", "1"].iter().any(|yes| yes.eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "# the bucket\nCVMFS_S3_HOST=s3.example.org\nCVMFS_S3_BUCKET='images'\n\n\
                           CVMFS_S3_ACCESS_KEY=\"name\"\nexport CVMFS_S3_SECRET_KEY=a=b\n";

    fn minimal() -> S3Url {
        S3Url {
            endpoint: Some("http://s3.example.org".parse().unwrap()),
            allow_http: true,
            virtual_host: true,
            acl: Some("public-read".to_owned()),
            credentials: Some(Credentials {
                access_key: "name".to_owned(),
                secret_key: "a=b".to_owned(),
            }),
            ..S3Url::new("images", "sub/repo.example.org")
        }
    }

    #[test]
    fn stock_configurations_are_understood() {
        for (more, expected) in [
            ("", minimal()),
            (
                "CVMFS_S3_DNS_BUCKETS=false\nCVMFS_S3_REGION=eu\nCVMFS_S3_PORT=9000\nCVMFS_S3_X_AMZ_ACL=private",
                S3Url {
                    endpoint: Some("http://s3.example.org:9000".parse().unwrap()),
                    virtual_host: false,
                    region: Some("eu".to_owned()),
                    acl: Some("private".to_owned()),
                    ..minimal()
                },
            ),
            (
                "CVMFS_S3_USE_HTTPS=on\nCVMFS_S3_TIMEOUT=7\nCVMFS_S3_MAX_RETRIES=2\nCVMFS_S3_PROXY=http://p:1\n\
                 CVMFS_S3_MAX_NUMBER_OF_PARALLEL_CONNECTIONS=9\nCVMFS_S3_PEEK_BEFORE_PUT=yes",
                S3Url {
                    endpoint: Some("https://s3.example.org".parse().unwrap()),
                    allow_http: false,
                    timeout: Duration::from_secs(7),
                    retries: 2,
                    parallel: 9.try_into().unwrap(),
                    proxy: Some("http://p:1".parse().unwrap()),
                    ..minimal()
                },
            ),
        ] {
            let text = format!("{MINIMAL}{more}\n");
            assert_eq!(bucket("sub/repo.example.org", &text).unwrap(), expected, "{more}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for name in
            ["CVMFS_S3_HOST", "CVMFS_S3_BUCKET", "CVMFS_S3_ACCESS_KEY", "CVMFS_S3_SECRET_KEY"]
        {
            let text: String = MINIMAL
                .lines()
                .filter(|line| !line.contains(name))
                .map(|line| format!("{line}\n"))
                .collect();
            let reason = bucket("x", &text).unwrap_err();
            assert!(reason.contains(name), "{reason}");
        }
        for (more, reason) in [
            ("CVMFS_S3_FLAVOR=azure", "Azure"),
            ("CVMFS_S3_PORT=many", "CVMFS_S3_PORT is no number"),
            ("CVMFS_S3_PROXY=DIRECT", "CVMFS_S3_PROXY"),
            ("CVMFS_S3_SECRET_KEY=$SECRET", "only a shell"),
        ] {
            let error = bucket("x", &format!("{MINIMAL}{more}")).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn storage_strings_are_understood() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("s3.conf");
        fs::write(&file, MINIMAL).unwrap();
        let s3 = format!("S3,/var/spool/cvmfs/x/tmp,sub/repo.example.org@{}", file.display());
        assert_eq!(parse(&s3).unwrap(), StorageUrl::S3(Box::new(minimal())));
        assert_eq!(
            parse("local,/srv/cvmfs/x/data/txn,/srv/cvmfs/x").unwrap(),
            StorageUrl::Local("/srv/cvmfs/x".into())
        );
        for (text, reason) in [
            ("local", "KIND,TEMPORARY,PLACE"),
            ("gw,/srv/x,http://gateway:4929/api/v1", "gateway"),
            ("S3,/tmp,alias", "PREFIX@CONFIGURATION"),
            ("S3,/tmp,alias@/does/not/exist", "/does/not/exist"),
            ("ftp,/tmp,x", "only local and S3"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
