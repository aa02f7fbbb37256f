//! Commands, flags, exit statuses, environment variables, names of images.

use std::fs;

use e2e::image::{Index, push};
use e2e::process::Daemon;
use e2e::registry::{Access, PASSWORD, Registry, USER};
use e2e::{Context, Result, ensure};
use rustix::process::Signal;

use super::{Scene, image};

#[test]
fn row_01_commands_and_flags() -> Result<()> {
    let (scene, repository) = Scene::with_directory()?;
    let (ducc, source, name) = (&scene.ducc, scene.source(), scene.name());
    let list = ducc.wish_list("wishes.yaml", &repository, &[&source])?;
    let (log, expanded) = (ducc.path("notifications"), ducc.path("expanded.yaml"));
    let thin = scene.registry.source("thin/tool:1");
    let config = ducc.write("prune.yaml", &format!("wishlists:\n  - {list}\n"))?;
    let temporary = ducc.make_dir("tmp")?.display().to_string();
    let absent = scene.registry.source("org/tool:absent");
    let csv = format!("{source},,http,{},org/tool,1,,false", scene.registry.host());
    let as_yaml = format!("images:\n- {source}\n");
    let version = env!("CARGO_PKG_VERSION");

    // Arguments in the order in which a shell takes them, the status, and what is printed.
    let convert = ["convert-single-image", &source, &repository];
    let cases: [(&[&str], &[&str], i32, &str); 39] = [
        (&["version"], &[], 0, version),
        (&["v"], &[], 0, version),
        (&["--help"], &[], 0, "convert-single-image"),
        (&["help", "loop"], &[], 0, "WISHLIST"),
        (&["check-image-syntax", &source], &[], 0, "org/tool"),
        (&["check-image", "--machine-friendly", &source], &[], 0, &csv),
        (&["image-check", "-z", &source], &[], 0, "name,user,scheme,registry,repository,tag"),
        (&["check-image-syntax", "ubuntu:22.04"], &[], 1, ""),
        (&["download-manifest", &source], &[], 0, "\"SchemaVersion\": 2"),
        (&["get-manifest", "-u", "", &source], &[], 0, "\"MediaType\""),
        (&["download-manifest", &absent], &[], 1, ""),
        // All flags of the first version, short and long, and those that came later.
        (&["convert", &list], &["-f", "-g", "-s", "-d", "-i", "-p"], 0, "1 published"),
        (
            &["convert", &list],
            &["--overwrite-layers", "--convert-again", "--skip-thin-image"],
            0,
            "",
        ),
        (&["convert", &list], &["--skip-flat", "--skip-layers", "-i", "--skip-podman"], 0, ""),
        (&["convert", &list], &["-i", "--max-concurrent-downloads", "2", "-m"], 0, ""),
        (&convert, &["-s", "-d", "-i", "-p"], 0, ""),
        (&convert, &["-u", "", "--thin-image-name", &thin, "-r", "2"], 0, "thin image pushed"),
        (&convert, &["--username", "", "--attempts", "1", "-i", "--multi-arch"], 0, ""),
        // Flags as Go takes them: with a value, and more than once.
        (&convert, &["--skip-flat=false", "--skip-thin-image=true", "-p=true"], 0, ""),
        (&convert, &["-p", "--skip-podman", "-i", "--skip-thin-image"], 0, ""),
        (&["convert", &list], &["-t", &temporary, "-n", &log, "-v", "debug", "-i"], 0, ""),
        (&["--verbosity=panic", "convert", &list], &["-i=1"], 0, ""),
        (&["expand-wildcard", &scene.registry.source("org/tool:*")], &[], 0, &as_yaml),
        (&["expand-wildcard", &source], &[], 0, &as_yaml),
        (&["expand-wildcard", &source, "-o", &expanded], &[], 0, ""),
        (&["expand-wildcard", "-w", &list, "-o", &expanded], &[], 0, ""),
        (&["garbage-collection", &repository], &["--dry-run", "--grace-period", "0"], 0, ""),
        (&["gc", &repository], &["--grace-period=30"], 0, "removed 0 images"),
        (&["delete-image", &repository, &source], &["--dry-run"], 0, "would remove"),
        (&["prune-images", &repository, &list], &["--dry-run"], 0, "would mark 0"),
        (&["prune-images", &repository], &["--expanded-images", &expanded], 0, "marked 0"),
        (&["prune-images", &repository], &["--config", &config, "--dry-run"], 0, "would mark 0"),
        (&["gc", &repository, "--gc-db", &log], &[], 0, "removed 0 images"),
        (&["completion", "bash"], &[], 0, "cvmfs_ducc"),
        (&[], &[], 0, "convert-single-image"),
        (&["create-podman-store", &source, &repository], &["/tmp/store"], 1, ""),
        (&["no-such-command"], &[], 2, ""),
        (&["convert"], &[], 2, ""),
        (&["convert", &list, "--no-such-flag"], &[], 2, ""),
    ];
    for (command, flags, status, printed) in cases {
        let output = ducc.run(status, &[command, flags].concat())?;
        ensure!(
            output.stdout.contains(printed),
            "{command:?} {flags:?}: no {printed:?}\n{}",
            output.both()
        );
    }
    ensure!(fs::read_to_string(&expanded)? == format!("images:\n- {source}\n"));

    // Exit statuses.
    let broken = ducc.write("broken.yaml", "input: [")?;
    let nowhere = ducc.wish_list("nowhere.yaml", &ducc.path("nowhere"), &[&source])?;
    ducc.run(101, &["convert", &list])?;
    ducc.run(102, &["convert", "-i", &ducc.path("absent.yaml")])?;
    ducc.run(103, &["convert", "-i", &broken])?;
    ducc.run(104, &["convert", "-i", &nowhere])?;
    ducc.run(104, &["convert-single-image", &source, &ducc.path("nowhere")])?;
    ducc.run(104, &["gc", &ducc.path("nowhere")])?;
    // Nothing can be done, and nothing will be: not even `loop` goes on.
    ducc.run(102, &["loop", "-i", &ducc.path("absent.yaml")])?;
    ducc.run(103, &["loop", "-i", &broken])?;
    ducc.run(104, &["loop", "-i", &nowhere])?;
    // What DUCC ends with 0: some images have failed.
    let partly = ducc.wish_list("partly.yaml", &repository, &[&absent, &source])?;
    let output = ducc.run(3, &["convert", "-i", &partly])?;
    ensure!(output.stderr.contains("org/tool:absent"), "{}", output.both());

    // `loop` goes on until it is told to end.
    let said = ducc.dir().join("loop.log");
    let mut running = Daemon::spawn("loop", &ducc.command(&["loop", "-i", &list]), &said)?;
    running.wait_until("a round", || {
        fs::read_to_string(&said).is_ok_and(|text| text.contains("1 unchanged"))
    })?;
    running.signal(Signal::TERM)?;
    ensure!(running.wait()?.code() == Some(143), "{}", running.log_tail());
    let deleted = ducc.run(0, &["delete-image", &repository, &name])?;
    // One of them for `--multi-arch`.
    ensure!(deleted.stdout.contains("removed 2 images"), "{}", deleted.both());
    Ok(())
}

