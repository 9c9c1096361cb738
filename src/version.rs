//! The version of this build.

/// The version. The package build adds the revision and its date: `0.1.0 (54a1f06c1d2e, 2026-11-30)`.
pub const VERSION: &str = match option_env!("GATHERER_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};
