//! Another user, who creates files where the daemon would create its own, and whose links lead to a third user's files.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::{TestDir, User, wait_until};
use Removal::{Never, Replaced, Unlinked};

pub const ATTACKER: u32 = 65534;
const VICTIM: u32 = 65532;

/// A file that an attacker creates.
pub struct Obstacle {
    pub name: &'static str,
    removal: Removal,
    /// Creates it at the first path. The second one is the folder of the victim's files.
    create: fn(&Path, &Path) -> io::Result<()>,
}

/// What the daemon does with an obstacle, if it may remove other users' files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// A document or a temporary file replaces it.
    Replaced,
    /// A temporary file replaces it. A document does not.
    Unlinked,
    Never,
}

pub const FOREIGN_FILE: &str = "another user's file";
pub const DEVICE: &str = "device";

pub const OBSTACLES: [Obstacle; 10] = [
    Obstacle::new("link to a file", Replaced, |path, victims| {
        symlink(victims.join("file"), path)
    }),
    Obstacle::new("dangling link", Replaced, |path, victims| {
        symlink(victims.join("directory/absent"), path)
    }),
    Obstacle::new("link to a directory", Replaced, |path, victims| {
        symlink(victims.join("directory"), path)
    }),
    Obstacle::new("hard link", Replaced, |path, victims| {
        fs::hard_link(victims.join("file"), path)
    }),
    Obstacle::new("FIFO", Replaced, |path, _| make_node(path, FileType::Fifo, 0)),
    Obstacle::new("socket", Unlinked, |path, _| make_node(path, FileType::Socket, 0)),
    Obstacle::new(DEVICE, Unlinked, |path, _| {
        make_node(path, FileType::CharacterDevice, makedev(1, 7))?;
        chown(path, Some(ATTACKER), Some(ATTACKER))
    }),
    Obstacle::new("empty directory", Never, |path, _| fs::create_dir(path)),
    Obstacle::new("directory", Never, |path, _| {
        fs::create_dir(path)?;
        fs::write(path.join("inside"), "foreign\n")
    }),
    Obstacle::new(FOREIGN_FILE, Replaced, |path, _| {
        File::create_new(path)?;
        fs::write(path, "foreign\n")
    }),
];

impl Obstacle {
    const fn new(name: &'static str, removal: Removal, create: fn(&Path, &Path) -> io::Result<()>) -> Self {
        Self {
            name,
            removal,
            create,
        }
    }

    pub fn create(&self, path: &Path, victims: &Path) -> io::Result<()> {
        (self.create)(path, victims)
    }

    /// Creates it as the attacker. Only root can create a device, and then gives it to the attacker.
    pub fn create_as_attacker(&self, path: &Path, victims: &Path) -> io::Result<()> {
        match self.name {
            DEVICE => self.create(path, victims),
            _ => as_user(ATTACKER, || self.create(path, victims)),
        }
    }

    /// Whether a published document replaces it.
    pub fn is_replaced_by(&self, user: User) -> bool {
        user != User::Ordinary && self.removal == Replaced
    }

    /// Whether it is removed from the name of a temporary file.
    pub fn is_removed_by(&self, user: User) -> bool {
        user != User::Ordinary && self.removal != Never
    }
}

pub fn make_node(path: &Path, kind: FileType, device: u64) -> io::Result<()> {
    Ok(mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), device)?)
}

/// Runs a function as another user, in a thread of its own: Linux has a user for each thread.
pub fn as_user<T: Send>(uid: u32, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
            set_thread_groups(&[]).unwrap();
            set_thread_res_gid(group, group, group).unwrap();
            set_thread_res_uid(user, user, user).unwrap();
            act()
        });
        thread.join().unwrap()
    })
}

/// Removes whatever is at the path.
pub fn remove(path: &Path) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
}

/// Files of a third user that everyone may write to. Only the daemon's care keeps them unchanged.
pub struct Victims {
    pub folder: PathBuf,
    before: String,
}

impl Victims {
    pub fn new(dir: &TestDir) -> Self {
        dir.write("victims/file", "precious\n");
        let folder = dir.path("victims");
        fs::create_dir(folder.join("directory")).unwrap();
        for (name, mode) in [("file", 0o666), ("directory", 0o777), ("", 0o755)] {
            let path = folder.join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            chown(path, Some(VICTIM), Some(VICTIM)).unwrap();
        }
        let before = state(&folder);
        Self { folder, before }
    }

    pub fn assert_unchanged(&self, context: &str) {
        assert_eq!(state(&self.folder), self.before, "{context}");
    }
}

fn state(victims: &Path) -> String {
    let about = |name: &str| {
        let metadata = fs::symlink_metadata(victims.join(name)).unwrap();
        let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
        format!("{name} {mode:o} {uid} {gid} {:?}", metadata.modified().unwrap())
    };
    let names: Vec<_> = fs::read_dir(victims.join("directory")).unwrap().collect();
    let content = fs::read_to_string(victims.join("file")).unwrap();
    format!("{} {} {content:?} {names:?}", about("file"), about("directory"))
}

/// A file of another user who has a lease on it and does not give it up: opening it would block for 45 seconds.
pub struct Leased {
    holder: Child,
    pub path: PathBuf,
}

impl Leased {
    pub fn at(path: &Path) -> Self {
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
        wait_until("the lease", || mark.exists());
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
