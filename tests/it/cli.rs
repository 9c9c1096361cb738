//! The command line: usage errors and help of every command except `check`; `status -v`; `generate`, and the systemd
//! generator, which runs it at boot.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;

use crate::support::{
    DROP_IN, Daemon, FAST, TestDir, assert_contains, gatherer, matches, run_generator, stderr_of, strace,
    text, wait_for,
};

#[test]
fn bad_usage_is_code_2_with_a_hint_on_stderr() {
    for arguments in [
        "",
        "runn",
        "--config",
        "once --jsonn",
        "once --window 0s",
        "once --window 1M",
        "status more",
        "status --watch 1ms",
        "status --watch often",
        "status -v --json",
        "config",
        "config check",
        "generate",
        "generate cake",
        "generate completions elvish",
    ] {
        let output = gatherer().args(arguments.split_whitespace()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(
            stderr_of(&output).contains("--help"),
            "{arguments:?}: {}",
            stderr_of(&output)
        );
    }
    let output = gatherer().args(["--config", "", "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = stderr_of(&output);
    assert_contains(&stderr, "a value is required for '--config <FILE>'");
}

#[test]
fn help_and_version_are_code_0_on_stdout() {
    let version = concat!("shinken-gatherer ", env!("CARGO_PKG_VERSION"));
    for (arguments, start) in [
        ("--help", "Background gatherer"),
        ("--version", version),
        ("once --help", "Collect once"),
        ("help status", "Show the"),
        ("once -V", version),
        ("config test -V", version),
    ] {
        let output = gatherer().args(arguments.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments}");
        let shown = text(&output.stdout);
        assert!(shown.starts_with(start) && output.stderr.is_empty(), "{shown}");
    }
}

/// Returns the output of a command line that must succeed.
fn print(arguments: &str) -> String {
    let output = gatherer().args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", stderr_of(&output));
    text(&output.stdout)
}

#[test]
fn committed_init_script_equals_generated_one() {
    assert!(
        print("generate init-script") == include_str!("../../init.d/shinken-gatherer"),
        "run: cargo run -- generate init-script >init.d/shinken-gatherer"
    );
}

#[test]
fn generated_texts_and_help_name_no_hidden_command() {
    for (arguments, part) in [
        ("--help", "generate"),
        ("generate man", "COMMAND ONCE"),
        ("generate man gatherer.toml", "full_scan_interval"),
        ("generate completions bash", "complete -F"),
        ("generate completions zsh", "#compdef shinken-gatherer"),
        ("generate completions fish", "complete -c shinken-gatherer"),
    ] {
        let text = print(arguments);
        assert!(text.contains(part), "{arguments}: {text:.60}");
        for hidden in [
            "clean-up",
            "count-worker",
            "guest-library",
            "storage-reader",
            "parents",
        ] {
            assert!(!text.contains(hidden), "{arguments}: {hidden}");
        }
    }
}

#[test]
fn generator_writes_a_drop_in_that_runs_nothing() {
    let dir = TestDir::in_memory();
    let output = run_generator(&dir, "gatherer.toml");
    assert!(output.status.success(), "{}", stderr_of(&output));
    let drop_in = fs::read_to_string(dir.path(DROP_IN)).unwrap();
    let tree = format!("\nReadOnlyPaths=\"-{}\"\n", dir.path("whisper").display());
    assert!(
        drop_in.contains(&tree) && drop_in.contains("\n[Service]\n"),
        "{drop_in}"
    );
    assert!(!drop_in.contains("Exec"), "{drop_in}");
}

#[test]
fn generate_sandbox_touches_no_configured_path() {
    let dir = TestDir::in_memory();
    let Some(mut generate) = strace(&dir, &["-e", "trace=%file"], &["generate", "sandbox"]) else {
        return;
    };
    // A link, which canonicalize() would follow, to a tree in a home.
    fs::create_dir_all(dir.path("configured/home/whisper")).unwrap();
    symlink("home/whisper", dir.path("configured/graphite.whisper_dir")).unwrap();
    let configured = dir.path("configured").display().to_string();
    let set = [
        "log_file",
        "state_dir",
        "graphite.whisper_dir",
        "disks.output",
        "vmware.output",
        "host.proc",
        "host.sys",
        "host.run",
    ]
    .map(|key| format!("{key} = '{configured}/{key}'\n"))
    .concat();
    for (config, opens) in [(&*set, true), ("# no usual whisper_dir is looked for\n", false)] {
        fs::write(dir.path("gatherer.toml"), config).unwrap();
        let output = generate.output().unwrap();
        assert!(output.status.success(), "{}", stderr_of(&output));
        assert_eq!(text(&output.stdout).contains("ReadOnlyPaths="), opens);
        let calls = dir.read("trace");
        assert_contains(&calls, "gatherer.toml");
        for path in [
            &*configured,
            "/opt/graphite",
            "/var/lib/graphite",
            "/var/lib/carbon",
        ] {
            assert!(!calls.contains(path), "{path} is touched:\n{calls}");
        }
    }
}

/// Returns the output of `status -v`, which must fit a screen, with each row on one line.
fn details(dir: &TestDir) -> String {
    let shown = text(&dir.run(&["status", "-v"]).stdout);
    assert!(shown.lines().count() < 24, "{shown}");
    let is_long = |line: &&str| line.chars().count() > 80 && !line.contains('/');
    assert_eq!(shown.lines().find(is_long), None);
    shown.replace(&format!("\n{:11}", ""), " ")
}

#[test]
fn details_have_what_a_bug_report_needs() {
    let dir = TestDir::in_memory();
    dir.configure_vm("", "interval = \"1h\"", FAST, "");
    let daemon = Daemon::start(&dir);
    dir.wait_for_helper();
    wait_for("the documents", || dir.count().and(dir.disks()));
    let version = text(&gatherer().arg("--version").output().unwrap().stdout);
    let version = version.trim().strip_prefix("shinken-gatherer ").unwrap();
    let mut log = OpenOptions::new()
        .append(true)
        .open(dir.path("gatherer.log"))
        .unwrap();
    log.write_all(b"2026-11-22T13:05:00Z ERROR disks: \x1b[31mlost\n2026-11-22T13:05:01Z INFO disks: back\n")
        .unwrap();
    let (root, pid) = (dir.path("").display().to_string(), daemon.child.id());
    let shown = details(&dir);
    for row in [
        format!("version    {version}\n"),
        format!("\ndaemon     pid {pid}, up …s: …/shinken-gatherer --config {root}gatherer.toml run\n"),
        format!("\nconfig     {root}gatherer.toml\n"),
        format!("\nlog        {root}gatherer.log\n"),
        "\nprivileges no …; user …\n".into(),
        format!("\nwhisper    {root}whisper\n"),
        "\nmachine    a VMware virtual machine (…system vendor by DMI: \"VMware, Inc.\")\n".into(),
        "\nsandbox    the service can write to /opt/graphite/storage …\n".into(),
        "\ngraphite   fresh, …s old: 0 hosts, 0 metrics last error: none in the log file\n".into(),
        "\ndisks      fresh, …s old: … last error: 2026-11-22T13:05:00Z ERROR disks: ?[31mlost\n".into(),
        "\nvmware     fresh, …s old: … last error: 20…Z WARN vmware: …library not found…\n".into(),
    ] {
        assert!(matches(&format!("…{row}"), &shown), "{row}: {shown}");
    }
    daemon.stop();
    // After a rotation.
    fs::rename(dir.path("gatherer.log"), dir.path("gatherer.log.1")).unwrap();
    dir.write("gatherer.log", "");
    let shown = details(&dir);
    let rotated = "…\ndaemon     not running\n…last error: 2026-11-22T13:05:00Z ERROR disks: ?[31mlost\n";
    assert!(matches(rotated, &shown), "{shown}");
    dir.write("gatherer.toml", "log_level = info");
    assert_eq!(dir.run(&["status", "-v"]).status.code(), Some(2));
    let shown = details(&dir);
    let rejected =
        "version    …\ndaemon     …\nconfig     rejected: …/gatherer.toml:1: log_level: …with quotes\n";
    assert!(matches(rejected, &shown), "{shown}");
}
