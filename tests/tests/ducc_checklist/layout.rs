//! What is in a repository: paths, links, catalogs, records, files for Apptainer, thin images.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::cvmfs_ducc::CvmfsDucc;
use e2e::golden::{self, Golden};
use e2e::image::Blob;
use e2e::native::{Native, catalogs, read_file};
use e2e::process::{run, run_any};
use e2e::tree::{FileKind, Tree};
use e2e::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Scene;

const FLAT: &str = ".flat/ce/ce2e11990887b4bd14d427345c617cfd59c7ff93ad1b3844afeddd7e89daae7f";
const METADATA: &str = ".metadata/localhost:5015/library/golden:v1";

/// The image that DUCC has converted, converted by us into another repository.
fn ours() -> Result<(Golden, CvmfsDucc, Native)> {
    let (golden, native) = (Golden::new()?, Native::create()?);
    let ducc = CvmfsDucc::install()?
        .env("DUCC_KEYS", native.keys())
        .env("CONTAINERS_REGISTRIES_CONF", golden.registries_conf());
    let source = golden.source();
    ducc.run(0, &["convert-single-image", "-i", "-p", &source, &native.locator()])?;
    Ok((golden, ducc, native))
}

/// The names in a directory.
fn names(tree: &Tree, directory: &str) -> BTreeSet<String> {
    let prefix = format!("{directory}/");
    let name = |path: &Vec<u8>| {
        let path = String::from_utf8_lossy(path).into_owned();
        path.strip_prefix(&prefix).filter(|name| !name.contains('/')).map(str::to_owned)
    };
    tree.0.keys().filter_map(name).collect()
}

#[test]
fn row_04_paths_links_catalogs_and_records() -> Result<()> {
    let (golden, _ducc, native) = ours()?;
    let ducc_s = golden::native()?;
    let (left, right) = (ducc_s.snapshot()?, native.snapshot()?);
    let (before, after) = (ducc_s.tree("")?, native.tree("")?);
    // The same layers and roots under the same names.
    let mut layers = BTreeSet::new();
    for root in [".layers", ".flat"] {
        ensure!(names(&before, root) == names(&after, root), "{:?}", names(&after, root));
        for shard in names(&before, root) {
            let shard = format!("{root}/{shard}");
            ensure!(names(&before, &shard) == names(&after, &shard), "{shard}");
            if root == ".layers" {
                layers
                    .extend(names(&before, &shard).into_iter().map(|hex| format!("{shard}/{hex}")));
            }
        }
    }
    // The public link says the same.
    let target = |tree: &Tree| tree.get(golden::NAME).map(|facts| facts.target.clone());
    ensure!(target(&before)? == target(&after)? && target(&after)?.is_some());
    // Catalogs begin at the same places, and where the flat roots are too many for one.
    let of_both = |catalogs: Vec<String>| -> Vec<String> {
        let ours = |path: &String| path.starts_with("/.layers") || path.starts_with("/.flat");
        catalogs.into_iter().filter(ours).collect()
    };
    let (theirs, ours) = (of_both(catalogs(&left)?), of_both(catalogs(&right)?));
    let (missing, more): (Vec<_>, Vec<_>) = (
        theirs.iter().filter(|path| !ours.contains(path)).collect(),
        ours.iter().filter(|path| !theirs.contains(path)).collect(),
    );
    ensure!(missing.is_empty() && more == ["/.flat/ce"], "{theirs:#?}\n{ours:#?}");

    // Records: what DUCC would read in ours.
    let parse = |snapshot, path: &str| -> Result<(Vec<u8>, Value)> {
        let bytes = read_file(snapshot, path)?;
        let value = serde_json::from_slice(&bytes).with_context(|| path.to_owned())?;
        Ok((bytes, value))
    };
    for layer in &layers {
        let path = format!("{layer}/.metadata/origin.json");
        ensure!(read_file(&left, &path)? == read_file(&right, &path)?, "{path} differs");
        let path = format!("{layer}/.metadata/layers.json");
        let ((_, theirs), (bytes, ours)) = (parse(&left, &path)?, parse(&right, &path)?);
        ensure!(bytes.starts_with(b"[\n {\n  \"id\""), "{}", String::from_utf8_lossy(&bytes));
        for (key, value) in theirs[0].as_object().context("no object")? {
            ensure!(key == "created" || ours[0][key] == *value, "{path}: {key}: {}", ours[0][key]);
        }
        let created = ours[0]["created"].as_str().unwrap_or_default();
        ensure!(created.contains('T') && created.contains('.'), "{created}");
    }
    let path = format!("{METADATA}/manifest.json");
    let ((_, theirs), (bytes, ours)) = (parse(&left, &path)?, parse(&right, &path)?);
    ensure!(bytes == golden.image.manifest.bytes()?, "not the registry's manifest");
    ensure!(as_go_reads_it(&ours)? == as_go_reads_it(&theirs)?, "{ours} {theirs}");
    for (path, mode) in [(METADATA, 0o755), (&path, 0o644), (".layers", 0o755), (".flat", 0o755)] {
        ensure!(after.get(path)?.mode == mode, "{path}: {:o}", after.get(path)?.mode);
    }
    Ok(())
}

