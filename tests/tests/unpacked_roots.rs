//! Published root file systems, used without containerd.

use e2e::Result;
use e2e::apptainer::{Mode, apptainer};
use e2e::debian::{Debian, GREETING, PRINT_VERSION};
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
