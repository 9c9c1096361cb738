//! What a reload keeps, and whether a count is due, without a worker.

use super::*;

#[test]
fn reload_keeps_the_last_count_of_the_same_files_only() {
    let now = Moment::now();
    let mut config = Config::default();
    let mut task = CountTask::new(&config, now);
    let mut status_after = |change: fn(&mut Config)| {
        task.last = Some("1 hosts, 2 metrics".into());
        change(&mut config);
        task.reload(&config, now);
        task.status()
    };
    let (kept, first) = ("1 hosts, 2 metrics", "first count in progress");
    let status = status_after(|config| config.graphite.max_busy_percent = 7);
    assert_eq!(status.as_deref(), Some(kept));
    let status = status_after(|config| config.graphite.whisper_dir = Some("/other".into()));
    assert_eq!(status.as_deref(), Some(first));
    let status = status_after(|config| config.graphite.output = Some("/count".into()));
    assert_eq!(status.as_deref(), Some(first));
    assert_eq!(status_after(|config| config.graphite.enabled = false), None);
}

#[test]
fn count_is_due_while_a_collector_uses_the_tree() {
    let now = Moment::now();
    let mut config = Config::default();
    let mut task = CountTask::new(&config, now);
    let due = Some(now.monotonic);
    assert_eq!(task.due(), due);
    for (graphite, disks, expected) in [(false, true, due), (true, false, due), (false, false, None)] {
        (config.graphite.enabled, config.disks.enabled) = (graphite, disks);
        task.reload(&config, now);
        assert_eq!(task.due(), expected, "{graphite} {disks}");
    }
}
