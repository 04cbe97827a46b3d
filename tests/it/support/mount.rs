//! A small file system of its own, to be filled or made read-only. Needs rights that not every machine gives.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// Ends with its last owner.
pub(crate) struct Mount {
    directory: TempDir,
}

impl Mount {
    /// `None` where this user may not mount, after saying so.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says why")]
    pub(crate) fn new(kibibytes: u32) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let options = format!("size={kibibytes}k");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { directory }),
            Ok(output) => {
                let reason = String::from_utf8_lossy(&output.stderr);
                eprintln!("skipped: no small file system: {}", reason.trim());
                None
            }
            Err(error) => {
                eprintln!("skipped: no small file system: mount: {error}");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Fills what is left to the last byte; the space comes back with the file's removal.
    pub(crate) fn fill(&self) -> PathBuf {
        use std::io::Write;

        let ballast = self.path().join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        for size in [64 * 1024, 1024, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        ballast
    }

    /// Only while no file is open for writing.
    pub(crate) fn make_read_only(&self) {
        let status =
            Command::new("mount").args(["-o", "remount,ro"]).arg(self.path()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, since a service may be on its way out; what is left would fail the removal of the folder.
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|it| it.success()) || std::thread::panicking());
    }
}
