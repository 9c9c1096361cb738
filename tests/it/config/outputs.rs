//! The configurations of the tests themselves.

use std::fs;
use std::path::Path;

use shinken_gatherer::config::Config;

use crate::support::TestDir;
use crate::support::outputs::publish_in;

fn assert_all_in(dir: &Path, text: &str) {
    let config =
        Config::parse(&dir.join("gatherer.toml"), text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    for collector in config.collectors() {
        let is_in = |output: &std::path::PathBuf| output.starts_with(dir);
        assert!(collector.outputs.iter().all(is_in), "{collector:?}");
    }
}

#[test]
fn collectors_that_a_test_omits_publish_in_its_directory() {
    let dir = Path::new("/nonexistent/test");
    for text in [
        "",
        "[disks]\ninterval = \"1s\"\n",
        "host.run = \"/x\"\n[vmware]\nenabled = false",
    ] {
        assert_all_in(dir, &publish_in(dir, text));
    }
    let place = TestDir::new();
    let text = fs::read_to_string(place.path("gatherer.toml")).unwrap();
    assert_all_in(&place.path(""), &text);
}
