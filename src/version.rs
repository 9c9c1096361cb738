//! The version of this build.

use clap::error::ErrorKind;

/// The version. The package build adds the revision and its date: `0.1.0 (54a1f06c1d2e, 2026-11-30)`.
pub const VERSION: &str = match option_env!("GATHERER_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// Returns the answer to a request for help or the version. For a subcommand, clap would name `shinken-gatherer-once`.
pub fn help_or_version(request: &clap::Error) -> String {
    match request.kind() {
        ErrorKind::DisplayVersion => format!("{} {VERSION}\n", env!("CARGO_PKG_NAME")),
        _ => request.render().to_string(),
    }
}
