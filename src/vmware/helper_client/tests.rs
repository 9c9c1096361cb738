//! The state machine with shell scripts as helpers, and with time passed in.

use std::os::unix::process::ExitStatusExt;

use rustix::process::{WaitOptions, waitpid};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
/// Answers each question.
const HEALTHY: &str = "while read -r n; do echo \"$n reading 7 1000 $n\"; done";
/// Answers nothing, without a child process of its own.
const SILENT: &str = "while read -r n; do :; done";

fn client_of(script: &str) -> HelperClient {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    HelperClient::with_command(command)
}

/// Waits for an event of the helper as the daemon does, and handles it at `now`.
fn turn(client: &mut HelperClient, now: Instant) -> Option<Outcome> {
    if let Some((pipe, _)) = client.poll_fd() {
        child::wait_readable(Some(pipe), None).unwrap();
        return client.handle(Event::Wakeup, now);
    }
    let pid = client.state.helper().unwrap().pid().unwrap();
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    client.handle(Event::Reaped(pid, ExitStatus::from_raw(status.as_raw())), now)
}

/// Asks and returns the outcome, all of it at `now`.
fn ask(client: &mut HelperClient, now: Instant) -> Outcome {
    let mut outcome = client.handle(Event::Ask, now);
    while outcome.is_none() {
        outcome = turn(client, now);
    }
    outcome.unwrap()
}

fn died(code: i32) -> Outcome {
    Err(Fault::Died(format!("exit status: {code}")))
}

#[test]
fn healthy_helper_answers_every_question() {
    let now = Instant::now();
    let mut client = client_of(HEALTHY);
    for n in 1..=3 {
        let Ok(Answer::Reading(reading)) = ask(&mut client, now) else {
            panic!("no reading");
        };
        assert_eq!(reading.stolen_ms, n);
        assert!(matches!(client.state, State::Ready(_)));
        assert_eq!(client.poll_fd().unwrap().1, None);
    }
}

#[test]
fn silent_helper_is_killed_at_its_deadline() {
    let now = Instant::now();
    let mut client = client_of(SILENT);
    assert_eq!(client.handle(Event::Ask, now), None);
    assert_eq!(client.poll_fd().unwrap().1, Some(now + DEADLINE));
    let before = now + DEADLINE - Duration::from_millis(1);
    assert_eq!(client.handle(Event::Wakeup, before), None);
    assert_eq!(client.handle(Event::Ask, before), None, "one question at a time");
    assert_eq!(
        client.handle(Event::Wakeup, now + DEADLINE),
        Some(Err(Fault::Timeout))
    );
    assert!(client.poll_fd().is_none());
    // No second helper before the first is reaped, however long that takes.
    assert_eq!(
        client.handle(Event::Ask, now + 3600 * SECOND),
        Some(Err(Fault::Timeout))
    );
    assert_eq!(turn(&mut client, now + 3600 * SECOND), None);
    assert!(matches!(client.state, State::Stopped(Some(_))));
    assert_eq!(client.handle(Event::Ask, now + 3600 * SECOND), None);
    assert!(matches!(client.state, State::Asked(_)));
}

#[test]
fn failures_double_the_pause_up_to_eight_seconds() {
    let mut now = Instant::now();
    let mut client = client_of("read -r n; exit 3");
    for pause in [1, 2, 4, 8, 8] {
        assert_eq!(ask(&mut client, now), died(3));
        now += pause * SECOND;
        let before = now - Duration::from_millis(1);
        assert_eq!(client.handle(Event::Ask, before), Some(died(3)));
        assert!(
            matches!(client.state, State::Stopped(_)),
            "started after {pause} s"
        );
    }
    client.command = client_of(HEALTHY).command;
    assert!(ask(&mut client, now).is_ok());
    assert_eq!(client.failures, 0);
}

#[test]
fn missing_program_is_a_fault_with_a_pause() {
    let now = Instant::now();
    let mut client = HelperClient::with_command(Command::new("/nonexistent"));
    let outcome = client.handle(Event::Ask, now);
    assert!(matches!(outcome, Some(Err(Fault::NotStarted(_)))), "{outcome:?}");
    assert_eq!(client.handle(Event::Ask, now), outcome);
    assert!(matches!(client.state, State::Stopped(Some(_))));
}

#[test]
fn invalid_reply_kills_the_helper() {
    let now = Instant::now();
    for reply in [
        "echo nonsense",
        "echo $((n + 1)) missing",
        "echo $n",
        "printf '%s missing\\nextra' $n",
        "head -c 9000 /dev/zero",
    ] {
        let mut client = client_of(&format!("while read -r n; do {reply}; done"));
        assert_eq!(ask(&mut client, now), Err(Fault::InvalidReply), "{reply}");
        assert!(matches!(client.state, State::Killed(_, Some(_))), "{reply}");
    }
    // One that writes without being asked.
    let mut client = client_of("read -r n; echo $n missing; read -r file; echo unasked; read -r n");
    assert_eq!(ask(&mut client, now), Ok(Answer::Missing));
    client.state.helper().unwrap().send(b"go\n").unwrap();
    assert_eq!(turn(&mut client, now), Some(Err(Fault::InvalidReply)));
}

#[test]
fn last_answer_of_an_exited_helper_counts() {
    let now = Instant::now();
    let mut client = client_of("read -r n; echo $n missing");
    assert_eq!(client.handle(Event::Ask, now), None);
    let pid = client.state.helper().unwrap().pid().unwrap();
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    let status = ExitStatus::from_raw(status.as_raw());
    let other = Event::Reaped(Pid::INIT, status);
    assert_eq!(client.handle(other, now), None, "another process");
    assert_eq!(
        client.handle(Event::Reaped(pid, status), now),
        Some(Ok(Answer::Missing))
    );
    assert!(matches!(client.state, State::Stopped(None)));
}

#[test]
fn helper_that_exits_between_questions_is_no_failure() {
    let now = Instant::now();
    let mut client = client_of("read -r n; echo $n refused");
    assert_eq!(ask(&mut client, now), Ok(Answer::Refused));
    while client.state.helper().is_some() {
        assert_eq!(turn(&mut client, now), None);
    }
    assert_eq!(ask(&mut client, now), Ok(Answer::Refused));
}

#[test]
fn unexplained_error_is_answered_and_replaces_the_helper() {
    let now = Instant::now();
    let mut client = client_of("read -r n; echo $n failed 1; read -r n");
    assert_eq!(ask(&mut client, now), Ok(Answer::Failed(1)));
    assert!(matches!(client.state, State::Killed(_, None)));
    assert_eq!(client.handle(Event::Ask, now), None);
    assert_eq!(turn(&mut client, now), None);
    assert_eq!(ask(&mut client, now), Ok(Answer::Failed(1)), "at once");
}

#[test]
fn helper_that_never_exits_is_reported_at_the_deadline() {
    let now = Instant::now();
    let mut client = client_of("read -r n");
    assert_eq!(client.handle(Event::Ask, now), None);
    while client.poll_fd().is_some() {
        assert_eq!(turn(&mut client, now), None);
    }
    assert!(matches!(client.state, State::Exiting(_)));
    assert_eq!(client.handle(Event::Ask, now), None);
    let late = now + DEADLINE;
    assert_eq!(client.handle(Event::Ask, late), Some(Err(Fault::Timeout)));
    assert_eq!(client.handle(Event::Ask, late), Some(Err(Fault::Timeout)));
    assert_eq!(turn(&mut client, late), None);
}
