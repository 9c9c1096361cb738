//! Whatever a published file holds: its readers refuse it with a reason or take a whole document, whose age is judged
//! and which a check answers about in one line with an exit code of 0 to 3.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::{Args, FromArgMatches};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shinken_gatherer::check::{self, args::CheckArgs};
use shinken_gatherer::config::Config;
use shinken_gatherer::disks::DisksReport;
use shinken_gatherer::graphite::GraphiteReport;
use shinken_gatherer::published::{self, Age, ReadError};
use shinken_gatherer::report::{Report, to_line};
use shinken_gatherer::trusted_users::TrustedUsers;
use shinken_gatherer::vmware::VmwareReport;
use tempfile::TempDir;

/// Unix seconds to judge the age at, the last of them for the answers.
const TIMES: [u64; 4] = [0, 1 << 33, 1_795_352_640, 1_795_352_705];
/// Command lines, with thresholds that some values are beyond.
const CHECKS: [&[&str]; 5] = [
    &["graphite", "-w", "10", "-c", "~:1000000"],
    &["graphite", "--hosts"],
    &["disks", "-w", "10", "-c", "@0:100", "--max-age", "10d"],
    &["disks", "--whisper", "--disk", "sda", "sdz"],
    &["vmware", "-w", "5", "-c", "10:20"],
];

/// What is made once, because that takes longer than all the rest.
struct Reader {
    folder: TempDir,
    trusted: TrustedUsers,
    checks: Vec<CheckArgs>,
}

/// Panics where one of the properties does not hold for this text of a published file.
pub fn hold(input: &[u8]) {
    thread_local!(static READER: Reader = reader());
    READER.with(|reader| {
        let path = reader.folder.path().join("document");
        fs::write(&path, input).expect("writing the file");
        as_document::<GraphiteReport>(&path, &reader.trusted);
        as_document::<DisksReport>(&path, &reader.trusted);
        as_document::<VmwareReport>(&path, &reader.trusted);
        for args in &reader.checks {
            answers_in_one_line(args, &path, &reader.trusted);
        }
    });
}

fn reader() -> Reader {
    let checks = CHECKS.map(|words| {
        let command = CheckArgs::augment_args(clap::Command::new("check"));
        let matches = command.get_matches_from([&["check"], words].concat());
        CheckArgs::from_arg_matches(&matches).expect("a command line")
    });
    Reader {
        folder: tempfile::tempdir_in("/dev/shm").expect("a folder for the file"),
        trusted: TrustedUsers::load(),
        checks: checks.into(),
    }
}

fn as_document<T: Report + Serialize + DeserializeOwned>(path: &Path, trusted: &TrustedUsers) {
    let document: T = match published::read(path, trusted) {
        Ok(document) => document,
        Err(ReadError::NotFound) => panic!("the file is there"),
        Err(ReadError::Rejected(reason)) => {
            assert!(
                !reason.is_empty() && !reason.contains(char::is_control),
                "{reason:?}"
            );
            return;
        }
    };
    for seconds in TIMES {
        for max_age in [None, Some(Duration::from_secs(300))] {
            let age = Age::of(&document, at(seconds), max_age);
            assert_eq!(age.outdated().is_none(), age.is_fresh());
        }
    }
    // Written again it is a document of one line, with the same values.
    let line = to_line(&document);
    assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
    fs::write(path.with_extension("again"), &line).expect("writing the file");
    let again: T = published::read(&path.with_extension("again"), trusted)
        .unwrap_or_else(|why| panic!("{why:?}: {line}"));
    let value = |document: &T| serde_json::to_value(document).expect("a document");
    assert!(is_same(&value(&document), &value(&again)), "{line}");
}

/// Equal, but for the last digit of a number: it may change where a number is read.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| is_same(value, other)))
        }
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-12 + 1e-9,
            _ => false,
        },
        (a, b) => a == b,
    }
}

fn answers_in_one_line(args: &CheckArgs, path: &Path, trusted: &TrustedUsers) {
    let mut config = Config::default();
    config.graphite.output = Some(path.into());
    config.disks.output = path.into();
    config.vmware.output = path.into();
    let (line, code) = check::answer(args, Ok(config), trusted, at(TIMES[TIMES.len() - 1]));
    assert!(code <= 3, "exit code {code}");
    let text = line.strip_suffix('\n').expect("a line");
    assert!(!text.contains(char::is_control), "{text:?}");
    match text.split_once('|') {
        None => assert_eq!(code, 3, "an answer without figures: {text}"),
        Some((_, perfdata)) => is_perfdata(perfdata.trim_start_matches(' ')),
    }
}

/// `'label'=value[UOM];[warn];[crit];[min];[max]`, as often as there are figures.
fn is_perfdata(perfdata: &str) {
    let mut rest = perfdata;
    while !rest.is_empty() {
        let label_end = label_end(rest).unwrap_or_else(|| panic!("no label: {rest}"));
        let figure = &rest[label_end + 1..];
        let end = figure.find(' ').unwrap_or(figure.len());
        let mut fields = figure[..end].split(';');
        let value = fields.next().unwrap_or_default();
        let number = value.trim_end_matches(['s', '%']);
        assert!(
            value == "U" || number.parse::<f64>().is_ok_and(f64::is_finite),
            "{value} in {perfdata}"
        );
        assert!(fields.count() <= 4, "{perfdata}");
        rest = figure[end..].trim_start_matches(' ');
    }
}

/// Where the equals sign behind the label is.
fn label_end(text: &str) -> Option<usize> {
    let Some(quoted) = text.strip_prefix('\'') else {
        return text.find('=');
    };
    let mut quote = quoted.find('\'')?;
    // A quote in a label is doubled.
    while quoted[quote + 1..].starts_with('\'') {
        quote += 2 + quoted[quote + 2..].find('\'')?;
    }
    quoted[quote + 1..].starts_with('=').then_some(quote + 2)
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
