//! Every key of the configuration with its type and default.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use serde::{Deserialize, Serialize};

use super::{values, written};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a configuration")]
pub struct Config {
    /// Least severe level that is logged.
    #[serde(deserialize_with = "values::log_level", serialize_with = "written::log_level")]
    pub log_level: LevelFilter,
    /// The log file; `None` (written `""`) for none.
    #[serde(
        deserialize_with = "values::optional_file",
        serialize_with = "written::optional_path"
    )]
    pub log_file: Option<PathBuf>,
    /// Folder of the state that outlives a run; `None` (written `""`) for none.
    #[serde(
        deserialize_with = "values::optional_folder",
        serialize_with = "written::optional_path"
    )]
    pub state_dir: Option<PathBuf>,
    /// The count of the whisper tree.
    pub graphite: GraphiteConfig,
    /// The activity of the physical disks.
    pub disks: DisksConfig,
    /// The CPU time that VMware withholds.
    pub vmware: VmwareConfig,
    /// The feed of values to Graphite.
    pub carbon: CarbonConfig,
    /// The paths of procfs, sysfs and run-time files.
    pub host: HostConfig,
    /// The published values in other formats.
    pub export: Vec<ExportConfig>,
    /// The file of a configuration with exports, which no export must replace.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// `[graphite]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct GraphiteConfig {
    /// Whether the tree is counted.
    pub enabled: bool,
    /// The whisper directory; unset: the first usual one that exists.
    #[serde(deserialize_with = "values::some_path")]
    pub whisper_dir: Option<PathBuf>,
    /// The published file; unset: the whisper directory with `.nb_metrics` appended.
    #[serde(deserialize_with = "values::some_file")]
    pub output: Option<PathBuf>,
    /// From the end of a count to the start of the next.
    #[serde(deserialize_with = "values::duration", serialize_with = "written::duration")]
    pub interval: Duration,
    /// Largest CPU share of a running count, from 1 to 100 percent.
    #[serde(deserialize_with = "values::percent")]
    pub max_busy_percent: u32,
    /// Depth under the whisper directory at which directories are hosts, 1 or more.
    #[serde(deserialize_with = "values::depth")]
    pub host_depth: u32,
    /// Every directory is read at least this often.
    #[serde(deserialize_with = "values::duration", serialize_with = "written::duration")]
    pub full_scan_interval: Duration,
    /// Gitignore patterns of entries to skip, relative to the whisper directory.
    pub exclude: Vec<String>,
}

/// `[disks]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct DisksConfig {
    /// Whether the disks are sampled.
    pub enabled: bool,
    /// The published file.
    #[serde(deserialize_with = "values::file")]
    pub output: PathBuf,
    /// Time between two samples.
    #[serde(deserialize_with = "values::duration", serialize_with = "written::duration")]
    pub interval: Duration,
    /// Time that the published values cover.
    #[serde(deserialize_with = "values::duration", serialize_with = "written::duration")]
    pub window: Duration,
}

/// `[vmware]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct VmwareConfig {
    /// Whether %ready is measured on VMware virtual machines.
    pub enabled: bool,
    /// The published file.
    #[serde(deserialize_with = "values::file")]
    pub output: PathBuf,
    /// Time between two samples.
    #[serde(deserialize_with = "values::duration", serialize_with = "written::duration")]
    pub interval: Duration,
    /// Time that the published value covers.
    #[serde(deserialize_with = "values::duration", serialize_with = "written::duration")]
    pub window: Duration,
    /// Names of the guest library, tried in this order.
    #[serde(deserialize_with = "values::libraries")]
    pub libraries: Vec<String>,
}

/// `[carbon]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct CarbonConfig {
    /// Whether the values are sent to carbon.
    pub enabled: bool,
    /// The address of carbon's plaintext protocol.
    #[serde(deserialize_with = "values::address")]
    pub address: SocketAddr,
    /// The first nodes of the metric paths. [`HOSTNAME`](super::HOSTNAME) in it stands for the name of the machine.
    #[serde(deserialize_with = "values::metric_prefix")]
    pub prefix: String,
}

/// `[host]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct HostConfig {
    /// The mount point of procfs.
    #[serde(deserialize_with = "values::path")]
    pub proc: PathBuf,
    /// The mount point of sysfs.
    #[serde(deserialize_with = "values::path")]
    pub sys: PathBuf,
    /// Folder for run-time files, with the folder of the lock.
    #[serde(deserialize_with = "values::path")]
    pub run: PathBuf,
}

/// `[[export]]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct ExportConfig {
    /// The published file.
    #[serde(deserialize_with = "values::file")]
    pub path: PathBuf,
    /// The text of the template, also of one that was read from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The file of the template.
    #[serde(
        default,
        deserialize_with = "values::some_path",
        skip_serializing_if = "Option::is_none"
    )]
    pub template_file: Option<PathBuf>,
    /// The collectors whose documents it uses: it is rendered if one of them is new.
    pub from: Vec<String>,
    /// The mode of the file.
    #[serde(
        default = "values::default_mode",
        deserialize_with = "values::mode",
        serialize_with = "written::mode"
    )]
    pub mode: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_level: LevelFilter::Info,
            log_file: Some("/var/log/shinken/gatherer.log".into()),
            state_dir: Some("/var/lib/shinken-gatherer".into()),
            graphite: GraphiteConfig::default(),
            disks: DisksConfig::default(),
            vmware: VmwareConfig::default(),
            carbon: CarbonConfig::default(),
            host: HostConfig::default(),
            export: Vec::new(),
            file: None,
        }
    }
}

impl Default for GraphiteConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            whisper_dir: None,
            output: None,
            interval: Duration::from_secs(15 * 60),
            max_busy_percent: 50,
            host_depth: 1,
            full_scan_interval: Duration::from_secs(24 * 60 * 60),
            exclude: vec!["/lost+found/".into()],
        }
    }
}

impl Default for DisksConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            output: "/tmp/__check_graphite_iostats.tmp".into(),
            interval: Duration::from_secs(10),
            window: Duration::from_secs(60),
        }
    }
}

impl Default for VmwareConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            output: "/dev/shm/vmware_stats_export.dat".into(),
            interval: Duration::from_secs(10),
            window: Duration::from_secs(60),
            libraries: ["libguestlib.so.0", "libvmGuestLib.so.0", "libvmGuestLib.so"]
                .map(String::from)
                .into(),
        }
    }
}

impl Default for CarbonConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            address: (Ipv4Addr::LOCALHOST, 2003).into(),
            prefix: "shinken.gatherer".into(),
        }
    }
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            sys: "/sys".into(),
            run: "/run".into(),
        }
    }
}
