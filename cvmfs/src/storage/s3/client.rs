//! The HTTP client of a bucket: settings of its URL on top of those of the environment.

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use super::patience::{Patience, RETRY_WINDOW};
use crate::storage::url::S3Url;

/// The header that says who may read what is put.
const ACL_HEADER: http::HeaderName = http::HeaderName::from_static("x-amz-acl");

/// Two clients of a bucket: one that reads, and one that says who may read what it puts.
pub(super) fn connect(url: &S3Url, patience: Patience) -> Result<[AmazonS3; 2], String> {
    let environment = match url.credentials {
        None => AmazonS3Builder::from_env(),
        // A session token of the environment belongs to another key.
        Some(_) => AmazonS3Builder::new(),
    };
    let builder = builder(url, patience, environment)?;
    let client = |options| {
        builder.clone().with_client_options(options).build().map_err(|error| error.to_string())
    };
    let options = client_options(url);
    let reader = client(options.clone())?;
    let writer = match &url.acl {
        None => reader.clone(),
        Some(acl) => {
            let value = acl.parse().map_err(|_| format!("acl={acl} is no header"))?;
            let headers = [(ACL_HEADER, value)].into_iter().collect();
            client(options.with_default_headers(headers))?
        }
    };
    Ok([reader, writer])
}

fn client_options(url: &S3Url) -> ClientOptions {
    let options = ClientOptions::new()
        .with_allow_http(url.allow_http)
        // The limits are those of `patience`.
        .with_timeout_disabled()
        .with_connect_timeout(url.timeout)
        .with_pool_max_idle_per_host(url.parallel.get());
    match &url.proxy {
        Some(proxy) => options.with_proxy_url(proxy.as_str()),
        None => options,
    }
}

/// The settings of a client, on top of what the environment says.
fn builder(
    url: &S3Url,
    patience: Patience,
    environment: AmazonS3Builder,
) -> Result<AmazonS3Builder, String> {
    let mut builder = environment
        .with_bucket_name(&url.bucket)
        // Not every server has the request that deletes many objects.
        .with_disable_bulk_delete(true)
        .with_http_connector(patience)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: url.retries,
            retry_timeout: RETRY_WINDOW,
        });
    if let Some(region) = &url.region {
        builder = builder.with_region(region);
    }
    if let Some(credentials) = &url.credentials {
        builder = builder
            .with_access_key_id(&credentials.access_key)
            .with_secret_access_key(&credentials.secret_key);
    }
    match &url.endpoint {
        Some(endpoint) => {
            let mut endpoint = endpoint.clone();
            if url.virtual_host {
                let server =
                    endpoint.host_str().ok_or_else(|| format!("{endpoint} names no host"))?;
                let host = format!("{}.{server}", url.bucket);
                endpoint
                    .set_host(Some(&host))
                    .map_err(|error| format!("{host} is no host: {error}"))?;
            }
            builder = builder
                .with_endpoint(endpoint.as_str().trim_end_matches('/'))
                .with_virtual_hosted_style_request(url.virtual_host);
            // Only Amazon's own machines learn their key from the network.
            let sources = [
                AmazonS3ConfigKey::AccessKeyId,
                AmazonS3ConfigKey::WebIdentityTokenFile,
                AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
                AmazonS3ConfigKey::ContainerCredentialsFullUri,
            ];
            let unsigned = builder.get_config_value(&AmazonS3ConfigKey::SkipSignature);
            if unsigned.as_deref() != Some("true")
                && sources.iter().all(|key| builder.get_config_value(key).is_none())
            {
                return Err(
                    "there is no key; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
                        .to_owned(),
                );
            }
        }
        None if builder.get_config_value(&AmazonS3ConfigKey::Endpoint).is_none() => {
            builder = builder.with_virtual_hosted_style_request(true);
        }
        None => {}
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::StorageUrl;

    #[test]
    fn addresses_are_those_that_servers_expect() {
        let settings = |text: &str| {
            let url = match text.parse().unwrap() {
                StorageUrl::S3(url) => url,
                other => panic!("{other}"),
            };
            let environment = AmazonS3Builder::new().with_access_key_id("name");
            let builder = builder(&url, Patience { base: url.timeout }, environment).unwrap();
            [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::VirtualHostedStyleRequest]
                .map(|key| builder.get_config_value(&key))
        };
        let some = |text: &str| Some(text.to_owned());
        for (url, expected) in [
            ("s3://images/x", [None, some("true")]),
            (
                "s3://images/x?endpoint=https://s3.example.org",
                [some("https://s3.example.org"), some("false")],
            ),
            (
                "s3://images/x?endpoint=http://s3.example.org:9000&virtual_host=true&allow_http=true",
                [some("http://images.s3.example.org:9000"), some("true")],
            ),
        ] {
            assert_eq!(settings(url), expected, "{url}");
        }
    }

    #[test]
    fn a_key_is_needed() {
        let url = S3Url {
            endpoint: Some("https://s3.example.org".parse().unwrap()),
            ..S3Url::new("images", "x")
        };
        let patience = Patience { base: url.timeout };
        let error = builder(&url, patience, AmazonS3Builder::new()).unwrap_err();
        assert!(error.contains("AWS_ACCESS_KEY_ID"), "{error}");
        let unsigned = AmazonS3Builder::new().with_skip_signature(true);
        assert!(builder(&url, patience, unsigned).is_ok());
    }
}
