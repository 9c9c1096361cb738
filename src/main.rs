//! `shinken-gatherer`: see the library for what flows where.

use std::process::ExitCode;

fn main() -> ExitCode {
    shinken_gatherer::cli::main(std::env::args_os())
}
