mod hostile_log;
mod hostile_output_dir;
mod hostile_reads;
mod outputs;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::support::attacker::{ATTACKER, remove};
use crate::support::wait_for;

/// A file of another user who has a lease on it and does not give it up: opening it would block for 45 seconds.
struct Leased {
    holder: Child,
    path: PathBuf,
}

impl Leased {
    fn at(path: &Path) -> Self {
        let script = "import fcntl, signal, sys, time\n\
                      signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
                      file = open(sys.argv[1], 'x')\n\
                      fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
                      open(sys.argv[1] + '.leased', 'w')\n\
                      time.sleep(300)";
        let holder = Command::new("/usr/bin/python3")
            .args(["-c", script])
            .arg(path)
            .uid(ATTACKER)
            .gid(ATTACKER)
            .current_dir("/")
            .spawn()
            .unwrap();
        let mark = PathBuf::from(format!("{}.leased", path.display()));
        wait_for("the lease", || mark.exists().then_some(()));
        remove(&mark);
        let path = path.to_path_buf();
        Self { holder, path }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        remove(&self.path);
    }
}
