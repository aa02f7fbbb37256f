//! Generates the gRPC code from `proto/`, with a compiler written in Rust so that no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../proto");
    let files = protox::compile(["snapshots.proto"], ["../proto"])?;
    tonic_prost_build::configure()
        .build_client(true)
        // The client is for tests and benchmarks, which bring their own connection.
        .build_transport(false)
        .disable_comments(["."])
        .emit_rerun_if_changed(false)
        .compile_fds(files)?;
    Ok(())
}
