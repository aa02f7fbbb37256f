//! The generated gRPC code is that of the `.proto` files.

use std::fs;
use std::path::Path;

/// Set this variable to write the generated code instead of comparing it.
const WRITE: &str = "WRITE_GENERATED";

#[test]
fn generated_code_is_up_to_date() {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let made = tempfile::tempdir().unwrap();
    // A compiler written in Rust, so that no `protoc` is needed.
    let files = protox::compile(["snapshots.proto"], [&proto]).unwrap();
    tonic_prost_build::configure()
        .build_client(true)
        // The client is for tests and benchmarks, which bring their own connection.
        .build_transport(false)
        .disable_comments(["."])
        .emit_rerun_if_changed(false)
        .out_dir(made.path())
        .compile_fds(files)
        .unwrap();
    for entry in fs::read_dir(made.path()).unwrap() {
        let made = entry.unwrap().path();
        let kept = proto.join("generated").join(made.file_name().unwrap());
        if std::env::var_os(WRITE).is_some() {
            fs::copy(&made, &kept).unwrap();
        }
        assert!(
            fs::read(&made).unwrap() == fs::read(&kept).unwrap_or_default(),
            "{} is not what proto/*.proto gives: run the test with {WRITE}=1 and commit the file",
            kept.display()
        );
    }
}
