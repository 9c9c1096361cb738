//! Calls the guest library of VMware (`vmGuestLib.h` of open-vm-tools) in this process, which must be the helper.
//!
//! The only file with `unsafe`: it calls C code that is loaded at run time.
#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::answer::{Answer, Reading};

/// `VMGuestLibHandle`: a pointer. If it is truncated to 32 bits, the library crashes.
type Handle = *mut c_void;
/// `VMGuestLibError`, a C enum.
type Code = c_int;
/// A function that writes one 64-bit number.
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

/// Why a library was not loaded.
#[derive(Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The dynamic linker found no file of that name.
    NotFound,
    /// The file exists: the message of the dynamic linker.
    Refused(String),
}

impl GuestLib {
    /// Loads a library by path, or by a file name that the dynamic linker looks up.
    pub fn load(name: &str) -> Result<Self, LoadError> {
        // SAFETY: loading runs the initialisers of the library. The administrator named it, and this process has one
        // thread and no privileges. RTLD_NOW: no later call fails because of a missing symbol.
        let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|error| load_error(name, &error))?;
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the field has the type that vmGuestLib.h declares, and the library stays loaded as long as
                // the field exists.
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

    /// Asks the host for the counters. The library may block, crash or exit the process.
    pub fn read(&self) -> Answer {
        self.try_read().map_or_else(|answer| answer, Answer::Reading)
    }

    fn try_read(&self) -> Result<Reading, Answer> {
        // A handle keeps the protocol version of its first reply. If the machine then moves from a version 2 host to a
        // version 3 host, the library crashes. So each reading opens a new handle.
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

/// An open handle, closed when dropped.
struct Session<'a> {
    library: &'a GuestLib,
    handle: Handle,
}

impl<'a> Session<'a> {
    fn open(library: &'a GuestLib) -> Result<Self, Answer> {
        let mut handle = null_mut();
        // SAFETY: the library writes one pointer, for which there is room.
        check(unsafe { (library.open_handle)(&raw mut handle) }, None)?;
        Ok(Self { library, handle })
    }

    fn number(&self, get: GetNumber, statistic: &str) -> Result<u64, Answer> {
        let mut number = 0;
        // SAFETY: the handle is open, and the library writes one uint64, for which there is room.
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
    // The same message about another name means a library that this one needs.
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
    fn missing_library_and_wrong_library_give_different_errors() {
        let load = |name| GuestLib::load(name).err();
        assert_eq!(load("libno-such-thing.so.0"), Some(LoadError::NotFound));
        assert_eq!(load("/nowhere/libguestlib.so.0"), Some(LoadError::NotFound));
        // Another library: the error names the missing symbol.
        match load("libc.so.6") {
            Some(LoadError::Refused(text)) => assert!(text.contains("VMGuestLib_OpenHandle"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}
