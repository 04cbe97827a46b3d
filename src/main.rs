//! The `bamboohook` program: hands the arguments to the commands. Does nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    bamboohook::cli::run()
}
