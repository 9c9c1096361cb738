//! The configuration: a mistake in it is one line that names file, line and key. A reload keeps the running one.

mod cases;
mod files;
mod values;
