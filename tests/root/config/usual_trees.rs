//! The whisper directories that are tried if none is configured.

use std::fs;
use std::process::Command;

use crate::support::{Daemon, TestDir, document, root_or_skip, wait_for};

#[test]
fn usual_tree_that_appears_is_counted_if_it_is_the_first() {
    if !root_or_skip() {
        return;
    }
    let dir = TestDir::in_memory();
    let root = dir.path("").display().to_string();
    let config = format!(
        "log_file = '{root}gatherer.log'\nstate_dir = '{root}state'\ndisks.enabled = false\nvmware.enabled = false\n\
         graphite.interval = '20ms'\nhost.run = '{root}run'\n"
    );
    fs::write(dir.path("gatherer.toml"), config).unwrap();
    // The parents of the usual trees are empty for this daemon alone.
    let mut command = Command::new("unshare");
    let mounts = "mount -t tmpfs none /opt && mount -t tmpfs none /var/lib && exec \"$@\"";
    command.args(["--mount", "sh", "-c", mounts, "sh"]);
    command
        .arg(dir.command().get_program())
        .args(dir.command().get_args())
        .arg("run");
    let daemon = Daemon::spawn(&mut command, None);
    dir.wait_for_log("started");
    let inside = |path: &str| format!("/proc/{}/root{path}", daemon.child.id());
    for (hosts, tree) in [
        (1, "/var/lib/carbon/whisper"),
        (2, "/var/lib/graphite/whisper"),
        (3, "/opt/graphite/storage/whisper"),
    ] {
        for host in 0..hosts {
            fs::create_dir_all(inside(&format!("{tree}/host-{host}"))).unwrap();
        }
        let output = inside(&format!("{tree}.nb_metrics"));
        wait_for(tree, || {
            document(output.as_ref()).filter(|count| count["hosts"] == hosts)
        });
    }
    daemon.stop();
}
