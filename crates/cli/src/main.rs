//! The bootgate command line.
fn main() {}
