//! contrib/bench
fn main() {}
