//! What happens to the machine, and what the daemon must log about it.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use super::Machine;
use crate::support::{Usage, children_of, kill, wait_until};

impl Machine {
    pub fn change_tree(&mut self) {
        // A change within the kernel's clock tick of a count would not change the time of a directory. To the daemon, ten
        // seconds pass in less than a tick.
        std::thread::sleep(Duration::from_millis(20));
        let number = self.random.below(1_000_000);
        self.dir
            .metrics([format!("host-{}/check-{}/{number}.wsp", number % 70, number % 5)]);
        let old = self.dir.path(format!("whisper/host-{}", number % 60));
        if number.is_multiple_of(3) && old.exists() {
            fs::remove_dir_all(old).unwrap();
        }
    }

    pub fn add_disk(&mut self, name: &str) {
        self.disks.add(name, &self.dir, &mut self.random);
        self.log.expect(&format!("INFO disks: disk {name} added"));
    }

    pub fn remove_disk(&mut self, name: &str) {
        self.disks.remove(name, &self.dir);
        self.log.expect(&format!("INFO disks: disk {name} removed"));
    }

    pub fn reset_disk(&mut self, name: &str) {
        self.disks.reset(name);
        self.log.expect(&format!(
            "INFO disks: disk {name} was replaced or its counters were reset"
        ));
    }

    /// Adds and removes a disk from sample to sample. That is logged once.
    pub fn flap(&mut self, flap: bool) {
        self.is_flapping = flap;
        if !flap && self.disks.has("flap") {
            self.disks.flap(&self.dir);
        }
        if flap {
            self.log.expect("INFO disks: disk flap added");
            self.log.expect("INFO disks: disk flap removed");
        }
    }

    pub fn kill_helper(&mut self) {
        for child in children_of(self.daemon.child.id()) {
            kill(child, Signal::KILL);
        }
        self.has_helper = false;
        self.wait_for_children();
    }

    pub fn migrate(&mut self) {
        self.guest.migrate();
    }

    pub fn shift_wall(&mut self, seconds: i64) {
        self.wall += seconds;
        self.clocks.shift_wall(self.wall);
    }

    /// Lets time pass in which the daemon does not run.
    pub fn pause(&mut self, duration: i64) {
        self.set_time(self.now + duration);
        self.check_documents(true);
        self.until = self.now;
    }

    pub fn lose_carbon(&mut self) {
        let connected = self.usage().descriptors;
        self.carbon.leave();
        wait_until("the daemon closes its connection", || {
            self.descriptors() < connected
        });
        self.descriptors_without_carbon = Some(self.usage().descriptors);
    }

    pub fn regain_carbon(&mut self) {
        self.carbon.come_back();
        self.descriptors_without_carbon = None;
    }

    /// Expects what the daemon logs after an outage of carbon.
    pub fn end_outage(&mut self) {
        let dropped = self.carbon.take_dropped();
        for line in [
            "WARN carbon: connecting to carbon at ",
            "WARN carbon: carbon does not accept data fast enough, dropping the oldest values",
            "INFO carbon: sending works again",
            &format!("WARN carbon: send queue is empty again, {dropped} values were dropped"),
        ] {
            self.log.expect(line);
        }
    }

    /// Rotates the log as logrotate does. Returns the size of the old one, whose lines must be the expected ones.
    pub fn rotate_log(&mut self) -> u64 {
        self.carbon.receive_all();
        let (log, rotated) = (self.dir.path("gatherer.log"), self.dir.path("gatherer.log.1"));
        fs::rename(log, &rotated).unwrap();
        self.daemon.signal(Signal::USR1);
        self.dir.wait_for_log("INFO daemon: log file reopened");
        self.log.check(&fs::read_to_string(&rotated).unwrap());
        self.log.expect("INFO daemon: log file reopened");
        fs::metadata(&rotated).unwrap().len()
    }

    pub fn usage(&self) -> Usage {
        Usage::of(&self.daemon.child)
    }

    pub fn stop(self) {
        self.daemon.stop();
        assert!(!self.dir.path("disks.tmp").exists());
    }
}
