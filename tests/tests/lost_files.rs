//! A flat root in which another program has cleaned away what Apptainer needs: who sees it, and what mends it.

use std::fs;

use e2e::ducc::Convert;
use e2e::image::{Compression, Config, Entry, Format, Image, Layer, push};
use e2e::registry::Registry;
use e2e::rounds::Publisher;
use e2e::{Result, ensure};
use tempfile::TempDir;

const NAME: &str = "org/tool:1";

#[test]
fn files_for_apptainer_come_back() -> Result<()> {
    let (registry, work) = (Registry::start_in_memory()?, TempDir::new()?);
    let layer = Layer::build(work.path(), Compression::Gzip, &[Entry::file("tool", "#!")])?;
    push(&registry, NAME, &Image::new(Format::Oci, Config::with_cmd(["/tool"]), &[layer])?)?;
    let repository = work.path().join("repository");
    fs::create_dir(&repository)?;
    let publisher = Publisher::new(work.path(), repository.display().to_string());
    let source = registry.source(NAME);
    publisher.wish([&source])?;
    let round = publisher.round(&[])?;
    ensure!(round.count("converted") == 1, "{}", round.report);
    let flat = || fs::canonicalize(repository.join(registry.reference(NAME)));
    let lose = || fs::remove_dir_all(flat()?.join(".singularity.d"));
    let is_whole = || Ok::<_, std::io::Error>(flat()?.join(".singularity.d/runscript").exists());

    lose()?;
    let round = publisher.round(&[])?;
    ensure!(round.count("unchanged") == 1 && !is_whole()?, "nobody looked: {}", round.report);
    let round = publisher.round(&["--verify-flat"])?;
    ensure!(round.count("converted") == 1 && is_whole()?, "{}", round.report);
    let round = publisher.round(&["--verify-flat"])?;
    ensure!(round.count("unchanged") == 1, "{}", round.report);

    lose()?;
    let convert = || Convert::new(&source, &repository);
    ensure!(convert().report()?["status"] == "up-to-date" && !is_whole()?, "nobody looked");
    let report = convert().flag("--verify-flat").report()?;
    ensure!(report["status"] == "converted" && is_whole()?, "{report}");

    lose()?;
    ensure!(publisher.verify().is_err(), "verify saw nothing");
    let output = publisher.on_repository("verify", &["--repair"])?;
    ensure!(output.status.success() && is_whole()?, "{}", output.both());
    ensure!(publisher.verify()? == 1, "it is whole");
    Ok(())
}
