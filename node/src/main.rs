//! dmls
fn main() {}
