//! The users whose published files are trusted.

use std::path::Path;

use crate::open::{self, Links};

/// The user of the packaged service.
const SERVICE_USER: &str = "shinken-gatherer";
const PASSWD: &str = "/etc/passwd";
const MAX_PASSWD_BYTES: u64 = 16 << 20;

/// The users whose files are trusted: root, the packaged service's user, and the caller.
///
/// The caller could change the answer anyway. It also runs a gatherer by hand and reads its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedUsers {
    uids: Vec<u32>,
}

impl TrustedUsers {
    /// Looks the service's user up in /etc/passwd, where the package adds it. If that file cannot be read, it is not
    /// trusted. NSS is not used: it could load any module and wait for any server.
    pub fn load() -> Self {
        let file = open::for_reading(Path::new(PASSWD), Links::Follow);
        let passwd = file.and_then(|file| open::read_all(&file, MAX_PASSWD_BYTES));
        let service = passwd
            .ok()
            // Personal names in it may have any encoding.
            .and_then(|passwd| uid_of(SERVICE_USER, &String::from_utf8_lossy(&passwd)));
        let caller = rustix::process::geteuid().as_raw();
        Self {
            uids: [0, caller].into_iter().chain(service).collect(),
        }
    }

    /// Returns the reason if files of the user `uid` are not trusted.
    pub fn check(&self, uid: u32) -> Result<(), String> {
        match self.uids.contains(&uid) {
            true => Ok(()),
            false => Err(format!(
                "owned by uid {uid}, must be owned by root or {SERVICE_USER}"
            )),
        }
    }
}

/// Returns the user id of `name` in the text of a passwd file.
fn uid_of(name: &str, passwd: &str) -> Option<u32> {
    let mut entries = passwd.lines().map(|line| line.split(':'));
    entries
        .find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::{TrustedUsers, uid_of};

    #[test]
    fn files_of_other_users_are_not_trusted() {
        let users = TrustedUsers { uids: vec![0, 998] };
        assert_eq!(users.check(998), Ok(()));
        let reason = "owned by uid 65534, must be owned by root or shinken-gatherer";
        assert_eq!(users.check(65534), Err(reason.into()));
    }

    #[test]
    fn service_user_is_found_in_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\n\nshinken:x:7:7::/:/bin/sh\nshinken-gatherer:x:998:998::/:/bin/false\n";
        assert_eq!(uid_of("shinken-gatherer", passwd), Some(998));
        assert_eq!(uid_of("shinken-gather", passwd), None);
        assert_eq!(uid_of("x", "x:x:many:1::/:\nx:x:5:1::/:\n"), None);
        assert_eq!(uid_of("x", "x\n"), None);
    }
}
