//! The daemon's side of the feed to Graphite.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::PollFlags;

use super::outlet::Health;
use crate::carbon::lines::{Measured, lines};
use crate::carbon::{Feed, Turn};
use crate::config::CarbonConfig;
use crate::logging::Log;

const COLLECTOR: &str = "carbon";

/// The feed, where it is enabled, and its problems.
#[derive(Debug)]
pub struct FeedTask {
    prefix: String,
    feed: Feed,
    sending: Health,
    /// Values dropped that were not said yet.
    dropped: u64,
    sent: bool,
}

impl FeedTask {
    /// Sets the feed up, without connecting; `None` where it is not enabled.
    pub fn new(config: &CarbonConfig, now: Instant) -> Option<Self> {
        config.enabled.then(|| Self {
            prefix: config.prefix.clone(),
            feed: Feed::new(config.address, now),
            sending: Health::default(),
            dropped: 0,
            sent: false,
        })
    }

    /// What to poll for.
    pub fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.feed.waits_for()
    }

    /// When there is something to do even if nothing happens.
    pub fn due(&self) -> Option<Instant> {
        self.feed.due()
    }

    /// Takes up what was measured, and sends as much as carbon takes right now.
    pub fn turn(&mut self, measured: Option<Measured>, now: Instant, log: &mut Log) {
        if let Some(measured) = measured {
            self.feed.push(lines(&self.prefix, &measured));
        }
        let turned = self.feed.turn(now);
        let dropped = self.feed.take_dropped();
        if dropped > 0 && self.dropped == 0 {
            log.warn(
                COLLECTOR,
                "carbon does not take the values fast enough: the oldest are dropped",
                &[],
            );
        }
        self.dropped += dropped;
        match turned {
            Ok(Turn::Sent) => {
                self.sending.works(log, COLLECTOR, "sending");
                if !std::mem::replace(&mut self.sent, true) {
                    log.info(COLLECTOR, "the first values are sent", &[]);
                }
                if self.dropped > 0 {
                    let dropped = std::mem::take(&mut self.dropped);
                    let message = format_args!("all is sent again, {dropped} values were dropped");
                    log.warn(COLLECTOR, message, &[("dropped", &dropped)]);
                }
            }
            Ok(Turn::Nothing) => {}
            Err(error) => self.sending.fails(log, COLLECTOR, &error),
        }
    }
}
