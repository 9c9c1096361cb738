//! The systemd generator, as systemd runs it.

use std::fs;
use std::process::{Command, Output};

use crate::support::TestDir;

/// The file that the generator writes, in the directory of the test.
pub const DROP_IN: &str = "out/shinken-gatherer.service.d/50-configured-paths.conf";

/// Runs the generator on the configuration `file` with the built binary.
pub fn run_generator(dir: &TestDir, file: &str) -> Output {
    let file = dir.path(file).display().to_string();
    let program = format!("{} --config {file}", env!("CARGO_BIN_EXE_shinken-gatherer"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/generator");
    let script = fs::read_to_string(script)
        .unwrap()
        .replace("/etc/shinken-gatherer/gatherer.toml", &file)
        .replace("/usr/sbin/shinken-gatherer", &program);
    let mut command = Command::new("sh");
    command.args(["-c", &script, "generator"]);
    command.args(["out", "early", "late"].map(|folder| dir.path(folder)));
    command.output().unwrap()
}
