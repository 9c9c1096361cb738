//! The properties of the fuzz targets, on the stable toolchain: for the committed corpora, for inputs that fuzzing found,
//! and for generated inputs that are nearly valid.

#[path = "../fuzz/properties/configuration.rs"]
mod configuration;
#[path = "../fuzz/properties/diskstats.rs"]
mod diskstats;
#[path = "../fuzz/properties/documents.rs"]
mod documents;
#[path = "../fuzz/properties/ranges.rs"]
mod ranges;
#[path = "../fuzz/properties/snapshot.rs"]
mod snapshot;

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Checks the property for each input of the corpus.
#[allow(clippy::print_stdout, reason = "names the input of a failure")]
fn replay(target: &str, hold: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries = fs::read_dir(corpus).unwrap();
    let mut inputs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= 10, "the corpus of {target} is missing");
    for input in inputs {
        println!("{}", input.display());
        hold(&fs::read(input).unwrap());
    }
}

#[test]
fn corpus_of_diskstats_passes() {
    replay("diskstats", diskstats::hold);
}

#[test]
fn other_corpora_pass() {
    replay("configuration", configuration::hold);
    replay("documents", documents::hold);
    replay("ranges", ranges::hold);
    replay("snapshot", snapshot::hold);
}

#[test]
fn column_of_a_megabyte_is_not_repeated_in_the_log() {
    let noise = "\u{1d}".repeat(1 << 20);
    diskstats::hold(format!("8 0 sda 0{noise} 0\n8 0 sda{noise} 1\n").as_bytes());
}

#[test]
fn counter_decreasing_near_its_maximum_restarts_the_window() {
    let (largest, less) = (u64::MAX, u64::MAX - 1);
    let line =
        |number: u64| format!("8 0 sda 1 0 {number} {number} 1 0 {number} {number} 0 {number} {number}\n");
    diskstats::hold(format!("{}@10000\n{}@10000\n{}", line(largest), line(less), line(7)).as_bytes());
}

/// A number as the kernel may print it: small or near a limit; or something else.
fn column() -> impl Strategy<Value = String> {
    let near = |limit: u64| (0..100u64).prop_map(move |less| limit.wrapping_sub(less).to_string());
    prop_oneof![
        8 => (0..100_000u64).prop_map(|number| number.to_string()),
        2 => near(1 << 32),
        2 => near(1 << 40),
        1 => near(u64::MAX),
        1 => any::<u64>().prop_map(|number| number.to_string()),
        1 => words("-1 +1 1e9  18446744073709551616 \u{1} x").prop_map(String::from),
    ]
}

fn words(words: &'static str) -> impl Strategy<Value = &'static str> {
    select(words.split(' ').collect::<Vec<_>>())
}

fn diskstats_line() -> impl Strategy<Value = String> {
    let name = words("sda sdb sda1 dm-0 cciss/c0d0 nvme0n1 nvme0c0n1 nvme0c1n1");
    (name, vec(column(), 11), 0..20usize, 0..8usize).prop_map(|(name, mut columns, keep, more)| {
        if keep < 11 && more == 0 {
            columns.truncate(keep);
        }
        columns.extend(vec!["7".to_string(); more]);
        format!("   8       0 {name} {}\n", columns.join(" "))
    })
}

fn diskstats_instants() -> impl Strategy<Value = String> {
    let step = prop_oneof![4 => 1..20_000u64, 1 => Just(0), 1 => 0..2_000_000_000u64];
    let lines = vec(diskstats_line(), 0..8).prop_map(|lines| lines.concat());
    let instant = (step, lines).prop_map(|(step, lines)| format!("@{step}\n{lines}"));
    vec(instant, 1..8).prop_map(|instants| instants.concat())
}

fn configuration_value() -> impl Strategy<Value = String> {
    let duration = (0..100_000u64, words("ms s m h days years  us"));
    let path = "(/[a-z.]{0,3}){0,4}(\n|\u{0}|/)?";
    prop_oneof![
        duration.prop_map(|(number, unit)| format!("{:?}", format!("{number}{unit}"))),
        path.prop_map(|path| toml_string(&path)),
        any::<i64>().prop_map(|number| number.to_string()),
        (-1..130i64).prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|value| value.to_string()),
        vec("[a-z*?\\[\\]{},!/\\\\]{0,12}", 0..4).prop_map(|patterns| {
            let patterns: Vec<_> = patterns.iter().map(|pattern| toml_string(pattern)).collect();
            format!("[{}]", patterns.join(", "))
        }),
        any::<String>().prop_map(|text| toml_string(&text)),
        "[ -~\n]{0,12}",
    ]
}

