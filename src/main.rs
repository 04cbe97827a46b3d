//! The `bamboohook` program: hands the arguments to the commands. Does nothing else.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Events are made in one thread and dropped in another, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    bamboohook::cli::run()
}
