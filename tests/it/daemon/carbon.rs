//! The feed to carbon: over IPv6, after a reload, and if carbon is too slow.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;

use rustix::process::Signal;

use crate::support::{Daemon, FAST, PATIENCE, TestDir, Watch, skip, wait_for, wait_until};

#[test]
fn carbon_is_fed_over_ipv6_too() {
    let Ok(carbon) = TcpListener::bind("[::1]:0") else {
        return skip("there is no IPv6 here");
    };
    let dir = TestDir::in_memory();
    dir.metrics(["host/a.wsp"]);
    let address = carbon.local_addr().unwrap();
    let more = format!("[carbon]\nenabled = true\naddress = \"{address}\"\n");
    dir.configure_with("", "interval = \"100ms\"", "", &more);
    let daemon = Daemon::start(&dir);
    carbon.set_nonblocking(true).unwrap();
    let feed = wait_for("the feed to connect", || carbon.accept().ok()).0;
    feed.set_nonblocking(false).unwrap();
    feed.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut lines = BufReader::new(feed).lines();
    assert!(lines.any(|line| line.unwrap().contains(".metrics ")), "no count");
    daemon.stop();
}

#[test]
fn carbon_that_starts_later_is_fed_though_nothing_else_is_due() {
    let dir = TestDir::in_memory();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let more = format!("enabled = false\n[carbon]\nenabled = true\naddress = \"{address}\"\n");
    dir.configure_with("", "interval = \"1h\"", "enabled = false", &more);
    let daemon = Daemon::start(&dir);
    wait_for("the count", || dir.count());
    dir.wait_for_log("WARN carbon: ");
    let _carbon = TcpListener::bind(address).unwrap();
    dir.wait_for_log("INFO carbon: first values sent");
    daemon.stop();
}

#[test]
fn reload_reconnects_to_carbon_only_if_its_settings_changed() {
    let dir = TestDir::in_memory();
    dir.metrics(["host/a.wsp"]);
    let carbon = TcpListener::bind("127.0.0.1:0").unwrap();
    let accept = || {
        carbon.set_nonblocking(true).unwrap();
        let feed = wait_for("the feed to connect", || carbon.accept().ok()).0;
        feed.set_nonblocking(false).unwrap();
        feed.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(feed).lines().map(Result::unwrap)
    };
    let configure = |prefix: &str, window: &str| {
        let address = carbon.local_addr().unwrap();
        let more = format!("[carbon]\nenabled = true\naddress = \"{address}\"\nprefix = \"{prefix}\"\n");
        dir.configure_with(
            "",
            "interval = \"20ms\"",
            &format!("interval = \"1s\"\nwindow = \"{window}\""),
            &more,
        );
    };
    configure("one", "3s");
    let daemon = Daemon::start(&dir);
    let mut feed = accept();
    assert!(feed.next().unwrap().starts_with("one."));
    for (reloads, prefix) in [(1, "one"), (2, "two")] {
        configure(prefix, "4s");
        daemon.signal(Signal::HUP);
        wait_until("the reload", || dir.logged("configuration reloaded") == reloads);
        if prefix == "one" {
            assert_eq!(feed.by_ref().take(20).count(), 20, "the connection was closed");
        }
    }
    assert!(accept().next().unwrap().starts_with("two."));
    // Ends, because the first connection was closed.
    feed.last();
    daemon.stop();
    assert_eq!(dir.logged("dropp"), 0, "{}", dir.log());
}

#[test]
fn values_that_do_not_fit_the_queue_are_dropped_and_counted() {
    let dir = TestDir::in_memory();
    dir.make_disks((0..100).map(|number| format!("sd{number}")));
    let carbon = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = carbon.local_addr().unwrap();
    let more = format!("[carbon]\nenabled = true\naddress = \"{address}\"\n");
    dir.configure_with("", "enabled = false", FAST, &more);
    let replaced = Watch::replaced(&dir.path(""));
    let daemon = Daemon::start(&dir);
    let mut feed = carbon.accept().unwrap().0;
    feed.set_nonblocking(true).unwrap();
    dir.wait_for_log("dropping the oldest values");
    // More are dropped, which is not logged again.
    dir.wait_for_disks(5);
    let counted = "send queue is empty again, ";
    wait_until(counted, || {
        let mut received = vec![0; 1 << 20];
        let _ = feed.read(&mut received);
        dir.log().contains(counted)
    });
    daemon.stop();
    let log = dir.log();
    let (before, after) = log.split_once(counted).unwrap();
    assert_eq!(
        before.matches("dropping the oldest values").count(),
        1,
        "{before}"
    );
    assert_eq!(log.matches("first values sent").count(), 1, "{log}");
    let dropped = after.split_once(" values were dropped").unwrap().0;
    // Each document has eight values of each disk.
    let values = replaced.times("disks.tmp") * 100 * 8;
    assert!(
        (1..values).contains(&dropped.parse().unwrap()),
        "{dropped} of {values}"
    );
}