/// Returns a basic string of TOML.
fn toml_string(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\U{:08x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

fn configuration_text() -> impl Strategy<Value = String> {
    let table = words(" graphite. disks. vmware. carbon. host.");
    let key = words(
        "log_level log_file state_dir enabled whisper_dir output interval max_busy_percent host_depth full_scan_interval \
         exclude window libraries address prefix proc sys run graphite disks other",
    );
    let line = (table, key, configuration_value());
    let line = line.prop_map(|(table, key, value)| format!("{table}{key} = {value}\n"));
    vec(line, 0..6).prop_map(|lines| lines.concat())
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f64>().prop_map(|number| number.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        (0..200u32).prop_map(|number| f64::from(number).to_string()),
        words("0 -0.0 1e308 1e999 -1 null 18446744073709551616").prop_map(String::from),
    ]
}

fn document() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("sda".to_string()), any::<String>(), "[a-z'|= \n]{0,6}"];
    let disk = vec(number(), 8).prop_map(|numbers| {
        let fields = "util_percent reads_per_second writes_per_second read_bytes_per_second write_bytes_per_second \
                      read_await_ms write_await_ms queue_size";
        let fields = fields.split(' ').zip(numbers);
        let pairs: Vec<_> = fields.map(|(field, number)| format!("\"{field}\":{number}")).collect();
        format!("{{{}}}", pairs.join(","))
    });
    let disks = vec((name, disk), 0..4).prop_map(|disks| {
        let pair = |(name, disk): (String, String)| format!("{}:{disk}", serde_json::Value::from(name));
        disks.into_iter().map(pair).collect::<Vec<_>>().join(",")
    });
    (disks, vec(number(), 6), select(vec![1, 1, 1, 2]), any::<String>()).prop_map(|(disks, numbers, schema, error)| {
        let [a, b, c, d, e, f] = numbers.try_into().expect("six numbers");
        let error = serde_json::Value::from(error);
        // The fields of all three documents.
        format!(
            "{{\"schema\":{schema},\"updated_at\":1795352700,\"interval_seconds\":{a},\"hosts\":{b},\"metrics\":{c},\
             \"scan_seconds\":{d},\"window_seconds\":{e},\"disks\":{{{disks}}},\"whisper_disks\":[\"sda\"],\
             \"is_vmware\":true,\"cpu_ready_percent\":{f},\"cpu_ready_percent_per_vcpu\":{b},\"vcpus\":4,\"error\":{error}}}"
        )
    })
}

/// Takes seconds in a debug build, and writes no files: a failure prints its input.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn generated_diskstats_hold(text in diskstats_instants()) {
        diskstats::hold(text.as_bytes());
    }

    #[test]
    fn generated_configurations_hold(text in configuration_text()) {
        configuration::hold(text.as_bytes());
    }

    #[test]
    fn generated_documents_hold(text in document()) {
        documents::hold(text.as_bytes());
    }

    #[test]
    fn generated_ranges_hold(text in "@?(~|-?[0-9]{0,4}(\\.[0-9]{0,2})?)?:?-?[0-9]{0,4}(\\.[0-9]{0,2})?") {
        ranges::hold(text.as_bytes());
    }

    #[test]
    fn random_bytes_hold(noise in vec(any::<u8>(), 0..300)) {
        for hold in [configuration::hold, diskstats::hold, documents::hold, ranges::hold] {
            hold(&noise);
        }
    }
}
