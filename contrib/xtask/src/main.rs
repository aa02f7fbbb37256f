//! contrib/xtask
fn main() {}
