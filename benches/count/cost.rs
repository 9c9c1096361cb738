//! CPU and wall time of a process, from its start to its end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::time::{ClockId, clock_gettime};

/// Time of one run.
#[derive(Clone, Copy)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
}

/// Runs a program. Its CPU time includes the start of the process; `None` if it is missing or fails.
pub fn of_process(command: &mut Command) -> Option<Cost> {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().ok()?;
    let pid = Pid::from_child(&child);
    // Not reaped yet: /proc still has its times.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("waiting for a process");
    let cost = Cost {
        wall: started.elapsed(),
        cpu: cpu_of(child.id()),
    };
    child
        .wait()
        .expect("the status of a process")
        .success()
        .then_some(cost)
}

/// Runs `work` in this process.
pub fn of_call(work: impl FnOnce()) -> Cost {
    let cpu = || {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let (started, before) = (Instant::now(), cpu());
    work();
    Cost {
        wall: started.elapsed(),
        cpu: cpu() - before,
    }
}

/// schedstat is exact but has the first thread only, stat has all threads in steps of 10 ms.
fn cpu_of(pid: u32) -> Duration {
    let read = |name: &str| std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(name));
    let first = |text: String| text.split_ascii_whitespace().next()?.parse().ok();
    let exact = read("schedstat").ok().and_then(first).unwrap_or(0);
    let stat = read("stat").expect("a process in /proc");
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    Duration::from_nanos(exact).max(Duration::from_millis((fields[11] + fields[12]) * 10))
}

/// The median in seconds.
pub fn median(costs: &[Cost], of: impl Fn(&Cost) -> Duration) -> f64 {
    let mut values: Vec<_> = costs.iter().map(of).collect();
    values.sort_unstable();
    values
        .get(values.len() / 2)
        .map_or(f64::NAN, Duration::as_secs_f64)
}
