//! `generate` and the systemd generator, which runs it at boot.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::program::{DROP_IN, run_generator, strace};
use crate::support::{TestDir, gatherer, stderr_of, text};

/// Returns the output of a command line that must succeed.
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
        assert!(calls.contains("gatherer.toml"), "{calls}");
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
