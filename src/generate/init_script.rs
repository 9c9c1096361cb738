//! The SysV init script: its template with settings of the systemd unit.

use super::unit;
use crate::config::Config;

const TEMPLATE: &str = include_str!("../../init.d/template");

/// Returns the text of `/etc/init.d/shinken-gatherer`.
pub fn init_script() -> String {
    let command = unit::words("ExecStart");
    let (daemon, arguments) = command.split_first().unwrap_or((&"", &[]));
    [
        ("@DESCRIPTION@", unit::words("Description").join(" ")),
        ("@DAEMON@", daemon.to_string()),
        ("@ARGUMENTS@", arguments.join(" ")),
        ("@START_CHECK@", unit::last_word("ExecStartPre").into()),
        ("@USER@", unit::last_word("User").into()),
        ("@GROUP@", unit::last_word("Group").into()),
        ("@CAPABILITIES@", unit::words("AmbientCapabilities").join(" ")),
        ("@NICE@", unit::last_word("Nice").into()),
        (
            "@IO_CLASS@",
            io_class(unit::last_word("IOSchedulingClass")).into(),
        ),
        ("@STOP_SECONDS@", unit::seconds("TimeoutStopSec").into()),
        ("@UMASK@", unit::last_word("UMask").into()),
        ("@SHORT_LIVED_FILES@", short_lived_files()),
        ("@RUN_FOLDER@", unit::last_word("RuntimeDirectory").into()),
        ("@STATE_FOLDER@", unit::last_word("StateDirectory").into()),
        ("@STATE_MODE@", unit::last_word("StateDirectoryMode").into()),
        ("@OPEN_FILES@", unit::last_word("LimitNOFILE").into()),
        ("@DATA_KIB@", kib(unit::last_word("LimitDATA"))),
        ("@DEBUG_FILE@", unit::last_word("EnvironmentFile").into()),
    ]
    .iter()
    .fold(TEMPLATE.into(), |script: String, (name, value)| {
        script.replace(name, value)
    })
}

/// Returns the published files that must not outlive the daemon, for `rm`.
fn short_lived_files() -> String {
    let files = Config::default().short_lived();
    let files: Vec<_> = files.map(|file| file.display().to_string()).collect();
    files.join(" ")
}

/// Returns a size such as `256M` as a number of KiB, which `ulimit` expects.
fn kib(size: &str) -> String {
    let mebibytes = size
        .strip_suffix('M')
        .and_then(|number| number.parse::<u32>().ok());
    mebibytes.map_or_else(String::new, |number| (number * 1024).to_string())
}

/// Returns the number of an I/O class, which `ionice -c` of old util-linux expects.
fn io_class(name: &str) -> &'static str {
    match name {
        "realtime" => "1",
        "idle" => "3",
        _ => "2",
    }
}

#[cfg(test)]
mod tests {
    use super::init_script;

    #[test]
    fn every_placeholder_of_the_template_gets_a_value() {
        for line in init_script().lines() {
            assert!(
                !line.contains('@') && !line.ends_with('=') || line.starts_with([' ', '#']),
                "{line}"
            );
        }
    }
}
