//! The settings that every collector has, in one list.

use std::path::PathBuf;
use std::time::Duration;

use super::schema::Config;

/// Settings that every collector has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorSettings {
    /// The name of the collector and of its table.
    pub name: &'static str,
    /// Whether it is enabled.
    pub enabled: bool,
    /// The published file: one path, or several of which one is chosen later. Never empty.
    pub outputs: Vec<PathBuf>,
    /// From one document to the next.
    pub interval: Duration,
    /// Time that the values cover, if it is configured.
    pub window: Option<Duration>,
    /// Whether the file stays when the daemon ends.
    pub outlives_daemon: bool,
}

impl Config {
    /// Returns the settings of every collector, in the order of the tables.
    pub fn collectors(&self) -> [CollectorSettings; 3] {
        let (graphite, disks, vmware) = (&self.graphite, &self.disks, &self.vmware);
        let trees = graphite.whisper_dirs();
        let mut counts: Vec<_> = trees.iter().map(|tree| graphite.output_of(tree)).collect();
        counts.dedup();
        [
            CollectorSettings {
                name: "graphite",
                enabled: graphite.enabled,
                outputs: counts,
                interval: graphite.interval,
                window: None,
                outlives_daemon: true,
            },
            CollectorSettings {
                name: "disks",
                enabled: disks.enabled,
                outputs: vec![disks.output.clone()],
                interval: disks.interval,
                window: Some(disks.window),
                outlives_daemon: false,
            },
            CollectorSettings {
                name: "vmware",
                enabled: vmware.enabled,
                outputs: vec![vmware.output.clone()],
                interval: vmware.interval,
                window: Some(vmware.window),
                outlives_daemon: true,
            },
        ]
    }

    /// Returns the settings of the collector `name`, which must exist.
    pub fn collector(&self, name: &str) -> CollectorSettings {
        let mut collectors = self.collectors().into_iter();
        collectors
            .find(|settings| settings.name == name)
            .expect("each collector is in the list")
    }

    /// Returns the published files that must not outlive the daemon.
    pub fn short_lived(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let short_lived = |settings: &CollectorSettings| settings.enabled && !settings.outlives_daemon;
        let collectors = self.collectors().into_iter().filter(short_lived);
        collectors.flat_map(|settings| settings.outputs)
    }
}
