//! A guest library with known counters, and the %ready that a document must have.

use std::collections::VecDeque;
use std::fs;

use serde_json::Value;

use super::carbon::Carbon;
use super::log::ExpectedLog;
use super::machine::SECOND;
use crate::support::{Numbers, TestDir, compile_library};

/// Reads its counters from the file COUNTERS at each update.
const LIBRARY: &str = r"
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

static uint64_t counters[3]; /* session, elapsed ms, stolen ms */

int VMGuestLib_OpenHandle(void **handle) { *handle = counters; return 0; }
int VMGuestLib_CloseHandle(void *handle) { (void)handle; return 0; }
int VMGuestLib_UpdateInfo(void *handle)
{
    int fd = open(COUNTERS, O_RDONLY | O_CLOEXEC);
    int is_whole = read(fd, handle, sizeof counters) == sizeof counters;
    close(fd);
    return is_whole ? 0 : 1;
}
int VMGuestLib_GetSessionId(void *handle, uint64_t *n) { (void)handle; *n = counters[0]; return 0; }
int VMGuestLib_GetElapsedMs(void *handle, uint64_t *n) { (void)handle; *n = counters[1]; return 0; }
int VMGuestLib_GetCpuStolenMs(void *handle, uint64_t *n) { (void)handle; *n = counters[2]; return 0; }
";
const VCPUS: f64 = 4.0;
/// A window and half an interval.
const LIMIT: i64 = 65 * SECOND;

#[derive(Clone, Copy)]
struct Reading {
    at: i64,
    session: u64,
    elapsed_ms: u64,
    stolen_ms: u64,
}

pub struct Guest {
    now: Reading,
    /// The readings of this session within the window.
    window: VecDeque<Reading>,
    had_value: bool,
}

impl Guest {
    /// Compiles the library `guest.so`.
    pub fn new(dir: &TestDir) -> Self {
        let counters = format!("{:?}", dir.path("counters"));
        compile_library(dir, "guest", &LIBRARY.replace("COUNTERS", &counters));
        let now = Reading {
            at: 0,
            session: 1,
            elapsed_ms: 1_000_000_000,
            stolen_ms: 7_000_000,
        };
        let guest = Self {
            now,
            window: VecDeque::new(),
            had_value: false,
        };
        guest.write(dir);
        guest
    }

    pub fn work(&mut self, passed: i64, random: &mut Numbers) {
        self.now.at += passed;
        let ms = (passed / 1_000_000) as u64;
        self.now.elapsed_ms += ms;
        self.now.stolen_ms += ms * random.below(1000) as u64 / 1000;
    }

    /// Continues on another host, which has other counters.
    pub fn migrate(&mut self) {
        self.now.session += 1;
        self.now.elapsed_ms /= 3;
        self.now.stolen_ms *= 2;
    }

    pub fn write(&self, dir: &TestDir) {
        let numbers = [self.now.session, self.now.elapsed_ms, self.now.stolen_ms];
        fs::write(dir.path("counters"), numbers.map(u64::to_ne_bytes).concat()).unwrap();
    }

    /// Checks the document of a reading. Returns whether it has a value.
    pub fn check(&mut self, document: &Value, wall: i64, carbon: &mut Carbon, log: &mut ExpectedLog) -> bool {
        assert_eq!(document["updated_at"], wall, "{document}");
        let now = self.now;
        let other_session = self.window.back().is_some_and(|last| last.session != now.session);
        self.window
            .retain(|reading| now.at - reading.at <= LIMIT && reading.session == now.session);
        self.window.push_back(now);
        let first = self.window[0];
        let has_value = self.window.len() > 1;
        if has_value {
            let (elapsed, stolen) = (now.elapsed_ms - first.elapsed_ms, now.stolen_ms - first.stolen_ms);
            let percent = 100.0 * stolen as f64 / elapsed as f64;
            let values = [
                ("window_seconds", elapsed as f64 / 1000.0),
                ("cpu_ready_percent", percent),
                ("cpu_ready_percent_per_vcpu", percent / VCPUS),
            ];
            for (key, expected) in values {
                let value = document[key].as_f64().unwrap();
                assert!(
                    (value - expected).abs() < 0.000_51,
                    "{key}, expected {expected}: {document}"
                );
                if key.starts_with("cpu") {
                    carbon.expect([format!("vmware.{key} {value} {wall}")]);
                }
            }
            assert!(document["error"].is_null(), "{document}");
            if !self.had_value {
                log.expect("INFO vmware: %ready ");
            }
        } else {
            let reason = match other_session {
                true => "virtual machine was migrated",
                false => "waiting for a second sample",
            };
            assert!(document["cpu_ready_percent"].is_null(), "{document}");
            assert!(
                document["error"].as_str().unwrap().starts_with(reason),
                "{document}"
            );
            log.expect(reason);
        }
        self.had_value = has_value;
        has_value
    }
}
