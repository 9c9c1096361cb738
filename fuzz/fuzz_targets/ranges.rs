#![no_main]

#[path = "../properties/ranges.rs"]
mod ranges;

libfuzzer_sys::fuzz_target!(|input: &[u8]| ranges::hold(input));
