#![no_main]

#[path = "../properties/diskstats.rs"]
mod diskstats;

libfuzzer_sys::fuzz_target!(|input: &[u8]| diskstats::hold(input));
