//! Throw-away: the count as a function, around today's `Graphite`.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::walk::Totals as WalkTotals;
use super::{Graphite, Progress};
use crate::config::GraphiteConfig;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CountSettings {
    pub whisper_dir: PathBuf,
    pub host_depth: u32,
    pub exclude: Vec<String>,
    pub max_busy_percent: u32,
    pub full_scan_interval: Duration,
    pub settling_time: Duration,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Totals {
    pub hosts: u64,
    pub metrics: u64,
    pub unreadable: u64,
    pub directories: u64,
    pub directories_read: u64,
    pub differences: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Count {
    pub totals: Totals,
    pub duration: Duration,
    pub busy: Duration,
    pub full_scan: bool,
    pub messages: Vec<String>,
}

fn of(totals: &WalkTotals) -> Totals {
    Totals {
        hosts: totals.hosts,
        metrics: totals.metrics,
        unreadable: totals.unreadable,
        directories: totals.directories,
        directories_read: totals.directories_read,
        differences: totals.differences,
    }
}

pub fn count(
    settings: &CountSettings,
    _snapshot: Option<&Path>,
    _use_old: bool,
    progress: &mut dyn FnMut(&Totals),
) -> Result<Count> {
    let mut graphite = Graphite::new(&GraphiteConfig {
        whisper_dir: Some(settings.whisper_dir.clone()),
        host_depth: settings.host_depth,
        exclude: settings.exclude.clone(),
        ..GraphiteConfig::default()
    })?;
    let slice = Duration::from_millis(15);
    loop {
        match graphite.work(Instant::now(), SystemTime::now(), slice)? {
            Progress::Done(count) => {
                return Ok(Count {
                    totals: of(&count.totals),
                    duration: count.duration,
                    busy: count.busy,
                    full_scan: count.everything,
                    messages: count
                        .reported
                        .iter()
                        .map(|(path, errno)| {
                            let reason = std::io::Error::from(*errno);
                            format!(
                                "{} can't be read and is not counted: {reason}",
                                crate::plain::path(path)
                            )
                        })
                        .collect(),
                });
            }
            Progress::Running => {
                if let Some(totals) = graphite.so_far() {
                    progress(&of(&totals));
                }
                std::thread::sleep(slice * (100 - settings.max_busy_percent) / settings.max_busy_percent);
            }
        }
    }
}
