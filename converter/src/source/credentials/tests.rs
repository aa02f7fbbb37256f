use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::auth_file::{AuthFile, standard_paths};
use super::environment::{Registries, read_push_password};
use super::{Credential, Credentials, Error, Mirror, Secret, helper};
use crate::scripts;

fn password(username: &str, password: &str) -> Option<Credential> {
    let password = Secret::from(password.to_owned());
    Some(Credential::Password { username: username.to_owned(), password })
}

fn variables<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
    |name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
}

#[test]
fn auth_files_match_hosts_exactly() {
    // base64 of u:1, u:2, …; the last is padded with NUL, as Docker does.
    let file = r#"{
        "auths": {
            "registry.example": {"auth": "dTox"},
            "registry.example:5000": {"auth": "dToy"},
            "https://old.example/v1/": {"auth": "dToz"},
            "https://index.docker.io/v1/": {"auth": "dTo0"},
            "quay.io/team": {"auth": "dTo1"},
            "quay.io/team/app": {"auth": "dTo2"},
            "quay.io": {"auth": "dTo3"},
            "plain.example": {"username": "u", "password": "8"},
            "token.example": {"identitytoken": "t", "auth": "dTo5"},
            "user.example": {"auth": "PHRva2VuPjp0"},
            "colon.example": {"auth": "dTphOmI="},
            "padded.example": {"auth": "dTo5AAA="},
            "empty.example": {},
            "CASE.example": {"auth": "dTox"}
        },
        "HttpHeaders": {"User-Agent": "x"}
    }"#;
    let path = Path::new("config.json");
    let file = AuthFile::parse(path, file.as_bytes()).unwrap();
    let token = || Some(Credential::IdentityToken(Secret::from("t".to_owned())));
    for (registry, repository, expected) in [
        ("registry.example", "a", password("u", "1")),
        ("registry.example:443", "a", password("u", "1")),
        ("registry.example:5000", "a", password("u", "2")),
        ("registry.example:5001", "a", None),
        ("evil-registry.example", "a", None),
        ("registry.example.evil.org", "a", None),
        ("example", "a", None),
        ("evil.org", "registry.example/a", None),
        ("old.example", "a", password("u", "3")),
        ("docker.io", "library/a", password("u", "4")),
        ("registry-1.docker.io", "library/a", password("u", "4")),
        ("registry.hub.docker.com", "library/a", password("u", "4")),
        ("hub.docker.com", "library/a", None),
        ("quay.io", "team/other", password("u", "5")),
        ("quay.io", "team", password("u", "5")),
        ("quay.io", "team/app", password("u", "6")),
        ("quay.io", "team/app/deep", password("u", "6")),
        ("quay.io", "team/apple", password("u", "5")),
        ("quay.io", "teammate/app", password("u", "7")),
        ("plain.example", "a", password("u", "8")),
        ("token.example", "a", token()),
        ("user.example", "a", token()),
        ("colon.example", "a", password("u", "a:b")),
        ("padded.example", "a", password("u", "9")),
        ("empty.example", "a", None),
        ("case.example", "a", password("u", "1")),
    ] {
        let found = file.login(path, registry, repository).unwrap();
        assert_eq!(found, expected, "{registry}/{repository}");
    }
}

#[test]
fn broken_auth_files_are_told_without_their_secrets() {
    let path = Path::new("/home/me/.docker/config.json");
    for text in [
        r#"{"auths": {"a": {"auth": 12345}}}"#,
        r#"{"auths": {"a": {"auth": "secret!"}}}"#,
        r#"{"auths": {"a": {"auth": "c2VjcmV0"}}}"#,
        r#"{"auths": "secret"}"#,
        "secret",
    ] {
        let error = AuthFile::parse(path, text.as_bytes())
            .and_then(|file| file.login(path, "a", "b").map(|_| ()))
            .unwrap_err();
        let message = error.to_string();
        assert!(message.contains("/home/me/.docker/config.json"), "{message}");
        assert!(!message.contains("secret") && !message.contains("12345"), "{message}");
    }
    assert_eq!(AuthFile::parse(path, b" \n").unwrap().login(path, "a", "b").unwrap(), None);
    assert_eq!(AuthFile::parse(path, b"{}").unwrap().login(path, "a", "b").unwrap(), None);
}

