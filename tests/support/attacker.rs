//! What another user may plant in a directory where everyone may make files, and whose files it leads to.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::support::fixture::{Fixture, User};

/// Who plants, and whose files are the targets.
pub const PLANTER: u32 = 65534;
pub const VICTIM: u32 = 65532;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    LinkToFile,
    DanglingLink,
    LinkToDirectory,
    HardLink,
    Fifo,
    Socket,
    Device,
    EmptyDirectory,
    FullDirectory,
    ForeignFile,
}

pub use Plant::*;

pub const PLANTS: [Plant; 10] = [
    LinkToFile,
    DanglingLink,
    LinkToDirectory,
    HardLink,
    Fifo,
    Socket,
    Device,
    EmptyDirectory,
    FullDirectory,
    ForeignFile,
];

impl Plant {
    /// Plants it, as the user who runs this; a device only root can make, and then gives it away.
    pub fn plant(self, path: &Path, victims: &Path) -> io::Result<()> {
        let node = |kind, device| mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), device);
        match self {
            LinkToFile => symlink(victims.join("file"), path)?,
            DanglingLink => symlink(victims.join("directory/absent"), path)?,
            LinkToDirectory => symlink(victims.join("directory"), path)?,
            HardLink => fs::hard_link(victims.join("file"), path)?,
            Fifo => node(FileType::Fifo, 0)?,
            Socket => node(FileType::Socket, 0)?,
            Device => {
                node(FileType::CharacterDevice, makedev(1, 7))?;
                chown(path, Some(PLANTER), Some(PLANTER))?;
            }
            EmptyDirectory => fs::create_dir(path)?,
            FullDirectory => {
                fs::create_dir(path)?;
                fs::write(path.join("inside"), "foreign\n")?;
            }
            ForeignFile => {
                fs::OpenOptions::new().write(true).create_new(true).open(path)?;
                fs::write(path, "foreign\n")?;
            }
        }
        Ok(())
    }

    /// As the planter would.
    pub fn plant_as_another(self, path: &Path, victims: &Path) -> io::Result<()> {
        match self {
            Device => self.plant(path, victims),
            _ => as_user(PLANTER, || self.plant(path, victims)),
        }
    }

    /// Whether a published document replaces it.
    pub fn gives_way_to(self, user: User) -> bool {
        self.is_removable_by(user) && !matches!(self, Socket | Device)
    }

    /// Whether it is removed from the name of a temporary file.
    pub fn is_removable_by(self, user: User) -> bool {
        user != User::Ordinary && !matches!(self, EmptyDirectory | FullDirectory)
    }
}

/// Runs something as another user: in a thread, because that is what the kernel keeps users for.
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

pub fn remove(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        fs::remove_dir_all(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
}

/// Files of a third user, who lets everyone write to them: only the daemon's care keeps them as they are.
pub fn victims(machine: &Fixture) -> PathBuf {
    let victims = machine.place.path("victims");
    fs::create_dir_all(victims.join("directory")).unwrap();
    fs::write(victims.join("file"), "precious\n").unwrap();
    for (name, mode) in [("file", 0o666), ("directory", 0o777), ("", 0o755)] {
        let path = victims.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chown(path, Some(VICTIM), Some(VICTIM)).unwrap();
    }
    victims
}

/// Everything about the victims' files that could have been touched.
pub fn state_of(victims: &Path) -> String {
    let about = |name: &str| {
        let metadata = fs::symlink_metadata(victims.join(name)).unwrap();
        let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
        format!("{name} {mode:o} {uid} {gid} {:?}", metadata.modified().unwrap())
    };
    let names: Vec<_> = fs::read_dir(victims.join("directory")).unwrap().collect();
    let content = fs::read_to_string(victims.join("file")).unwrap();
    format!("{} {} {content:?} {names:?}", about("file"), about("directory"))
}

/// A directory as /tmp is.
pub fn make_sticky(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o1777)).unwrap();
}

/// Tests that only root can run, because they are other users too.
#[macro_export]
macro_rules! needs_other_users {
    ($($name:ident: $act:expr;)*) => {$(
        #[test]
        fn $name() {
            if $crate::support::fixture::can_be_others() {
                $act;
            } else {
                $crate::support::skip("only root can be another user");
            }
        }
    )*};
}
