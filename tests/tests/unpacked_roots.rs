//! Published root file systems, used without containerd.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use e2e::Result;
use e2e::apptainer::{Mode, apptainer, apptainer_with};
use e2e::busybox;
use e2e::debian::{Debian, GREETING, PRINT_VERSION};
use e2e::image::{Compression, Config, Entry, Format, Image, Layer};
use e2e::node::Node;
use e2e::site::Site;
use e2e::{podman, runc};

const NAME: &str = "unpacked/debian:numpy";

#[test]
fn apptainer_podman_and_runc_run_what_is_published() -> Result<()> {
    let site = Site::new()?;
    let debian = Debian::get()?;
    site.publish(NAME, &debian.image)?;
    let node = Node::new()?;
    let version = ["python3", "-c", PRINT_VERSION];

    let public = site.public_path(NAME);
    for mode in [Mode::Root, Mode::UserNamespace] {
        let output = apptainer(&node, mode, "exec", &public, &version)?;
        assert_eq!(output.stdout.trim(), debian.numpy, "apptainer exec, {mode:?}");
        // The image's own command, from its configuration.
        let output = apptainer(&node, mode, "run", &public, &[])?;
        assert_eq!(output.stdout, format!("{GREETING}\n"), "apptainer run, {mode:?}");
        // Its environment, which contains what a shell would expand.
        let output = apptainer(&node, mode, "exec", &public, &["printenv", "GREETING"])?;
        let greeting =
            debian.image.settings.env.iter().find_map(|line| line.strip_prefix("GREETING="));
        assert_eq!(output.stdout.strip_suffix('\n'), greeting, "apptainer exec printenv, {mode:?}");
    }

    let roots =
        [("flat", site.flat_root(&debian.image)?), ("merged", site.merged_root(&debian.image)?)];
    for (what, root) in roots {
        let output = podman::run_rootfs(&node, &root, &version)?;
        assert_eq!(output.stdout.trim(), debian.numpy, "podman on the {what} root");
        let output = runc::run_readonly(&node, &root, what, &version)?;
        assert_eq!(output.stdout.trim(), debian.numpy, "runc on the {what} root");
    }
    Ok(())
}

/// An image of busybox and these entries.
fn image(site: &Site, config: Config, entries: &[Entry]) -> Result<Image> {
    let layers =
        [busybox::layer(&site.blobs())?, Layer::build(&site.blobs(), Compression::Gzip, entries)?];
    Image::new(Format::Oci, config, &layers)
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

/// Lets everybody go down to a path of a test.
fn open_way(path: &Path) -> Result<()> {
    let temporary = fs::canonicalize(std::env::temp_dir())?;
    for above in path.ancestors().take_while(|above| **above != *temporary) {
        if mode(above)? & 0o005 != 0o005 {
            fs::set_permissions(above, Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

#[test]
fn anybody_runs_an_image_whose_root_directory_is_closed() -> Result<()> {
    let site = Site::new()?;
    let node = Node::new()?;
    open_way(&site.repository())?;
    open_way(node.dir())?;
    for closed in [0o700, 0o750] {
        let name = format!("unpacked/closed:{closed:o}");
        let image = image(&site, Config::with_cmd(["true"]), &[Entry::dir("./").mode(closed)])?;
        site.publish(&name, &image)?;
        assert_eq!(mode(&site.merged_root(&image)?)?, closed, "the image's own");
        assert_eq!(mode(&site.flat_root(&image)?)?, 0o755);
        for mode in [Mode::Root, Mode::UserNamespace, Mode::OtherUser] {
            let output =
                apptainer(&node, mode, "exec", &site.public_path(&name), &["echo", "hello"])?;
            assert_eq!(output.stdout, "hello\n", "{closed:o}, {mode:?}");
        }
    }
    Ok(())
}

/// What users are told in docs/converter.md.
#[test]
fn variables_of_the_host_do_not_replace_those_of_the_image() -> Result<()> {
    let site = Site::new()?;
    let node = Node::new()?;
    let config = Config { env: vec!["GREETING=image".to_owned()], ..Config::with_cmd(["true"]) };
    let image = image(&site, config, &[Entry::dir("./")])?;
    site.publish("unpacked/variables:1", &image)?;
    let public = site.public_path("unpacked/variables:1");
    for (verb, host, expected) in [
        (&["exec"][..], None, "image"),
        (&["exec"], Some(("GREETING", "host")), "image"),
        (&["exec", "--env", "GREETING=user"], Some(("GREETING", "host")), "user"),
        (&["exec"], Some(("APPTAINERENV_GREETING", "user")), "user"),
        (&["exec", "--cleanenv"], Some(("GREETING", "host")), "image"),
    ] {
        let command = ["sh", "-c", "echo $GREETING"];
        let output = apptainer_with(&node, Mode::Root, verb, host.as_slice(), &public, &command)?;
        assert_eq!(output.stdout.trim(), expected, "{verb:?} with {host:?}");
    }
    Ok(())
}