#[test]
fn row_02_environment_variables() -> Result<()> {
    let (scene, repository) = Scene::with_directory()?;
    let secured = Registry::start_with(Access::Basic, false)?;
    push(&secured, "org/tool:1", &scene.image)?;
    let source = secured.source("org/tool:1");
    let single = |options: &[&str]| -> Vec<String> {
        let command = ["convert-single-image", &source, &repository, "--attempts", "1"];
        command.iter().chain(options).map(|word| (*word).to_owned()).collect()
    };
    let run = |env: &[(&str, &str)], arguments: &[String]| -> Result<(Option<i32>, String)> {
        let mut command = scene.ducc.command(arguments);
        command.envs(env.iter().copied());
        let output = e2e::process::run_any(&mut command, e2e::process::COMMAND_TIMEOUT)?;
        Ok((output.status.code(), output.both()))
    };
    let host = secured.host();
    let login =
        [("DUCC_AUTH_REGISTRIES", ",MINE,"), ("DUCC_MINE_IDENT", &host), ("DUCC_MINE_USER", USER)];
    let with_password = [&login[..], &[("DUCC_MINE_PASS", PASSWORD)]].concat();
    let skip = single(&["-i"]);
    // Without a login, with a whole one, with one that lacks its password.
    ensure!(run(&[], &skip)?.0 == Some(1));
    let (status, said) = run(&with_password, &skip)?;
    ensure!(status == Some(0), "{said}");
    let (status, said) = run(&login, &skip)?;
    ensure!(status == Some(1) && said.contains("DUCC_MINE_PASS"), "{said}");

    // The password for pushes, under its three names.
    let thin = secured.source("thin/tool:1");
    for name in [
        "DUCC_OUTPUT_REGISTRY_PASS",
        "DUCC_DOCKER_REGISTRY_PASS",
        "DOCKER2CVMFS_DOCKER_REGISTRY_PASS",
    ] {
        let env = [&with_password[..], &[(name, PASSWORD)]].concat();
        let push = single(&["--username", USER, "--thin-image-name", &thin]);
        let (status, said) = run(&env, &push)?;
        ensure!(status == Some(0), "{name}: {said}");
    }

    // Another registry in the place of the one that the image names.
    let elsewhere = scene.registry.host();
    let proxy = [
        ("DUCC_AUTH_REGISTRIES", "P"),
        ("DUCC_P_IDENT", "localhost:1"),
        ("DUCC_P_PROXY", &elsewhere),
    ];
    let through = ["convert-single-image", "http://localhost:1/org/tool:1", &repository, "-i"];
    let through: Vec<String> = through.map(str::to_owned).into();
    let (status, said) = run(&proxy, &through)?;
    ensure!(status == Some(0), "{said}");
    fs::symlink_metadata(format!("{repository}/localhost:1/org/tool:1"))?;

    // A directory for temporary files has to be there; the option is stronger.
    let env = [("DUCC_TMP_DIR", "/nonexistent"), ("DUCC_MAX_CONCURRENT_DOWNLOADS", "1")];
    let (status, said) = run(&env, &through)?;
    ensure!(status == Some(1) && said.contains("/nonexistent"), "{said}");
    let here = scene.ducc.dir().display().to_string();
    let given = [&through[..], &["-t".to_owned(), here]].concat();
    ensure!(run(&[&env[..], &proxy].concat(), &given)?.0 == Some(0));

    // Failures that are let pass.
    let absent = scene.registry.source("org/tool:absent");
    let list = scene.ducc.wish_list("wishes.yaml", &repository, &[&absent])?;
    let ignored = format!("ignoreErrors:\n  - 'http://{elsewhere}/org/*'\n");
    let ignored = scene.ducc.write("ignored.yaml", &ignored)?;
    let convert = ["convert", "-i", &list].map(str::to_owned);
    ensure!(run(&[], &convert)?.0 == Some(3));
    let (status, said) = run(&[("DUCC_IGNORE_ERRORS_FILE", &ignored)], &convert)?;
    ensure!(status == Some(0), "{said}");
    Ok(())
}

