//! The command `ringfort-loadgen`.

fn main() {}
