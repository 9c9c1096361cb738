//! Errors of exports, and where they may be.

use std::fs;
use std::os::unix::fs::symlink;

use crate::daemon::exports::export;
use crate::support::{Daemon, TestDir, assert_contains, refusal_of, stderr_of, text};

#[test]
fn wrong_template_and_same_file_through_links_are_rejected() {
    let dir = TestDir::in_memory();
    fs::create_dir(dir.path("real")).unwrap();
    symlink(dir.path("real"), dir.path("link")).unwrap();
    let original = dir.read("gatherer.toml");
    let template = dir.path("link/template");
    dir.write("real/template", "");
    let (busy, count) = ("from = ['disks']", "from = ['graphite']");
    for (name, keys, from, expected) in [
        (
            "e",
            "template = 'a{% if %}'",
            busy,
            "export.template: line 1, column 8: syntax error",
        ),
        (
            "link/log",
            "template = ''",
            busy,
            "link/log\" and log_file are the same file, through links",
        ),
        (
            "real/template",
            &format!("template_file = {template:?}"),
            busy,
            " and export.template_file are the same",
        ),
        (
            "e",
            "template_file = '/nonexistent'",
            count,
            "/nonexistent: No such file",
        ),
    ] {
        let log = format!("log_file = {:?}", dir.path("real/log"));
        dir.write("gatherer.toml", &original.replacen("log_file", "#", 1));
        dir.write("gatherer.toml", &format!("{log}\n{}", dir.read("gatherer.toml")));
        export(&dir, name, keys, from);
        for words in [&["config", "test"][..], &["run"], &["once"]] {
            let line = refusal_of(dir.command().args(words));
            assert!(line.contains(expected), "{expected}: {line}");
        }
        // The other commands need no template.
        assert!(dir.run(&["generate", "sandbox"]).status.success());
    }
    dir.write("gatherer.toml", &original);
    export(&dir, "/srv/exports/e", "template = ''", busy);
    let sandbox = text(&dir.run(&["generate", "sandbox"]).stdout);
    assert_contains(&sandbox, "\nReadWritePaths=\"-/srv/exports\"\nNoExecPaths=");
    // The count worker finds it, because the storage may hang.
    dir.write("gatherer.toml", &original);
    dir.reconfigure(
        "[disks]\n",
        &format!("[disks]\noutput = {:?}\n#", dir.path("real/disks")),
    );
    export(&dir, "link/disks", "template = 'count'", count);
    let written = dir.run(&["once", "--write", "--window", "10ms"]);
    let reason = "export.path and disks.output are the same file, through links";
    assert_contains(&stderr_of(&written), reason);
    assert!(dir.read("real/disks").starts_with('{'));
    let daemon = Daemon::start(&dir);
    dir.wait_for_log("WARN graphite: export.path and disks.output are the same file, through links");
    daemon.stop();
}
