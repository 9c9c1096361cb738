//! `generate` and the systemd generator, which runs it at boot.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::{TestDir, gatherer, skip, stderr_of, text};

const GENERATOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/generator");
const DROP_IN: &str = "out/shinken-gatherer.service.d/50-configured-paths.conf";

/// Runs the generator as systemd does, on the configuration of `place` and with the built program.
fn generate(place: &TestDir) -> Output {
    let file = place.path("gatherer.toml").display().to_string();
    let program = format!("{} --config {file}", env!("CARGO_BIN_EXE_shinken-gatherer"));
    let script = fs::read_to_string(GENERATOR)
        .unwrap()
        .replace("/etc/shinken-gatherer/gatherer.toml", &file)
        .replace("/usr/sbin/shinken-gatherer", &program);
    let mut command = Command::new("sh");
    let folders = ["out", "early", "late"].map(|folder| place.path(folder));
    let output = command
        .arg("-c")
        .arg(script)
        .arg("generator")
        .args(folders)
        .output();
    output.unwrap()
}

/// Returns what the program prints for `arguments`, which must succeed.
fn print(arguments: &str) -> String {
    let output = gatherer().args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", stderr_of(&output));
    text(&output.stdout)
}

#[test]
fn committed_init_script_equals_generated_one() {
    assert!(
        print("generate init-script") == include_str!("../../../init.d/shinken-gatherer"),
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
fn unsupported_shell_or_file_is_a_usage_error() {
    for arguments in [
        &["generate"] as &[_],
        &["generate", "cake"],
        &["generate", "completions", "elvish"],
    ] {
        let output = gatherer().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && stderr_of(&output).contains("--help"),
            "{output:?}"
        );
    }
}

#[test]
fn generator_writes_a_drop_in_that_runs_nothing() {
    let place = TestDir::new();
    let output = generate(&place);
    assert!(output.status.success(), "{}", stderr_of(&output));
    let root = place.path("").display().to_string();
    let root = root.trim_end_matches('/');
    let drop_in = fs::read_to_string(place.path(DROP_IN)).unwrap();
    assert!(
        drop_in.contains(&format!("ReadOnlyPaths=\"-{root}/whisper\"\n")),
        "{drop_in}"
    );
    assert!(
        drop_in.contains("\n[Service]\n") && !drop_in.contains("Exec"),
        "{drop_in}"
    );
}

#[test]
fn other_users_configuration_leaves_no_drop_in() {
    if !rustix::process::geteuid().is_root() {
        return skip("another user needs root");
    }
    let place = TestDir::new();
    chown(place.path("gatherer.toml"), Some(65534), None).unwrap();
    let output = generate(&place);
    assert!(output.status.success());
    assert!(stderr_of(&output).contains("gatherer.toml: owner is user 65534 and mode is 0644, "));
    assert!(!place.path(DROP_IN).exists());
}

#[test]
fn generate_sandbox_touches_no_configured_path() {
    let place = TestDir::new();
    let trace = place.path("trace");
    let strace = || {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "trace=%file", "-o"]).arg(&trace);
        strace
    };
    if !strace().arg("true").status().is_ok_and(|status| status.success()) {
        return skip("strace can't be used");
    }
    // A link, which canonicalize() would follow, to a tree in a home.
    let elsewhere = place.path("configured");
    fs::create_dir_all(elsewhere.join("home/whisper")).unwrap();
    symlink("home/whisper", elsewhere.join("whisper")).unwrap();
    let configured = |key: &str, name: &str| format!("{key} = {:?}\n", elsewhere.join(name));
    let text_of_file = [
        &configured("log_file", "log/gatherer.log"),
        &configured("state_dir", "state"),
        "[graphite]\n",
        &configured("whisper_dir", "whisper"),
        "[disks]\n",
        &configured("output", "disks"),
        "[vmware]\n",
        &configured("output", "vmware"),
        "[host]\n",
        &configured("proc", "proc"),
        &configured("sys", "sys"),
        &configured("run", "run"),
    ]
    .concat();
    let unset = "# no whisper_dir: none of the usual ones is looked for\n".to_string();
    for (config, opens) in [(text_of_file, true), (unset, false)] {
        let file: PathBuf = place.path("gatherer.toml");
        fs::write(&file, config).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let output = strace()
            .arg(env!("CARGO_BIN_EXE_shinken-gatherer"))
            .arg("--config")
            .arg(&file)
            .args(["generate", "sandbox"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr_of(&output));
        assert_eq!(text(&output.stdout).contains("ReadOnlyPaths="), opens);
        let calls = fs::read_to_string(&trace).unwrap();
        assert!(calls.contains("gatherer.toml"), "{calls}");
        for path in [
            &*elsewhere.to_string_lossy(),
            "/opt/graphite",
            "/var/lib/graphite",
            "/var/lib/carbon",
        ] {
            assert!(!calls.contains(path), "{path} is touched:\n{calls}");
        }
    }
}