#[test]
fn where_auth_files_are() {
    let home = ("HOME", "/h");
    for (set, paths) in [
        (vec![], vec![]),
        (vec![home], vec!["/h/.config/containers/auth.json", "/h/.docker/config.json"]),
        (
            vec![
                home,
                ("XDG_RUNTIME_DIR", "/r"),
                ("XDG_CONFIG_HOME", "/c"),
                ("DOCKER_CONFIG", "/d"),
            ],
            vec!["/r/containers/auth.json", "/c/containers/auth.json", "/d/config.json"],
        ),
        (
            vec![home, ("XDG_RUNTIME_DIR", "/r"), ("REGISTRY_AUTH_FILE", "/a.json")],
            vec!["/a.json", "/h/.docker/config.json"],
        ),
        (
            vec![("DOCKER_CONFIG", ""), home],
            vec!["/h/.config/containers/auth.json", "/h/.docker/config.json"],
        ),
    ] {
        let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
        assert_eq!(standard_paths(variables(&set)), paths, "{set:?}");
    }
}

#[test]
fn variables_of_ducc() {
    let set = [
        ("DUCC_AUTH_REGISTRIES", "ONE,, TWO ,THREE"),
        ("DUCC_ONE_IDENT", "registry.example:5000"),
        ("DUCC_ONE_USER", "u"),
        ("DUCC_ONE_PASS", "p"),
        ("DUCC_TWO_IDENT", "https://docker.io/"),
        ("DUCC_TWO_PROXY", "https://harbor.example:8443/hub/"),
        ("DUCC_TWO_USER", "never used"),
        ("DUCC_THREE_IDENT", "quay.io"),
        ("DUCC_THREE_PROXY", "mirror.example"),
    ];
    let registries = Registries::read(variables(&set)).unwrap();
    let login = |registry: &str| registries.login(registry).map(|found| found.credential.clone());
    assert_eq!(login("registry.example:5000"), password("u", "p"));
    assert_eq!(login("registry.example"), None);
    assert_eq!(login("my-registry.example:5000"), None);
    assert_eq!(login("docker.io"), None);
    let mirror = |host: &str, path: &str| Mirror { host: host.to_owned(), path: path.to_owned() };
    assert_eq!(registries.mirror("docker.io"), Some(&mirror("harbor.example:8443", "hub")));
    assert_eq!(registries.mirror("quay.io"), Some(&mirror("mirror.example", "")));
    assert_eq!(registries.mirror("registry.example:5000"), None);
    assert_eq!(Registries::read(variables(&[])).unwrap(), Registries::default());

    for missing in ["DUCC_ONE_IDENT", "DUCC_ONE_USER", "DUCC_ONE_PASS", "DUCC_THREE_IDENT"] {
        let rest: Vec<_> = set.iter().copied().filter(|(name, _)| *name != missing).collect();
        match Registries::read(variables(&rest)) {
            Err(Error::Environment { variable, .. }) => assert_eq!(variable, missing),
            other => panic!("{missing}: {other:?}"),
        }
    }
}

#[test]
fn the_password_for_pushes() {
    let new = ("DUCC_OUTPUT_REGISTRY_PASS", "new");
    let old = ("DUCC_DOCKER_REGISTRY_PASS", "old");
    let oldest = ("DOCKER2CVMFS_DOCKER_REGISTRY_PASS", "oldest");
    for (set, password) in
        [(vec![oldest, old, new], "new"), (vec![oldest, old], "old"), (vec![oldest], "oldest")]
    {
        assert_eq!(read_push_password(variables(&set)).unwrap(), password);
    }
    assert!(read_push_password(variables(&[])).is_err());
}

