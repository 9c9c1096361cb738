//! `config show`: the effective values and where they are set.

use std::fs;

use shinken_gatherer::config::Config;

use crate::support::{TestDir, assert_contains, refusal_of, text};

#[test]
fn paths_that_are_not_set_are_shown_with_their_origin() {
    let dir = TestDir::in_memory();
    dir.write("gatherer.toml", "");
    let shown = text(&dir.run(&["config", "show"]).stdout);
    let value_of = |key: &str, origin: &str| {
        let mut lines = shown.lines().skip_while(|line| *line != "[graphite]");
        let line = lines.find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        let value = line
            .unwrap()
            .strip_suffix(origin)
            .unwrap_or_else(|| panic!("{shown}"));
        value.trim_end().strip_suffix('"').unwrap().to_string()
    };
    let tree = value_of("whisper_dir", "# detected");
    assert_eq!(
        value_of("output", "# from whisper_dir"),
        format!("{tree}.nb_metrics")
    );
}

#[test]
fn shown_configuration_is_valid_and_has_origins() {
    let dir = TestDir::in_memory();
    fs::write(
        dir.path("other.toml"),
        "\n[disks]\ninterval = \"7s\"\nwindow = 60\n",
    )
    .unwrap();
    let line = refusal_of(dir.command().args(["config", "test"]).arg(dir.path("other.toml")));
    assert_contains(&line, "other.toml:4: disks.window: ");
    let tested = dir.run(&["config", "test"]);
    let valid = format!("{}: valid\n", dir.path("gatherer.toml").display());
    assert_eq!((tested.status.code(), text(&tested.stdout)), (Some(0), valid));

    let file = dir.path("gatherer.toml");
    let written = fs::read_to_string(&file).unwrap();
    let exclude = "[graphite]\nexclude = [\"\\u200bx\"]\n";
    fs::write(&file, written.replace("[graphite]\n", exclude)).unwrap();
    let shown = dir.run(&["config", "show"]);
    let shown = text(&shown.stdout);
    let mut config = Config::load(Some(&file)).unwrap();
    // Shown as it would be chosen now.
    let output = config
        .graphite
        .output_of(config.graphite.whisper_dir.as_ref().unwrap());
    config.graphite.output = Some(output);
    assert_eq!(Config::parse(&file, &shown), Ok(config), "{shown}");
    let lines = fs::read_to_string(&file).unwrap();
    let line = 1 + lines
        .lines()
        .position(|line| line.starts_with("whisper_dir"))
        .unwrap();
    for (start, end) in [
        ("whisper_dir = ", format!("# file, line {line}")),
        ("host_depth = 1 ", "# default".into()),
        ("exclude = [\"\\U0000200Bx\"] ", "".into()),
        ("# whisper: ", dir.path("whisper").display().to_string()),
        ("# machine: ", ")".into()),
        (
            "# sandbox: the service can write to /opt/graphite/storage ",
            "".into(),
        ),
    ] {
        let mut lines = shown.lines().filter(|line| line.starts_with(start));
        assert!(lines.any(|line| line.ends_with(&end)), "{start}…{end}: {shown}");
    }
}
