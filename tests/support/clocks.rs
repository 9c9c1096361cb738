//! Clocks that jump or stand still: a library loaded before libc shifts them by the seconds in a file.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use super::{TestDir, compile_library};

/// Replaces clock_gettime() of libc.
const SHIFTED_CLOCKS: &str = r#"
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Seconds of the wall clock, seconds of both clocks, and the nanoseconds at which both stand still: 0 if they run. */
static volatile int64_t *shift;

__attribute__((constructor)) static void find_shift(void)
{
    int fd = open(getenv("SHIFTED_CLOCKS"), O_RDONLY | O_CLOEXEC);
    void *file = mmap(NULL, 24, PROT_READ, MAP_SHARED, fd, 0);
    if (fd < 0 || file == MAP_FAILED)
        _exit(98);
    shift = file;
    close(fd);
}

static int clock_that_stands_still(clockid_t clock, struct timespec *now)
{
    /* The monotonic clock is read first. The wall clock that is read next must be of the same moment. */
    static int64_t moment;
    if (clock == CLOCK_MONOTONIC || !moment)
        moment = shift[2];
    now->tv_sec = moment / 1000000000 + (clock == CLOCK_REALTIME ? shift[0] : 0);
    now->tv_nsec = moment % 1000000000;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (shift && shift[2] && (clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME))
        return clock_that_stands_still(clock, now);
    int result = syscall(SYS_clock_gettime, clock, now);
    if (shift && shift[0] == INT64_MAX)
        return -1;
    if (result == 0 && shift)
        now->tv_sec += shift[1] + (clock == CLOCK_REALTIME ? shift[0] : 0);
    return result;
}
"#;

/// The clocks of a process.
pub struct Clocks {
    library: PathBuf,
    shift: PathBuf,
    file: File,
}

impl Clocks {
    pub fn new(dir: &TestDir) -> Self {
        let library = compile_library(dir, "clocks", SHIFTED_CLOCKS);
        let shift = dir.path("shift");
        fs::write(&shift, [0; 24]).unwrap();
        let file = File::options().write(true).open(&shift).unwrap();
        Self { library, shift, file }
    }

    /// Makes a command run under these clocks.
    pub fn given_to<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("SHIFTED_CLOCKS", &self.shift)
    }

    pub fn shift_wall(&self, seconds: i64) {
        self.write(seconds, 0);
    }

    /// Advances both clocks, as if the process had been frozen.
    pub fn advance(&self, seconds: i64) {
        self.write(seconds, 8);
    }

    /// Makes both clocks stand still: the monotonic one at this time, the wall clock at this time plus its shift.
    pub fn stand_at(&self, nanoseconds: i64) {
        self.write(nanoseconds, 16);
    }

    fn write(&self, number: i64, offset: u64) {
        self.file.write_all_at(&number.to_ne_bytes(), offset).unwrap();
    }

    /// Makes every read of a clock fail, which Rust's standard library answers with a panic.
    pub fn fail(&self) {
        self.shift_wall(i64::MAX);
    }
}