#[tokio::test]
async fn helpers() {
    let directory = tempfile::tempdir().unwrap();
    for (script, expected) in [
        (
            r#"read r; test "$1 $r" = "get r.example" && echo '{"ServerURL":"x","Username":"u","Secret":"p"}'"#,
            Ok(Some("u:p")),
        ),
        (r#"echo '{"Username":"","Secret":""}'"#, Ok(None)),
        ("echo credentials not found in native keychain; exit 1", Ok(None)),
        ("echo no display; exit 3", Err("exit status: 3: no display")),
        ("echo p; exit 0", Err("its answer is not the JSON of a login")),
    ] {
        let program = directory.path().join("helper");
        scripts::write(&program, script);
        let answer =
            helper::get(program.to_str().unwrap(), Path::new("auth.json"), "r.example").await;
        match (answer, expected) {
            (Ok(answer), Ok(expected)) => {
                let answer = answer.map(|answer| format!("{}:{}", answer.username, answer.secret));
                assert_eq!(answer.as_deref(), expected, "{script}");
            }
            (Err(helper::HelperFailure::Failed(error)), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{script}: {error}");
            }
            (answer, _) => panic!("{script}: {:?}", answer.is_ok()),
        }
    }
}

/// A `credsStore` that is not installed is ignored; a missing helper that is named for the registry is an error.
#[tokio::test]
async fn helpers_that_are_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let find = async |content: &str| {
        std::fs::write(&file, content).unwrap();
        let credentials = Credentials::default().with_file(&file);
        credentials.find("r.example", "a").await.map(|found| found.map(|found| found.credential))
    };
    let auths = r#""auths": {"r.example": {"auth": "dTox"}}"#;
    let store = format!(r#"{{"credsStore": "is-not-installed", {auths}}}"#);
    assert_eq!(find(&store).await.unwrap(), password("u", "1"));
    let helper = format!(r#"{{"credHelpers": {{"r.example": "is-not-installed"}}, {auths}}}"#);
    let message = find(&helper).await.unwrap_err().to_string();
    assert!(message.contains("docker-credential-is-not-installed"), "{message}");
    let other = format!(r#"{{"credHelpers": {{"other.example": "is-not-installed"}}, {auths}}}"#);
    assert_eq!(find(&other).await.unwrap(), password("u", "1"));
}

#[tokio::test]
async fn a_given_login_is_the_strongest() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    std::fs::write(
        &file,
        r#"{"auths": {"a.example": {"auth": "dTox"}, "b.example": {"auth": "dToy"}}}"#,
    )
    .unwrap();
    let credentials = Credentials::default().with_file(&file).with_login("a.example", "given", "x");
    let find = async |registry: &str| {
        credentials.find(registry, "r").await.unwrap().map(|found| found.credential)
    };
    assert_eq!(find("a.example").await, password("given", "x"));
    assert_eq!(find("b.example").await, password("u", "2"));
    assert_eq!(find("c.example").await, None);
}

/// A wish list chooses one of several accounts by its label.
#[test]
fn logins_by_name() {
    let set = [
        ("DUCC_AUTH_REGISTRIES", "ONE,TWO,HUB,CACHE"),
        ("DUCC_ONE_IDENT", "r.example:5000"),
        ("DUCC_ONE_USER", "one"),
        ("DUCC_ONE_PASS", "secret"),
        ("DUCC_TWO_IDENT", "https://r.example:5000/"),
        ("DUCC_TWO_USER", "two"),
        ("DUCC_TWO_PASS", "secret"),
        ("DUCC_HUB_IDENT", "index.docker.io"),
        ("DUCC_HUB_USER", "hub"),
        ("DUCC_HUB_PASS", "secret"),
        ("DUCC_CACHE_IDENT", "quay.io"),
        ("DUCC_CACHE_PROXY", "cache.example/quay"),
    ];
    let credentials = Credentials::from_variables(variables(&set)).unwrap();
    let find = |credentials: &Credentials, registry: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(credentials.find(registry, "a/b")).unwrap();
        found.map(|found| (found.credential, found.origin))
    };
    let login = |user: &str, label: &str| {
        Some((password(user, "secret").unwrap(), format!("DUCC_{label}_USER")))
    };
    // Without a name the first one counts.
    assert_eq!(find(&credentials, "r.example:5000"), login("one", "ONE"));
    let two = credentials.named("TWO", "r.example:5000").unwrap();
    assert_eq!(find(&two, "r.example:5000"), login("two", "TWO"));
    // It goes to no other registry, and the logins of others are as before.
    assert_eq!(find(&two, "r.example"), None);
    assert_eq!(find(&two, "docker.io"), login("hub", "HUB"));
    assert!(two.mirror("quay.io").is_some());
    assert!(credentials.named("HUB", "registry.hub.docker.com").is_ok());
    assert_ne!(two, credentials);
    for (name, registry, part) in [
        ("THREE", "r.example:5000", "only ONE, TWO, HUB, CACHE"),
        ("one", "r.example:5000", "only ONE"),
        ("ONE", "evil.example", "the login for r.example:5000, and is sent nowhere else"),
        ("CACHE", "quay.io", "pull-through"),
    ] {
        let message = credentials.named(name, registry).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains(name), "{message}");
        assert!(message.contains(registry) && !message.contains("secret"), "{message}");
    }
    let message = Credentials::default().named("X", "r.example").unwrap_err().to_string();
    assert!(message.contains("no labels"), "{message}");
}
