//! The daemon: the one loop that waits, collects, publishes, logs and tells systemd.

mod collectors;
mod count;
mod disks;
mod feed;
mod outlet;
mod vmware;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use log::LevelFilter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::config::Config;
use crate::logging::Log;
use crate::notify::Notifier;
use crate::output;
use crate::publish;
use crate::signals::Signals;
use collectors::Collectors;
use feed::FeedTask;

/// Set to 1, it forces the log to DEBUG whatever the configuration says.
const DEBUG_VARIABLE: &str = "GATHERER_DEBUG";

/// Runs until SIGTERM or SIGINT. Fails if the daemon cannot be set up at all, and after a stop by another signal.
pub fn run(config_path: Option<&Path>, config: Config) -> Result<()> {
    let signals = Signals::catch()?;
    let mut log = Log::open(log_level(&config), config.log_file.as_deref());
    let version = env!("CARGO_PKG_VERSION");
    log.info(
        "daemon",
        format_args!("started, version {version}"),
        &[("version", &version)],
    );
    remove_on_panic(&config);
    let now = Instant::now();
    let collectors = Collectors::new(&config, now, &mut log)?;
    let feed = FeedTask::new(&config.carbon, now);
    let notifier = Notifier::new(now);
    let config_path = config_path.map(Path::to_path_buf);
    let mut daemon = Daemon {
        config_path,
        config,
        signals,
        log,
        notifier,
        collectors,
        feed,
    };
    daemon.run()
}

struct Daemon {
    config_path: Option<PathBuf>,
    config: Config,
    signals: Signals,
    log: Log,
    notifier: Notifier,
    collectors: Collectors,
    feed: Option<FeedTask>,
}

impl Daemon {
    fn run(&mut self) -> Result<()> {
        self.notifier.ready();
        while !self.signals.stop() {
            let now = Instant::now();
            let next = self.collectors.turn(now, SystemTime::now(), &mut self.log);
            let measured = self.collectors.take_measured();
            if let Some(feed) = &mut self.feed {
                feed.turn(measured, now, &mut self.log);
            }
            self.notifier.turn(now, self.collectors.status());
            self.wait(next)?;
            self.signals.receive();
            if self.signals.take_child_ended() {
                self.collectors
                    .children_ended(Instant::now(), SystemTime::now(), &mut self.log);
            }
            if self.signals.take_reload() {
                self.reload();
            }
            if self.signals.take_reopen() {
                self.log
                    .reopen(log_level(&self.config), self.config.log_file.as_deref());
            }
        }
        match self.signals.unusual_stop() {
            None => Ok(()),
            // An error, so that systemd starts it again.
            Some(signal) => Err(anyhow!("stopped by signal {signal}")),
        }
    }

    /// Sleeps until a signal, the next deadline of the collectors or the feed, the next heartbeat, or until the
    /// helper of VMware's samples wrote something or carbon is ready for more.
    fn wait(&mut self, next: Option<Instant>) -> Result<()> {
        let feed_due = self.feed.as_ref().and_then(FeedTask::due);
        let deadline = next
            .into_iter()
            .chain(feed_due)
            .chain(self.notifier.heartbeat_due())
            .min();
        let timeout = deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        let mut waiting = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let pipe = self.collectors.pipe();
        waiting.extend(pipe.map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        if let Some((socket, flags)) = self.feed.as_ref().and_then(FeedTask::waits_for) {
            waiting.push(PollFd::from_borrowed_fd(socket, flags));
        }
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno).context("waiting for a deadline or a signal"),
        }
    }

    fn reload(&mut self) {
        self.notifier.reloading();
        match Config::load(self.config_path.as_deref()) {
            Ok(config) => {
                self.log.reopen(log_level(&config), config.log_file.as_deref());
                self.log.info("daemon", "reloaded", &[]);
                let reloaded = self
                    .collectors
                    .reload(&self.config, &config, Instant::now(), &mut self.log);
                if let Err(error) = reloaded {
                    self.log.error(
                        "daemon",
                        format_args!("reloading: {error:#}"),
                        &[("error", &error)],
                    );
                }
                remove_on_panic(&config);
                if config.carbon != self.config.carbon {
                    self.feed = FeedTask::new(&config.carbon, Instant::now());
                }
                self.config = config;
            }
            Err(error) => {
                self.log
                    .reopen(log_level(&self.config), self.config.log_file.as_deref());
                let message = format!("not reloaded, the running configuration stays: {error}");
                self.log.error("daemon", message, &[("error", &error)]);
            }
        }
        self.notifier.ready();
    }
}

/// However the loop ends, the disks' values do not outlive it.
impl Drop for Daemon {
    fn drop(&mut self) {
        self.notifier.stopping();
        self.collectors.end(&mut self.log);
        self.log.info("daemon", "stopped", &[]);
    }
}

/// A panic aborts at once, but not without taking the disks' values away.
fn remove_on_panic(config: &Config) {
    let disks = config.disks.enabled.then(|| config.disks.output.clone());
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(path) = &disks {
            // What is wrong with the file matters less than the panic itself.
            let _ = publish::remove(path);
        }
        output::complain(panic);
    }));
}

fn log_level(config: &Config) -> LevelFilter {
    match std::env::var_os(DEBUG_VARIABLE) {
        Some(value) if value == "1" => LevelFilter::Debug,
        _ => config.log_level,
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().cast_signed(),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
