//! The main job, from a registry to a container that runs lazily, with a table at the end.
//!
//! `cargo xtask demo` installs what this needs and runs it.

use std::fs;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use harness::apptainer::{Mode, apptainer};
use harness::cold_start::ColdStart;
use harness::debian::{Debian, PRINT_VERSION};
use harness::ducc::{Convert, closed_dir_in};
use harness::image::push;
use harness::node::Node;
use harness::process::show;
use harness::registry::Registry;
use harness::tools;

const FULL: &str = "demo/numpy:1";
const THIN: &str = "demo/numpy-thin:1";

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<()> {
    tools::require_root()?;
    step("An image: Debian with Python and numpy, from Debian's packages (kept for the next time)");
    let debian = Debian::get()?;
    let bytes = debian.image.layer_bytes();
    println!("  {} layers, {:.1} MB compressed", debian.image.layers.len(), bytes as f64 / 1e6);

    step("A registry, and the image in it");
    let registry = Registry::start()?;
    push(&registry, FULL, &debian.image)?;
    println!("  {}", registry.source(FULL));

    step("The publisher: convert it into a repository, push a thin image");
    let dir = closed_dir_in(tools::target_dir()?)?;
    let repository = dir.path().join("unpacked.example.org");
    fs::create_dir(&repository)?;
    let convert = Convert::new(&registry.source(FULL), &repository).thin(&registry.source(THIN));
    println!("  $ {}", show(&convert.command()?));
    print_indented(&convert.run()?.stdout);
    println!("  Once more, as every quarter of an hour:");
    let (again, traffic) = registry.watch(|| convert.run())?;
    print_indented(&again.stdout);
    println!("  ({} requests to the registry)", traffic.requests.len());

    step("Apptainer runs the public path");
    let public = repository.join(registry.reference(FULL));
    let node = Node::new()?;
    let output =
        apptainer(&node, Mode::Root, "exec", &public, &["python3", "-c", PRINT_VERSION])?.stdout;
    print_indented(&output);
    ensure!(output.trim() == debian.numpy, "Apptainer's container printed {output:?}");
    drop(node);

    step("Nodes that have nothing: pull, and the first output of python3 -c 'import numpy'");
    let measure = |repository, name| {
        let command = ["python3", "-c", PRINT_VERSION];
        ColdStart::measure(&registry, repository, name, &command, &debian.numpy)
    };
    let rows = [
        ("full pull (containerd's overlayfs)", measure(None, FULL)?),
        ("the full image, cvmfs-snapshotter", measure(Some(&*repository), FULL)?),
        ("the thin image, cvmfs-snapshotter", measure(Some(&*repository), THIN)?),
    ];
    println!("\n  {:36} {:>10} {:>16} {:>7}", "", "seconds", "bytes fetched", "blobs");
    for (name, start) in &rows {
        println!(
            "  {name:36} {:>10.2} {:>16} {:>7}",
            start.time.as_secs_f64(),
            start.bytes,
            start.blobs
        );
    }
    let [(_, full), _, (_, thin)] = &rows;
    println!(
        "\n  thin / full: {:.2} of the time, {:.5} of the bytes",
        thin.time.as_secs_f64() / full.time.as_secs_f64(),
        thin.bytes as f64 / full.bytes as f64
    );
    Ok(())
}

fn step(text: &str) {
    println!("\n== {text}");
}

fn print_indented(text: &str) {
    for line in text.lines() {
        println!("  {line}");
    }
}
