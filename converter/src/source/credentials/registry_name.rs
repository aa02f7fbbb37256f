//! Spellings of registry names.

/// Whether two spellings of `host[:port]` mean the same registry.
pub(super) fn same_registry(a: &str, b: &str) -> bool {
    canonical(a) == canonical(b)
}

/// One spelling for each registry. Host names are case-insensitive, and Docker Hub has several names; `docker
/// login` stores its credentials under the oldest.
pub(in crate::source) fn canonical(registry: &str) -> String {
    let registry = registry.to_ascii_lowercase();
    let registry = registry.strip_suffix(":443").unwrap_or(&registry);
    match registry {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        other => other,
    }
    .to_owned()
}
