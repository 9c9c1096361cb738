//! Shared libraries in C, for what the program loads at runtime.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{TestDir, text};

/// Compiles `NAME.so` in the directory.
pub fn compile_library(dir: &TestDir, name: &str, source: &str) -> PathBuf {
    let (code, library) = (dir.path(format!("{name}.c")), dir.path(format!("{name}.so")));
    fs::write(&code, source).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &code])
        .output()
        .expect("a C compiler, which Rust's linker needs too");
    assert!(compiled.status.success(), "{}", text(&compiled.stderr));
    library
}
