//! What a registry needs to authenticate its users: a certificate from a private authority, and a token server that
//! speaks the distribution project's token protocol (`docs/spec/auth/token.md`, `jwt.md`).

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SigningKey};
use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey;
use rsa::rand_core::OsRng;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// The files of a server certificate for `localhost` and `127.0.0.1`.
#[derive(Debug)]
pub struct Certificate {
    /// The authority's certificate, PEM.
    pub authority: PathBuf,
    /// The server's certificate, PEM.
    pub cert: PathBuf,
    /// The server's private key, PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// Creates an authority and a certificate signed by it, as files in `dir`.
    pub fn for_localhost(dir: &Path) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let server_key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = CertificateParams::new(names)?.signed_by(&server_key, &authority)?;
        let files = Self {
            authority: dir.join("ca.crt"),
            cert: dir.join("server.crt"),
            key: dir.join("server.key"),
        };
        fs::write(&files.authority, authority.pem())?;
        fs::write(&files.cert, server.pem())?;
        fs::write(&files.key, server_key.serialize_pem())?;
        Ok(files)
    }
}

/// The length of the key that signs tokens.
const TOKEN_KEY_BITS: usize = 2048;

/// How many seconds a token is valid, unless a test sets another lifetime.
const TOKEN_SECONDS: u64 = 300;

/// Issues tokens; runs until it is dropped.
#[derive(Debug)]
pub struct TokenServer {
    address: SocketAddr,
    bundle: PathBuf,
    state: Arc<Issuer>,
    stop: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Issuer {
    key: KeyPair,
    /// The certificate for `key`, DER.
    certificate: Vec<u8>,
    /// The only `Authorization` header that is accepted.
    authorization: String,
    seconds: AtomicU64,
    issued: AtomicUsize,
}

impl TokenServer {
    /// Starts one for a single user and writes its certificate to `dir`.
    pub fn start(dir: &Path, user: &str, password: &str) -> Result<Self> {
        // The registry's token library verifies RS256 against the certificate in the token's header (`x5c`).
        let key = RsaPrivateKey::new(&mut OsRng, TOKEN_KEY_BITS)?.to_pkcs8_der()?;
        let key = KeyPair::try_from(key.as_bytes())?;
        let certificate =
            CertificateParams::new(vec!["token.e2e".to_owned()])?.self_signed(&key)?;
        let bundle = dir.join("token.crt");
        fs::write(&bundle, certificate.pem())?;
        let state = Arc::new(Issuer {
            key,
            certificate: certificate.der().to_vec(),
            authorization: format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
            seconds: AtomicU64::new(TOKEN_SECONDS),
            issued: AtomicUsize::new(0),
        });
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let router = Router::new().route("/token", get(token)).with_state(Arc::clone(&state));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("token-server".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let ended = async {
                    // Dropping the sender also ends it.
                    let _ = stopped.await;
                };
                axum::serve(listener, router).with_graceful_shutdown(ended).await
            })
        })?;
        Ok(Self { address, bundle, state, stop: Some(stop) })
    }

    /// The registry's settings, each line indented by `indent`.
    pub fn registry_config(&self, indent: &str) -> String {
        format!(
            "{indent}realm: http://{}/token\n{indent}service: e2e\n{indent}issuer: e2e\n{indent}rootcertbundle: {}\n",
            self.address,
            self.bundle.display()
        )
    }

    /// A token for `scope` (`repository:NAME:ACTIONS`), as an authorized user would get it.
    pub fn grant(&self, scope: &str) -> Result<String> {
        let answer = self.state.issue(&format!("service=e2e&scope={scope}"))?;
        Ok(answer["token"].as_str().unwrap_or_default().to_owned())
    }

    /// How many tokens were issued.
    pub fn issued(&self) -> usize {
        self.state.issued.load(Ordering::Relaxed)
    }

    /// Makes tokens issued from now on valid for `seconds`. The registry allows a minute more for clock skew.
    pub fn set_lifetime(&self, seconds: u64) {
        self.state.seconds.store(seconds, Ordering::Relaxed);
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // A server that has already ended needs no stopping.
            let _ = stop.send(());
        }
    }
}

async fn token(
    State(issuer): State<Arc<Issuer>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, (StatusCode, String)> {
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    if given != Some(issuer.authorization.as_str()) {
        return Err((StatusCode::UNAUTHORIZED, "unknown user or wrong password".to_owned()));
    }
    let answer = issuer.issue(&query.unwrap_or_default());
    answer.map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

impl Issuer {
    /// Grants everything that the `scope` parameters of the query request.
    fn issue(&self, query: &str) -> Result<Value> {
        let url = reqwest::Url::parse(&format!("http://token/?{query}"))?;
        let access: Vec<Value> = url
            .query_pairs()
            .filter(|(name, _)| name == "scope")
            .flat_map(|(_, scopes)| scopes.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|scope| {
                // `type:name:actions`, where the name may contain colons.
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                Some(json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}))
            })
            .collect();
        let service: HashMap<_, _> = url.query_pairs().collect();
        let audience = service.get("service").map_or("e2e", |name| name.as_ref());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock is before 1970")?
            .as_secs();
        let seconds = self.seconds.load(Ordering::Relaxed);
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let header =
            json!({"typ": "JWT", "alg": "RS256", "x5c": [STANDARD.encode(&self.certificate)]});
        let claims = json!({
            "iss": "e2e", "sub": "e2e", "aud": audience, "access": access,
            "exp": now + seconds, "nbf": now.saturating_sub(10), "iat": now, "jti": number.to_string(),
        });
        let signed = format!("{}.{}", encode(&header)?, encode(&claims)?);
        let signature = self
            .key
            .sign(signed.as_bytes())
            .map_err(|error| anyhow!("signing a token: {error}"))?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        Ok(json!({"token": token, "access_token": token, "expires_in": seconds}))
    }
}

fn encode(value: &Value) -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(value)?))
}
