use std::process::Command;

use super::*;

fn shell(script: &str, max_line_bytes: usize) -> Child {
    Child::spawn(Command::new("sh").args(["-c", script]), max_line_bytes).unwrap()
}

fn next(child: &mut Child) -> Received {
    loop {
        match child.receive(Instant::now()) {
            Received::Nothing => sleep(STOP_PAUSE),
            received => return received,
        }
    }
}

/// Waits until a process is no more, or a zombie: the process that adopted it may not reap it.
fn wait_for_end(pid: &str) {
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while stat().is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "process {pid} still runs");
        sleep(STOP_PAUSE);
    }
}

#[test]
fn lines_of_one_write_are_received_one_by_one() {
    let mut child = shell("printf 'a\\nb\\nrest'", 100);
    assert_eq!(next(&mut child), Received::Line("a".into()));
    assert_eq!(next(&mut child), Received::Line("b".into()));
    assert_eq!(next(&mut child), Received::End);
    child.stop();
}

#[test]
fn line_without_end_is_too_long() {
    let mut child = shell("head -c 9000 /dev/zero", 4096);
    assert_eq!(next(&mut child), Received::TooLong);
    child.stop();
}

#[test]
fn line_may_be_as_long_as_the_limit() {
    let mut child = shell("printf abcd; read more; printf '\\nabcde'", 4);
    while !child.has_more() {
        assert_eq!(child.receive(Instant::now()), Received::Nothing);
    }
    child.send(b"\n").unwrap();
    assert_eq!(next(&mut child), Received::Line("abcd".into()));
    assert_eq!(next(&mut child), Received::TooLong);
    child.stop();
}

#[test]
fn child_that_hangs_at_its_exit_ends_then_times_out() {
    let mut child = shell("exec >&-; sleep 1000", 100);
    wait_readable(child.output(), None).unwrap();
    let now = Instant::now();
    child.set_deadline(Some(now));
    assert_eq!(child.receive(now), Received::End);
    assert!(child.output().is_none());
    assert_eq!(child.receive(now), Received::Timeout);
    child.set_deadline(None);
    assert_eq!(child.receive(now), Received::End);
    child.stop();
}

#[test]
fn wait_leaves_a_child_that_does_not_exit() {
    let mut child = shell("sleep 1000", 100);
    let pid = child.pid();
    child.wait(Duration::from_millis(5));
    assert!(pid.is_some() && child.pid() == pid && !child.is_killed());
    child.stop();
    assert!(child.pid().is_none() && child.is_killed() && child.output().is_none());
}

#[test]
fn dropped_child_is_killed() {
    let child = shell("sleep 1000", 100);
    let pid = child.pid().unwrap().as_raw_nonzero().to_string();
    drop(child);
    wait_for_end(&pid);
}

#[test]
fn silent_child_times_out_and_is_killed_with_its_group() {
    let mut child = shell("sleep 1000 & echo $!; wait", 100);
    let Received::Line(grandchild) = next(&mut child) else {
        panic!("no line");
    };
    let now = Instant::now();
    child.set_deadline(Some(now + Duration::from_secs(1)));
    assert_eq!(child.receive(now), Received::Nothing);
    assert_eq!(child.receive(now + Duration::from_secs(1)), Received::Timeout);
    child.stop();
    assert_eq!(child.pid(), None);
    // An orphan now.
    wait_for_end(&grandchild);
}

#[test]
fn request_larger_than_a_pipe_is_sent_at_once() {
    let mut child = shell("sleep 0.1; wc -c", 100);
    child.send(&[b'x'; 300_000]).unwrap();
    child.close_input();
    assert_eq!(next(&mut child), Received::Line("300000".into()));
    child.stop();
}
