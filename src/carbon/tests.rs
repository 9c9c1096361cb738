//! A feed to listeners on the loopback, with time passed in.

use std::io::Read;
use std::net::TcpListener;

use rustix::event::{PollFd, Timespec, poll};

use super::*;

/// Runs turns until the queue was sent.
fn turn_until_sent(feed: &mut Feed, now: Instant) {
    for _ in 0..1000 {
        if feed.turn(now).unwrap() == Turn::Sent {
            return;
        }
        std::thread::yield_now();
    }
    panic!("nothing was sent");
}

#[test]
fn refused_connection_is_retried_with_growing_pauses() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut now = Instant::now();
    let mut feed = Feed::new(address, now);
    assert_eq!((feed.turn(now).unwrap(), feed.due()), (Turn::Nothing, None));
    feed.push("a 1 1\n".into());
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        assert!(
            feed.turn(now)
                .unwrap_err()
                .to_string()
                .starts_with("connecting to carbon")
        );
        assert_eq!(feed.due(), Some(now + Duration::from_secs(seconds)));
        assert_eq!(feed.turn(now).unwrap(), Turn::Nothing, "not before it is due");
        now += Duration::from_secs(seconds);
    }
    let listener = TcpListener::bind(address).unwrap();
    turn_until_sent(&mut feed, now);
    let mut received = [0; 6];
    listener.accept().unwrap().0.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"a 1 1\n");
    assert_eq!(feed.due(), None);
    // Something was sent, so the pause is the first one again.
    drop(listener);
    feed.push("b 2 2\n".into());
    while feed.turn(now).is_ok() && feed.waits_for().is_some() {
        feed.push("c 3 3\n".into());
    }
    assert_eq!(feed.due(), Some(now + FIRST_PAUSE));
}

#[test]
fn stalled_carbon_loses_the_oldest_batches() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let now = Instant::now();
    let mut feed = Feed::new(listener.local_addr().unwrap(), now);
    let lines = |n: u32| format!("a.{n:05} 1 1\n").repeat(1000);
    let mut pushed = 0;
    while feed.take_dropped() == 0 {
        feed.push(lines(pushed));
        feed.turn(now).unwrap();
        pushed += 1;
        assert!(pushed < 10_000, "the socket buffers never fill");
    }
    let (mut carbon, _) = listener.accept().unwrap();
    carbon.set_nonblocking(true).unwrap();
    let mut received = Vec::new();
    loop {
        let _ = carbon.read_to_end(&mut received);
        if feed.turn(now).unwrap() == Turn::Sent {
            break;
        }
    }
    drop(feed);
    carbon.set_nonblocking(false).unwrap();
    carbon.read_to_end(&mut received).unwrap();
    let received = String::from_utf8(received).unwrap();
    assert!(received.lines().all(|line| line.len() == 11), "no partial line");
    assert!(received.ends_with(&lines(pushed - 1)), "the newest arrive");
    assert!(
        received.starts_with(&lines(0)),
        "the partly sent batch is completed"
    );
}

#[test]
fn data_from_carbon_causes_no_wakeup_and_hides_no_close() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut now = Instant::now();
    let mut feed = Feed::new(listener.local_addr().unwrap(), now);
    feed.push("a 1 1\n".into());
    turn_until_sent(&mut feed, now);
    let (mut carbon, _) = listener.accept().unwrap();
    carbon.set_nonblocking(true).unwrap();
    while carbon.write(&[b'x'; 4096]).is_ok() {}
    let is_awake = |feed: &Feed| {
        let (socket, flags) = feed.waits_for().unwrap();
        let mut asked = [PollFd::from_borrowed_fd(socket, flags)];
        poll(&mut asked, Some(&Timespec::default())).unwrap() > 0
    };
    assert!(!is_awake(&feed));
    feed.push("b 2 2\n".into());
    turn_until_sent(&mut feed, now);
    let mut received = [0; 12];
    carbon.set_nonblocking(false).unwrap();
    carbon.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"a 1 1\nb 2 2\n");
    drop(carbon);
    // The kernel of the peer still has bytes to send. It answers the next line with a reset.
    feed.push("c 3 3\n".into());
    while feed.waits_for().is_some() {
        let _ = feed.turn(now);
        feed.push("d 4 4\n".into());
    }
    now += FIRST_PAUSE;
    turn_until_sent(&mut feed, now);
    let (mut carbon, _) = listener.accept().unwrap();
    carbon.read_exact(&mut received[..6]).unwrap();
}

#[test]
fn closed_connection_is_replaced_when_needed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut now = Instant::now();
    let mut feed = Feed::new(listener.local_addr().unwrap(), now);
    feed.push("a 1 1\n".into());
    turn_until_sent(&mut feed, now);
    let mut received = [0; 6];
    listener.accept().unwrap().0.read_exact(&mut received).unwrap();
    while feed.waits_for().is_some() {
        assert_eq!(feed.turn(now).unwrap(), Turn::Nothing);
    }
    assert_eq!(feed.due(), None, "nothing to send, nothing to do");
    feed.push("b 2 2\n".into());
    now += FIRST_PAUSE;
    turn_until_sent(&mut feed, now);
    listener.accept().unwrap().0.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"b 2 2\n");
}
