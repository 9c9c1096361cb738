//! The feed to carbon.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use crate::support::{Daemon, PATIENCE, TestDir, skip, wait_for};

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