#[test]
fn row_03_references() -> Result<()> {
    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let scene = Scene::new()?;
    let ducc = &scene.ducc;
    let with_digest = format!("r.io:5000/a/b:1@{DIGEST}");
    let digest_alone = format!("https://r.io/a@{DIGEST}");
    let valid: [(&str, [&str; 5]); 7] = [
        (
            "registry.hub.docker.com/library/debian:12",
            ["https", "registry.hub.docker.com", "library/debian", "12", ""],
        ),
        ("http://localhost:5000/a:1", ["http", "localhost:5000", "a", "1", ""]),
        ("https://quay.io/org/tool:v1.*", ["https", "quay.io", "org/tool", "v1.*", ""]),
        // No default registry: this is one with the name "library".
        ("library/ubuntu:22.04", ["https", "library", "ubuntu", "22.04", ""]),
        ("http://10.0.0.1:5000/x:1", ["http", "10.0.0.1:5000", "x", "1", ""]),
        (&with_digest, ["https", "r.io:5000", "a/b", "1", DIGEST]),
        (&digest_alone, ["https", "r.io", "a", "", DIGEST]),
    ];
    for (image, [scheme, registry, repository, tag, digest]) in valid {
        let output = ducc.run(0, &["check-image-syntax", "-z", image])?;
        let line = output.stdout.lines().nth(1).context("one line")?;
        let whole = match image.contains("://") {
            true => image.to_owned(),
            false => format!("https://{image}"),
        };
        let expected = format!("{whole},,{scheme},{registry},{repository},{tag},{digest},false");
        ensure!(line == expected, "{image}: {line}");
    }
    // What ends DUCC, or means something else to it than to its user.
    for image in [
        "ubuntu:22.04",
        "r.io/a",
        "r.io",
        "",
        "ftp://r.io/a:1",
        "user@r.io/a:1",
        "r.io/a:1?x",
        "r.io/a%20b:1",
        "r.io/a:1:2:3",
        "r.io/a:1@sha256:00",
        "r.io/*/a:1",
    ] {
        let output = ducc.run(1, &["check-image-syntax", image])?;
        ensure!(!output.stderr.contains("panicked"), "{image}: {}", output.both());
    }

    // Names follow the host as it was written, and the tag, although the digest is what is fetched.
    let repository = ducc.make_dir("unpacked.example.org")?.display().to_string();
    let moved = image(ducc.dir(), "2")?;
    push(&scene.registry, "org/tool:1", &Index::new(moved.format, vec![moved])?)?;
    let pinned = format!("{}@{}", scene.source(), scene.image.manifest.digest);
    ducc.run(0, &["convert-single-image", "-i", &pinned, &repository])?;
    let public = format!("{repository}/{}", scene.name());
    ensure!(fs::read_to_string(format!("{public}/etc/version"))? == "1");
    let alone = scene.registry.source(&format!("org/tool@{}", scene.image.manifest.digest));
    ducc.run(0, &["convert-single-image", "-i", &alone, &repository])?;
    let public = scene.registry.reference(&format!("org/tool:{}", scene.image.manifest.digest));
    ensure!(fs::read_to_string(format!("{repository}/{public}/etc/version"))? == "1");
    Ok(())
}