/// The members of a manifest that Go's struct has; Go finds them in any case.
fn as_go_reads_it(manifest: &Value) -> Result<Value> {
    let member = |value: &Value, name: &str| -> Value {
        let members = value.as_object().into_iter().flatten();
        let mut found = members.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let blob = |blob: &Value| -> Vec<Value> {
        ["mediaType", "size", "digest"].map(|name| member(blob, name)).into()
    };
    let layers = member(manifest, "layers");
    let layers: Vec<_> = layers.as_array().context("no layers")?.iter().map(blob).collect();
    let config = blob(&member(manifest, "config"));
    Ok(json!([member(manifest, "schemaVersion"), config, layers]))
}

#[test]
fn row_05_names_by_digest_and_chains_of_ducc() -> Result<()> {
    // Flat roots are named by the configuration, layers by the compressed blob.
    let (scene, repository) = Scene::with_directory()?;
    scene.ducc.run(0, &["convert-single-image", "-i", &scene.source(), &repository])?;
    let hex = scene.image.config.hex();
    let link = fs::read_link(format!("{repository}/{}", scene.name()))?;
    ensure!(link.ends_with(format!(".flat/{}/{hex}", &hex[..2])), "{}", link.display());
    for layer in &scene.image.layers {
        let hex = layer.blob.hex();
        let layerfs = format!("{repository}/.layers/{}/{hex}/layerfs", &hex[..2]);
        ensure!(Path::new(&layerfs).is_dir(), "{layerfs}");
    }

    // DUCC's own chains stay where they are until somebody asks for their removal.
    let native = golden::native()?;
    let ducc = CvmfsDucc::install()?.env("DUCC_KEYS", native.keys());
    let (before, locator) = (native.tree("")?, native.locator());
    let kept = ducc.run(0, &["gc", &locator, "--grace-period", "0", "--json"])?;
    let kept: Value = serde_json::from_str(kept.stdout.trim())?;
    ensure!(kept["ducc_chains"] == 3 && kept["paths"] == json!([]), "{kept}");
    let trial =
        ducc.run(0, &["gc", &locator, "--ducc-chains", "--grace-period", "0", "--dry-run"])?;
    let offered = trial.stdout.lines().filter(|line| line.contains(".chains/")).count();
    ensure!(offered == 3, "{}", trial.both());
    ducc.run(0, &["gc", &locator, "--ducc-chains", "--grace-period", "0"])?;
    let after = native.tree("")?;
    let gone: BTreeSet<&Vec<u8>> =
        before.0.keys().filter(|path| !after.0.contains_key(*path)).collect();
    let chains = [&b".chains/"[..], b".dirty-chains"];
    let others = gone.iter().find(|path| !chains.iter().any(|chain| path.starts_with(chain)));
    ensure!(!gone.is_empty() && others.is_none(), "{others:?}");
    native.check()
}

/// DUCC keeps whiteouts as files, which reappear as deleted files where its layers are stacked by overlayfs. Ours are what
/// overlayfs wants. DUCC's stay as they are as long as nobody mends them: `ducc_takeover.rs`.
#[test]
fn row_06_whiteouts_in_layers() -> Result<()> {
    let (scene, repository) = Scene::with_directory()?;
    scene.ducc.run(0, &["convert-single-image", "-i", &scene.source(), &repository])?;
    let hex = scene.image.layers[1].blob.hex();
    let layer =
        Tree::read(Path::new(&format!("{repository}/.layers/{}/{hex}/layerfs", &hex[..2])))?;
    let gone = layer.get("etc/gone")?;
    ensure!((gone.kind, gone.device) == (FileKind::CharDevice, Some((0, 0))), "{gone:?}");
    let opaque = layer.get("opq")?.xattrs.get(b"trusted.overlay.opaque".as_slice()).cloned();
    ensure!(opaque.as_deref() == Some(b"y"), "{opaque:?}");
    let literal = layer.0.keys().find(|path| path.windows(4).any(|part| part == b".wh."));
    ensure!(literal.is_none(), "{literal:?}");
    // What users see.
    let flat = Tree::read(&fs::canonicalize(format!("{repository}/{}", scene.name()))?)?;
    ensure!(flat.get("etc/gone").is_err() && flat.get("opq/old").is_err());
    ensure!(flat.get("bin/su")?.mode == 0o4755 && flat.get("etc/version")?.uid == 1000);
    Ok(())
}

#[test]
fn row_07_singularity_files() -> Result<()> {
    let (golden, _ducc, native) = ours()?;
    let (theirs, ours) = (golden::native()?.tree(FLAT)?, native.tree(FLAT)?);
    for (path, facts) in &theirs.0 {
        let name = String::from_utf8_lossy(path).into_owned();
        let found = ours.get(path)?;
        ensure!(found.kind == facts.kind && found.target == facts.target, "{name}: {found:?}");
        // Scripts are for everybody.
        let is_script = name.starts_with(".singularity.d/") && facts.kind == FileKind::File;
        ensure!(!is_script || found.mode == 0o755, "{name}: {:o}", found.mode);
    }

    // The image's own words arrive as they are, which they do not with DUCC.
    let config = golden.image.config.json()?;
    let scripts = e2e::check_out::check_out;
    let shown = tempfile::TempDir::new_in("/dev/shm")?;
    scripts(&native.snapshot()?, "x86_64", shown.path())?;
    let directory = shown.path().join(FLAT).join(".singularity.d");
    let environment = directory.join("env/10-docker2singularity.sh");
    for line in config["config"]["Env"].as_array().context("no environment")? {
        let (name, value) =
            line.as_str().and_then(|line| line.split_once('=')).context("a line")?;
        let script = format!(". {}; printf %s \"${name}\"", environment.display());
        let mut shell = Command::new("/bin/dash");
        let output = run(shell.args(["-c", &script]).env_clear())?;
        ensure!(output.stdout == value, "{name}: {:?} instead of {value:?}", output.stdout);
    }
    let runscript = directory.join("runscript");
    for (arguments, said) in [
        (&[][..], "quoted: arg with space single\n"),
        (&["it's $HOME `id` \"x"][..], "quoted: it's $HOME `id` \"x single\n"),
    ] {
        let mut script = Command::new(&runscript);
        let output = run_any(script.args(arguments), e2e::process::COMMAND_TIMEOUT)?;
        ensure!(output.stdout == said, "{arguments:?}: {}", output.both());
    }
    Ok(())
}

#[test]
fn row_12_thin_images() -> Result<()> {
    let (scene, native) = Scene::with_native()?;
    let (ducc, locator, host) = (&scene.ducc, native.locator(), scene.registry.host());
    // No Docker, and a template with all variables but the digest; then none, which means DUCC's.
    let template = "$(scheme)://HOST/thin/$(registry)/$(repository)/$(image)/x$(reference)";
    let template =
        template.replace("HOST", &host).replace("$(registry)/", "").replace("/$(image)", "");
    let list = |output: &str| {
        format!(
            "version: 1\nuser: robot\ncvmfs_repo: {locator}\n{output}input:\n  - '{}'\n",
            scene.source()
        )
    };
    for (name, output, pushed) in [
        ("own.yaml", format!("output_format: '{template}'\n"), "thin/org/tool/x:1"),
        ("default.yaml", String::new(), "org/tool_thin:1"),
    ] {
        let list = ducc.write(name, &list(&output))?;
        let mut convert = ducc.command(&["convert", &list, "--thin-format", "graphdriver"]);
        convert.env("DUCC_OUTPUT_REGISTRY_PASS", "x").env("DOCKER_HOST", "unix:///nonexistent");
        run(&mut convert)?;
        let (repository, tag) = pushed.split_once(':').context("no tag")?;
        let manifest = manifest(&scene, repository, tag)?;
        let config = blob(&scene, &manifest["config"]["digest"])?.json()?;
        let env = config["config"]["Env"].as_array().context("no environment")?.clone();
        ensure!(env.contains(&json!("CVMFS_IMAGE=true")), "{env:?}");
        ensure!(
            env.len() == 3 && config["config"]["Entrypoint"] == json!(["/bin/tool"]),
            "{config}"
        );
        let layer = blob(&scene, &manifest["layers"][0]["digest"])?.bytes()?;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(layer.as_slice()));
        let mut entries = archive.entries()?;
        let mut file = entries.next().context("an empty layer")??;
        ensure!(file.path()?.as_os_str() == "thin.json" && file.header().mode()? == 0o644);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut file, &mut text)?;
        let layers: Vec<Value> = (scene.image.layers.iter())
            .map(|layer| {
                let hex = layer.blob.hex();
                let url =
                    format!("cvmfs://{}/.layers/{}/{hex}/layerfs", e2e::native::FQRN, &hex[..2]);
                json!({"digest": hex, "url": url})
            })
            .collect();
        let expected: BTreeMap<&str, Value> = BTreeMap::from([
            ("version", json!("1.0")),
            ("origin", json!(scene.source())),
            ("layers", json!(layers)),
        ]);
        ensure!(serde_json::from_str::<Value>(&text)? == json!(expected), "{text}");
        ensure!(text.starts_with("{\n  \"version\": \"1.0\",\n  \"origin\""), "{text}");
        ensure!(entries.next().is_none(), "a thin image is one file");
    }
    // What is there is not pushed again.
    let list = ducc.path("default.yaml");
    let mut again = ducc.command(&["convert", &list, "--thin-format", "graphdriver"]);
    again.env("DUCC_OUTPUT_REGISTRY_PASS", "x");
    let (_, traffic) = scene.registry.watch(|| run(&mut again))?;
    let pushed = traffic.requests.iter().find(|request| request.method == "PUT");
    ensure!(pushed.is_none(), "{pushed:?}");
    Ok(())
}

/// A manifest in the scene's registry.
fn manifest(scene: &Scene, repository: &str, tag: &str) -> Result<Value> {
    let reference = scene.registry.source(&format!("{repository}:{tag}"));
    let shown = scene.ducc.run(0, &["download-manifest", &reference])?;
    // Under the names of Go; the registry's own are these with a small letter.
    let mut manifest: Value = serde_json::from_str(&shown.stdout)?;
    let lower = |blob: &Value| json!({"digest": blob["Digest"]});
    let layers: Vec<Value> =
        manifest["Layers"].as_array().context("no layers")?.iter().map(lower).collect();
    manifest = json!({"config": lower(&manifest["Config"]), "layers": layers});
    Ok(manifest)
}

fn blob(scene: &Scene, digest: &Value) -> Result<Blob> {
    let digest = digest.as_str().context("no digest")?;
    Ok(Blob::from_file("", digest.to_owned(), 0, scene.registry.blob_file(digest)?))
}
