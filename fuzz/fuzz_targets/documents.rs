#![no_main]

#[path = "../properties/documents.rs"]
mod documents;

libfuzzer_sys::fuzz_target!(|input: &[u8]| documents::hold(input));
