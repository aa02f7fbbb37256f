//! snapshotter
fn main() {}
