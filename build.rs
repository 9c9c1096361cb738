//! Has the release binary laid out by `src/link.ld`; other builds unwind and need what it leaves out.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=src/link.ld");
    println!("cargo::rerun-if-changed=build.rs");
    let is = |variable: &str, value: &str| env::var(variable).as_deref() == Ok(value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("PROFILE", "release") {
        let root = env::var("CARGO_MANIFEST_DIR").expect("cargo names the package's directory");
        println!("cargo::rustc-link-arg-bin=shinken-gatherer=-Wl,-T,{root}/src/link.ld,--no-eh-frame-hdr");
    }
}
