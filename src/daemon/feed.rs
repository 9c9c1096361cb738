//! The carbon feed in the daemon.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::PollFlags;

use super::collectors::Document;
use crate::carbon::lines::{expand_hostname, lines};
use crate::carbon::{Feed, Turn};
use crate::config::Config;
use crate::logging::Log;
use crate::recurring::Condition;

const COLLECTOR: &str = "carbon";

/// The feed and the state of sending.
#[derive(Debug)]
pub struct FeedTask {
    prefix: String,
    feed: Feed,
    sending: Condition,
    /// Values that were dropped since the queue was last empty.
    dropped: u64,
    sent: bool,
}

impl FeedTask {
    /// Returns a feed that is not connected yet; `None` if it is disabled, or if the prefix needs the name of the machine
    /// and that cannot be read.
    pub fn new(config: &Config, now: Instant, log: &mut Log) -> Option<Self> {
        if !config.carbon.enabled {
            return None;
        }
        let prefix = match expand_hostname(&config.carbon.prefix, &config.host.proc) {
            Ok(prefix) => prefix,
            Err(error) => {
                let message = format_args!("{error:#}, so carbon.prefix is unknown and no values are sent");
                log.error(COLLECTOR, message, &[("error", &error)]);
                return None;
            }
        };
        Some(Self {
            prefix,
            feed: Feed::new(config.carbon.address, now),
            sending: Condition::new(COLLECTOR),
            dropped: 0,
            sent: false,
        })
    }

    /// Returns the socket to poll and the events to wait for.
    pub fn poll_fd(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.feed.waits_for()
    }

    /// Returns when [`FeedTask::turn`] is due without an event.
    pub fn due(&self) -> Option<Instant> {
        self.feed.due()
    }

    /// Queues the values of the new documents, and sends as much as carbon accepts now.
    pub fn turn(&mut self, documents: &[Document], now: Instant, log: &mut Log) {
        for document in documents {
            if let Some(report) = &document.report {
                self.feed.push(lines(&self.prefix, document.collector, &**report));
            }
        }
        let turned = self.feed.turn(now);
        let dropped = self.feed.take_dropped();
        if dropped > 0 && self.dropped == 0 {
            log.warn(
                COLLECTOR,
                "carbon does not accept data fast enough, dropping the oldest values",
                &[],
            );
        }
        self.dropped += dropped;
        match turned {
            Ok(Turn::Sent) => {
                self.sending.ok("sending", now, log);
                if !std::mem::replace(&mut self.sent, true) {
                    log.info(COLLECTOR, "first values sent", &[]);
                }
                if self.dropped > 0 {
                    let dropped = std::mem::take(&mut self.dropped);
                    let message = format_args!("send queue is empty again, {dropped} values were dropped");
                    log.warn(COLLECTOR, message, &[("dropped", &dropped)]);
                }
            }
            Ok(Turn::Nothing) => {}
            Err(error) => self.sending.failed(&error, now, log),
        }
    }
}
