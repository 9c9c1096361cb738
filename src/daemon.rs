//! The daemon: the only loop, which waits, collects, publishes, logs and notifies systemd.

mod collectors;
mod exports;
mod feed;
mod publisher;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use log::LevelFilter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::collector::Event;
use crate::config::Config;
use crate::lock::Lock;
use crate::logging::Log;
use crate::moment::Moment;
use crate::notify::Notifier;
use crate::output;
use crate::privileges;
use crate::publish;
use crate::signals::Signals;
use crate::version::VERSION;
use collectors::Collectors;
use exports::Exports;
use feed::FeedTask;

/// The value 1 sets the log level to DEBUG, whatever is configured.
const DEBUG_VARIABLE: &str = "GATHERER_DEBUG";

/// Runs until SIGTERM or SIGINT. Fails if the daemon cannot be set up, after a stop by another signal, and with
/// `AlreadyRunning` if another daemon runs, whose files and log are then not touched.
pub fn run(config_path: Option<&Path>) -> Result<()> {
    // Before the lock: a process that finds the lock held may signal its holder. First of all, because it takes and frees
    // some tens of KB: the heap is smaller if they are used again.
    let mut signals = Signals::catch()?;
    let config = Config::load(config_path)?;
    let is_stopping = || {
        signals.receive();
        signals.stop()
    };
    let Some(lock) = Lock::exclusive(&config, is_stopping)? else {
        return Ok(());
    };
    let mut log = Log::new(log_level(&config), config.log_file.as_deref());
    log.info(
        "daemon",
        format_args!("started, version {VERSION}"),
        &[("version", &VERSION)],
    );
    drop_privileges(&mut log);
    warn_if_failed(lock.remove_recorded(), &mut log);
    warn_if_failed(lock.record(config.short_lived()), &mut log);
    remove_on_panic(&config);
    let now = Moment::now();
    let collectors = Collectors::new(&config, now, &mut log);
    let exports = Exports::start(&config, now.monotonic, &mut log);
    let feed = FeedTask::new(&config, now.monotonic, &mut log);
    let notifier = Notifier::new(now.monotonic);
    let config_path = config_path.map(Path::to_path_buf);
    let mut daemon = Daemon {
        config_path,
        config,
        signals,
        log,
        notifier,
        collectors,
        exports,
        feed,
        lock,
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
    exports: Exports,
    feed: Option<FeedTask>,
    /// Held until everything above has ended.
    lock: Lock,
}

impl Daemon {
    fn run(&mut self) -> Result<()> {
        self.notifier.ready();
        while !self.signals.stop() {
            let now = Moment::now();
            let mut documents = self.collectors.handle(&Event::Wakeup, now, &mut self.log);
            if self.signals.take_child_ended() {
                documents.extend(self.collectors.reap_children(now, &mut self.log));
            }
            self.exports.turn(&documents, now.monotonic, &mut self.log);
            if let Some(feed) = &mut self.feed {
                feed.turn(&documents, now.monotonic, &mut self.log);
            }
            self.notifier.turn(now.monotonic, &self.collectors.status());
            self.wait()?;
            self.signals.receive();
            if self.signals.take_reload() {
                self.reload();
            }
            if self.signals.take_reopen() {
                // Each line opens the file. This one creates it after a rotation.
                self.log.info("daemon", "log file reopened", &[]);
            }
        }
        match self.signals.unusual_stop() {
            None => Ok(()),
            // An error, so that systemd starts it again.
            Some(signal) => Err(anyhow!("stopped by signal {signal}")),
        }
    }

    /// Sleeps until a signal, the next deadline of the collectors or the feed, the next heartbeat, or until a child
    /// process wrote something or carbon accepts more.
    fn wait(&mut self) -> Result<()> {
        let feed_due = self.feed.as_ref().and_then(FeedTask::due);
        let deadline = self
            .collectors
            .due()
            .into_iter()
            .chain(feed_due)
            .chain(self.notifier.heartbeat_due())
            .min();
        let timeout = deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        let mut waiting = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let pipes = self.collectors.pipes();
        waiting.extend(pipes.map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        if let Some((socket, flags)) = self.feed.as_ref().and_then(FeedTask::poll_fd) {
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
                self.log.configure(log_level(&config), config.log_file.as_deref());
                // Until the reload is complete, either file may exist.
                let files = [&self.config, &config].into_iter().flat_map(Config::short_lived);
                warn_if_failed(self.lock.record(files), &mut self.log);
                self.collectors
                    .reload(&self.config, &config, Moment::now(), &mut self.log);
                self.exports
                    .reload(&self.config, &config, Instant::now(), &mut self.log);
                warn_if_failed(self.lock.record(config.short_lived()), &mut self.log);
                remove_on_panic(&config);
                if config.carbon != self.config.carbon || config.host != self.config.host {
                    self.feed = FeedTask::new(&config, Instant::now(), &mut self.log);
                }
                self.config = config;
                self.log.info("daemon", "configuration reloaded", &[]);
            }
            Err(error) => {
                let message = format!("reload failed, keeping the current configuration: {error}");
                self.log.error("daemon", message, &[("error", &error)]);
            }
        }
        self.notifier.ready();
    }
}

/// Removes the files that must not outlive the daemon, however the loop ends.
impl Drop for Daemon {
    fn drop(&mut self) {
        self.notifier.stopping();
        self.exports.end(&mut self.log);
        self.collectors.end(&self.config, Moment::now(), &mut self.log);
        self.log.info("daemon", "stopped", &[]);
    }
}

/// Removes the files that must not outlive the daemon before a panic aborts it.
fn remove_on_panic(config: &Config) {
    let files: Vec<_> = config.short_lived().collect();
    std::panic::set_hook(Box::new(move |panic| {
        for path in &files {
            // An error must not hide the panic.
            let _ = publish::remove(path);
        }
        output::print_error(panic);
    }));
}

/// Logs a failure as a warning: what the sandbox forbids remains forbidden.
fn drop_privileges(log: &mut Log) {
    match privileges::keep(privileges::DAEMON) {
        Ok(held) => {
            let held: Vec<_> = held.iter_names().map(|(name, _)| name).collect();
            let message = format!("no_new_privs is set, capabilities: {}", held.join(" "));
            log.debug("daemon", message, &[]);
        }
        Err(error) => log.warn("daemon", format_args!("{error:#}"), &[("error", &error)]),
    }
}

/// Logs an error of the lock file. The daemon runs without its content.
fn warn_if_failed(result: Result<()>, log: &mut Log) {
    if let Err(error) = result {
        log.warn("daemon", format_args!("{error:#}"), &[("error", &error)]);
    }
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
