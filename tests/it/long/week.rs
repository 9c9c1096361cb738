//! A week of the daemon at its default intervals, in about a minute. Its clocks stand still, and are set from one deadline
//! to the next. The counters, the guest library and the tree are known, so each document has only one right content.

mod carbon;
mod disks;
mod guest;
mod log;
mod machine;

use machine::{Machine, SECOND};

use crate::support::Usage;

const DAYS: usize = 7;
const HOUR: i64 = 3600 * SECOND;
/// Also an allocator that keeps a few free pages stays below this.
const MAX_GROWTH_KIB: u64 = 32;

#[test]
fn week_gives_right_documents_and_constant_usage() {
    let mut machine = Machine::start();
    let mut usages = Vec::new();
    let mut log_bytes = Vec::new();
    for day in 1..=DAYS {
        for hour in 0..24 {
            begin_hour(&mut machine, day, hour);
            machine.run_for(HOUR);
        }
        log_bytes.push(machine.rotate_log());
        usages.push(machine.usage());
    }
    machine.stop();

    for later in &usages[2..] {
        assert_constant(&usages[1], later, &usages);
    }
    let (least, most) = (log_bytes.iter().min().unwrap(), log_bytes.iter().max().unwrap());
    assert!(most < &(2 * least), "bytes of the daily logs: {log_bytes:?}");
}

/// What happens to the machine. An hour is one of the monotonic clock.
fn begin_hour(machine: &mut Machine, day: usize, hour: usize) {
    machine.change_tree();
    match (day, hour) {
        (_, 1) => machine.add_disk(&format!("usb{day}")),
        (_, 2) => machine.reset_disk("sdb"),
        (_, 3) => machine.kill_helper(),
        (_, 20) => machine.remove_disk(&format!("usb{day}")),
        (2, 6) => machine.migrate(),
        (2, 12) => machine.lose_carbon(),
        (2, 18) => machine.regain_carbon(),
        (2, 19) => machine.end_outage(),
        // A leap second: the last second of a day is there twice.
        (3, 0) => machine.shift_wall(-1),
        (3, 9) => machine.shift_wall(8000),
        (3, 15) => machine.shift_wall(-8000),
        // The monotonic clock stands still while the machine is suspended.
        (4, 5) => machine.shift_wall(8 * 3600),
        // It advances while the virtual machine is paused.
        (5, 5) => machine.pause(3 * HOUR),
        (6, 5) => machine.flap(true),
        (6, 6) => machine.flap(false),
        (6, 10) => machine.max_lateness = 35 * SECOND,
        (6, 12) => machine.max_lateness = machine::LATENESS,
        _ => {}
    }
}

fn assert_constant(early: &Usage, late: &Usage, all: &[Usage]) {
    let is_constant = (late.descriptors, late.threads, late.children)
        == (early.descriptors, early.threads, early.children)
        && late.anonymous_kib <= early.anonymous_kib + MAX_GROWTH_KIB
        && late.mapped_kib <= early.mapped_kib + MAX_GROWTH_KIB;
    assert!(is_constant, "{all:#?}");
}
