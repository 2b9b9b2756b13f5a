//! Switches the atomics of `src/rt/asleep.rs` to loom's, in this crate and in no dependency.

fn main() {
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
}
