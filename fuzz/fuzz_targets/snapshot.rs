#![no_main]

#[path = "../properties/snapshot.rs"]
mod snapshot;

libfuzzer_sys::fuzz_target!(|input: &[u8]| snapshot::hold(input));
