//! What the tests of the built binary share: a directory with a configuration, the daemon, and waiting.

pub mod attacker;
pub mod check_fixture;
pub mod clocks;
pub mod daemon;
pub mod documents;
pub mod fixture;
pub mod library;
pub mod outputs;
pub mod program;
pub mod snapshot;
pub mod storage;
pub mod test_dir;
pub mod tree;
pub mod watch;

use std::io::Write;
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use shinken_gatherer::config::Config;

pub use attacker::*;
pub use check_fixture::*;
pub use clocks::*;
pub use daemon::*;
pub use documents::*;
pub use fixture::*;
pub use library::*;
pub use outputs::*;
pub use program::*;
pub use snapshot::*;
pub use storage::*;
pub use test_dir::*;
pub use tree::*;
pub use watch::*;

/// Longest wait for something that normally takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Keys of a collector that samples often. The first value comes after one interval.
pub const FAST: &str = "interval = \"20ms\"\nwindow = \"1s\"";

/// Returns the names of the collectors, in the order of the list.
pub fn collectors() -> impl Iterator<Item = &'static str> {
    let settings = Config::default().collectors().into_iter();
    settings.map(|settings| settings.name)
}

/// Waits until `condition` returns a value.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until `condition` is true.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Fails unless `text` contains `part`.
#[track_caller]
pub fn assert_contains(text: &str, part: impl AsRef<str>) {
    let part = part.as_ref();
    assert!(text.contains(part), "{part:?} is not in {text}");
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn stderr_of(output: &Output) -> String {
    text(&output.stderr)
}

/// Reports that the test of this thread cannot run here; tests/run counts it as skipped.
/// Writes past the capture of the test harness, so that tests/run has the line before the result.
pub fn skip(reason: &str) {
    let line = format!("SKIPPED {}: {reason}\n", std::thread::current().name().unwrap());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Returns whether root runs this test. If not, reports the test as skipped.
pub fn root_or_skip() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        skip("needs root");
    }
    is_root
}
