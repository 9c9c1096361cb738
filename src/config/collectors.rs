//! The settings that every collector has, in one list.

use std::path::PathBuf;
use std::time::Duration;

use super::schema::{Config, ExportConfig};

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
    /// Whether it needs the whisper tree, or the disks under it.
    pub uses_tree: bool,
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
                uses_tree: true,
            },
            CollectorSettings {
                name: "disks",
                enabled: disks.enabled,
                outputs: vec![disks.output.clone()],
                interval: disks.interval,
                window: Some(disks.window),
                outlives_daemon: false,
                uses_tree: true,
            },
            CollectorSettings {
                name: "vmware",
                enabled: vmware.enabled,
                outputs: vec![vmware.output.clone()],
                interval: vmware.interval,
                window: Some(vmware.window),
                outlives_daemon: true,
                uses_tree: false,
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
        let exports = self.export.iter().filter(|export| self.is_short_lived(export));
        let exports: Vec<_> = exports.map(|export| export.path.clone()).collect();
        collectors.flat_map(|settings| settings.outputs).chain(exports)
    }

    /// Returns whether an export must not outlive the daemon: it is made from a document that does not.
    pub fn is_short_lived(&self, export: &ExportConfig) -> bool {
        let collectors = self.collectors().into_iter();
        let mut short_lived = collectors.filter(|settings| !settings.outlives_daemon);
        short_lived.any(|settings| export.from.iter().any(|name| name == settings.name))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::Config;

    /// Returns a file of the source tree.
    fn source(path: &str) -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    }

    /// Fails if no line of `file` starts with `start` and has the word `path`.
    fn assert_named(file: &str, start: &str, path: &Path) {
        let path = path.to_str().unwrap();
        let text = source(file);
        let mut lines = text.lines().filter(|line| line.trim_start().starts_with(start));
        let is_named = lines.any(|line| {
            line.split([' ', '=', ';'])
                .any(|word| word.trim_start_matches('-') == path)
        });
        assert!(is_named, "{file}: no line {start}… with {path}");
    }

    #[test]
    fn documents_name_each_collector_and_its_output() {
        let names = Config::default().collectors().map(|settings| settings.name);
        let usage = format!(" check {} ", names.join("|"));
        assert!(
            source("README.md").contains(&usage),
            "README.md does not contain {usage:?}"
        );
        for settings in Config::default().collectors() {
            let (name, output) = (settings.name, settings.outputs[0].to_str().unwrap());
            let file_name = settings.outputs[0].file_name().unwrap().to_str().unwrap();
            let header = format!("[{name}]\n");
            let command = format!("/usr/sbin/shinken-gatherer check {name} ");
            let module = format!("{name}::report ");
            for (file, part) in [
                ("README.md", &*format!("\n{name:<10}")),
                ("README.md", &format!("\"{name}\":")),
                ("README.md", &format!("\n| `{file_name}`")),
                ("docs/service.md", file_name),
                ("docs/graphs.md", &format!("| `{name}.")),
                ("docs/architecture.md", &format!("| `{name}`")),
                ("docs/architecture.md", &module),
                ("src/lib.rs", &module),
                ("docs/examples/nagios/shinken-gatherer.cfg", &command),
                ("docs/examples/shinken/gatherer.cfg", &command),
                ("docs/examples/shinken/ssh.cfg", &command),
                (
                    "docs/examples/icinga2/shinken-gatherer.conf",
                    &format!("gatherer_subject = \"{name}\""),
                ),
                ("README.md", output),
                ("docs/configuration.md", &header),
                ("etc/shinken-gatherer/gatherer.toml", &header),
                ("docs/answers.md", &format!("{} UNKNOWN", name.to_uppercase())),
            ] {
                assert!(source(file).contains(part), "{file} does not contain {part:?}");
            }
        }
    }

    #[test]
    fn each_example_command_has_a_service() {
        for file in [
            "nagios/shinken-gatherer.cfg",
            "shinken/gatherer.cfg",
            "shinken/ssh.cfg",
        ] {
            let text = source(&format!("docs/examples/{file}"));
            let values = |key: &str| -> BTreeSet<String> {
                let lines = text.lines().filter_map(|line| line.trim().strip_prefix(key));
                let words = lines.filter_map(|value| value.trim().split('!').next());
                words.map(String::from).collect()
            };
            assert_eq!(values("command_name"), values("check_command"), "{file}");
        }
    }

    #[test]
    fn packaging_and_manual_name_each_output() {
        for settings in Config::default().collectors() {
            for output in &settings.outputs {
                let name = output.file_name().unwrap().to_str().unwrap();
                let temporary = output.with_file_name(format!(".{name}.tmp"));
                for removed in [output, &temporary] {
                    assert_named("debian/shinken-gatherer.postrm", "", removed);
                }
                let unit = "systemd/shinken-gatherer.service";
                assert_named(unit, "ReadWritePaths=", output.parent().unwrap());
                if settings.outlives_daemon {
                    continue;
                }
                assert_named(unit, "ExecStopPost=-+", output);
                if output.starts_with("/tmp") {
                    for removed in [output, &temporary] {
                        assert_named("systemd/tmpfiles.conf", "r! ", removed);
                    }
                    let pattern = format!("{}[{}]", &name[..name.len() - 1], &name[name.len() - 1..]);
                    assert_named("systemd/tmpfiles.conf", "x ", &output.with_file_name(pattern));
                }
            }
            assert_named("src/generate/epilogue.man", ".I ", &settings.outputs[0]);
        }
    }
}
