//! The list of the collectors.

use crate::collector::Collector;
use crate::disks::collector::DisksCollector;
use crate::graphite::collector::GraphiteCollector;
use crate::vmware::collector::VmwareCollector;

/// Every collector, in the order of the tables of the configuration.
pub const ALL: [&dyn Collector; 3] = [&GraphiteCollector, &DisksCollector, &VmwareCollector];

/// Returns the names of all collectors, for a message: `a, b or c`.
pub fn names() -> String {
    let names = ALL.map(|collector| collector.name());
    let (last, others) = names.split_last().expect("there are collectors");
    format!("{} or {last}", others.join(", "))
}

#[cfg(test)]
mod schema_tests;

#[cfg(test)]
mod tests {
    use super::{ALL, names};
    use crate::config::Config;

    #[test]
    fn each_collector_has_its_table_in_the_configuration() {
        let tables = Config::default().collectors().map(|table| table.name);
        assert_eq!(ALL.map(|collector| collector.name()), tables);
        assert_eq!(names(), "graphite, disks or vmware");
    }

    #[test]
    fn reload_without_a_change_restarts_no_collector() {
        let config = Config::default();
        assert!(
            ALL.iter()
                .all(|collector| !collector.is_changed(&config, &config))
        );
    }
}
