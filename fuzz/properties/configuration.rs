//! Whatever the text: it is a configuration within all limits, or refused in one short line that says where.

use std::path::Path;
use std::time::Duration;

use shinken_gatherer::config::{Config, protected_folder};

const FILE: &str = "gatherer.toml";

/// Panics where one of the properties does not hold for this text of a configuration.
pub fn hold(input: &[u8]) {
    // Text that is not UTF-8 is refused before it is parsed.
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let parsed = Config::parse(Path::new(FILE), text);
    assert_eq!(parsed, Config::parse(Path::new(FILE), text));
    match parsed {
        Ok(config) => is_within_limits(&config),
        Err(error) => says_where(&error.to_string(), text),
    }
}

fn says_where(error: &str, text: &str) {
    assert!(!error.contains(char::is_control), "more than a line: {error:?}");
    assert!(
        error.chars().count() < 520,
        "{} characters",
        error.chars().count()
    );
    let place = error.strip_prefix(FILE).and_then(|rest| rest.strip_prefix(':'));
    let line = place.and_then(|place| place.split(':').next()?.parse::<usize>().ok());
    let line = line.unwrap_or_else(|| panic!("no line: {error}"));
    assert!((1..=text.split('\n').count()).contains(&line), "{error}");
}

fn is_within_limits(config: &Config) {
    let durations = Duration::from_millis(1)..=Duration::from_secs(366 * 24 * 3600);
    let graphite = &config.graphite;
    for duration in [
        graphite.interval,
        graphite.full_scan_interval,
        config.disks.interval,
        config.disks.window,
        config.vmware.interval,
        config.vmware.window,
    ] {
        assert!(durations.contains(&duration), "{duration:?}");
    }
    for (interval, window) in [
        (config.disks.interval, config.disks.window),
        (config.vmware.interval, config.vmware.window),
    ] {
        assert!(
            window >= interval && window <= interval * 1000,
            "{window:?} {interval:?}"
        );
    }
    assert!((1..=100).contains(&graphite.max_busy_percent));
    assert!((1..=64).contains(&graphite.host_depth));
    assert!(graphite.exclude.len() <= 1000);
    assert!(!config.vmware.libraries.is_empty());
    assert!(config.carbon.address.port() != 0);
    let trees = graphite.whisper_dirs();
    let output = graphite.output_of(&trees[0]);
    let written = [
        config.log_file.as_deref(),
        config.state_dir.as_deref(),
        graphite.enabled.then_some(output.as_path()),
        config.disks.enabled.then_some(config.disks.output.as_path()),
        config.vmware.enabled.then_some(config.vmware.output.as_path()),
    ];
    let written: Vec<_> = written.into_iter().flatten().collect();
    for (index, path) in written.iter().enumerate() {
        is_a_path(path);
        assert!(protected_folder(path).is_none(), "{path:?}");
        assert!(!written[..index].contains(path), "{path:?} is written by two");
    }
    for path in trees
        .iter()
        .chain([&config.host.proc, &config.host.sys, &config.host.run])
    {
        is_a_path(path);
    }
}

fn is_a_path(path: &Path) {
    let text = path.to_str().expect("paths come from UTF-8 text");
    assert!(path.is_absolute() && text.len() <= 4096, "{path:?}");
    assert!(!text.contains(char::is_control), "{path:?}");
}
