//! `check-config`: prints the settings in force with their sources. Starts nothing.

use std::process::ExitCode;

use crate::config::Loaded;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this command prints")]
pub(super) fn run(settings: &Loaded) -> anyhow::Result<ExitCode> {
    for warning in settings.warnings() {
        eprintln!("warning: {warning}");
    }
    crate::app::check(&settings.config)?;
    print!("{}", settings.to_toml());
    Ok(ExitCode::SUCCESS)
}
