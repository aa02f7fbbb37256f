//! Writes the first inputs of all fuzz targets: `cargo run --example seeds -- corpus`.

use std::fs;
use std::path::Path;

fn main() {
    let corpus = std::env::args().nth(1).expect("the directory to write into");
    for (target, seeds) in ducc_fuzz::seeds::all() {
        let directory = Path::new(&corpus).join(target);
        fs::create_dir_all(&directory).expect("a directory for the seeds");
        for (number, seed) in seeds.into_iter().enumerate() {
            fs::write(directory.join(format!("seed-{number}")), seed).expect("a seed");
        }
    }
}
