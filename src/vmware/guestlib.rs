//! The guest library of VMware (`vmGuestLib.h` of open-vm-tools), called in this process. Only the helper does that.
//!
//! The one file with `unsafe`: everything here is a call into C code that is loaded at run time.
#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::answer::{Answer, Reading};

/// `VMGuestLibHandle`: a pointer. (Kept in 32 bits, it crashes the library.)
type Handle = *mut c_void;
/// `VMGuestLibError`: an enumeration from 0 on.
type Code = c_int;
/// The functions that fill in one 64-bit number.
type GetNumber = unsafe extern "C" fn(Handle, *mut u64) -> Code;

const SUCCESS: Code = 0;
const NOT_RUNNING_IN_VM: Code = 2;
const NOT_ENABLED: Code = 3;
const NOT_AVAILABLE: Code = 4;
const UNSUPPORTED_VERSION: Code = 10;

/// A loaded guest library.
pub struct GuestLib {
    open_handle: unsafe extern "C" fn(*mut Handle) -> Code,
    close_handle: unsafe extern "C" fn(Handle) -> Code,
    update_info: unsafe extern "C" fn(Handle) -> Code,
    get_session_id: GetNumber,
    get_elapsed_ms: GetNumber,
    get_cpu_stolen_ms: GetNumber,
    /// Keeps the code of the functions mapped.
    _library: Library,
}

/// Why a library can't be loaded.
#[derive(Debug, PartialEq, Eq)]
pub enum LoadError {
    /// There is no file of that name where the dynamic linker looks.
    NotFound,
    /// It is there: the dynamic linker's words.
    Refused(String),
}

impl GuestLib {
    /// Loads a library by its file name, which the dynamic linker looks up, or by its path.
    pub fn load(name: &str) -> Result<Self, LoadError> {
        // SAFETY: loading runs the library's initialisers. It is VMware's, named by the administrator, and this is
        // a process of its own without threads or privileges. Bound at once: no call fails for a symbol later.
        let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|error| load_error(name, &error))?;
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type of the field it goes to is that of the declaration in vmGuestLib.h, and the
                // library stays loaded as long as the field exists.
                *unsafe { library.get($name) }.map_err(|error| load_error(name, &error))?
            };
        }
        Ok(Self {
            open_handle: function!(c"VMGuestLib_OpenHandle"),
            close_handle: function!(c"VMGuestLib_CloseHandle"),
            update_info: function!(c"VMGuestLib_UpdateInfo"),
            get_session_id: function!(c"VMGuestLib_GetSessionId"),
            get_elapsed_ms: function!(c"VMGuestLib_GetElapsedMs"),
            get_cpu_stolen_ms: function!(c"VMGuestLib_GetCpuStolenMs"),
            _library: library,
        })
    }

    /// Asks the host for the counters. May block, crash or end the process: this is the library's code.
    pub fn read(&self) -> Answer {
        self.try_read().map_or_else(|answer| answer, Answer::Reading)
    }

    fn try_read(&self) -> Result<Reading, Answer> {
        // A handle for this reading only. One that is kept remembers the protocol it negotiated: it crashes when the
        // machine moves from a host of version 2 to one of version 3, as it decodes into the data of the older one.
        let session = Session::open(self)?;
        // SAFETY: the handle is open.
        check(unsafe { (self.update_info)(session.handle) }, None)?;
        Ok(Reading {
            session: session.number(self.get_session_id, "SessionId")?,
            elapsed_ms: session.number(self.get_elapsed_ms, "ElapsedMs")?,
            stolen_ms: session.number(self.get_cpu_stolen_ms, "CpuStolenMs")?,
        })
    }
}

/// An open handle, closed at the end.
struct Session<'a> {
    library: &'a GuestLib,
    handle: Handle,
}

impl<'a> Session<'a> {
    fn open(library: &'a GuestLib) -> Result<Self, Answer> {
        let mut handle = null_mut();
        // SAFETY: the library writes one pointer, to a place for one.
        check(unsafe { (library.open_handle)(&raw mut handle) }, None)?;
        Ok(Self { library, handle })
    }

    fn number(&self, get: GetNumber, statistic: &str) -> Result<u64, Answer> {
        let mut number = 0;
        // SAFETY: the handle is open, and the library writes one uint64, to a place for one.
        check(unsafe { get(self.handle, &raw mut number) }, Some(statistic))?;
        Ok(number)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nothing uses it after this.
        unsafe { (self.library.close_handle)(self.handle) };
    }
}

fn check(code: Code, statistic: Option<&str>) -> Result<(), Answer> {
    Err(match (code, statistic) {
        (SUCCESS, _) => return Ok(()),
        (NOT_RUNNING_IN_VM, _) => Answer::NotVirtual,
        (NOT_ENABLED, _) => Answer::Refused,
        (NOT_AVAILABLE | UNSUPPORTED_VERSION, Some(statistic)) => Answer::NotOffered(statistic.into()),
        (other, _) => Answer::Failed(other.cast_unsigned()),
    })
}

fn load_error(name: &str, error: &libloading::Error) -> LoadError {
    let text = error.source().unwrap_or(error).to_string();
    // The same words about another name are about a library that this one needs.
    if text.starts_with(&format!("{name}: cannot open shared object file: No such file")) {
        LoadError::NotFound
    } else {
        LoadError::Refused(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{GuestLib, LoadError};

    #[test]
    fn a_library_that_is_not_there_is_told_from_one_that_is_none() {
        let load = |name| GuestLib::load(name).err();
        assert_eq!(load("libno-such-thing.so.0"), Some(LoadError::NotFound));
        assert_eq!(load("/nowhere/libguestlib.so.0"), Some(LoadError::NotFound));
        // A library, but not this one: the name that it lacks is said.
        match load("libc.so.6") {
            Some(LoadError::Refused(text)) => assert!(text.contains("VMGuestLib_OpenHandle"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}
