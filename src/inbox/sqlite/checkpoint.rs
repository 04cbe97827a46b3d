//! Moves committed pages from the write-ahead log into the store, off the way of commits. Commits nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OpenFlags;

use crate::inbox::OpenError;
use crate::inbox::sqlite::file;

const EVERY: Duration = Duration::from_millis(500);

/// Pages of 4 KiB in the log from which on it is worth starting over at its beginning.
const LARGE: i64 = 4096;

/// Pages that the writer may move itself between two commits: about a millisecond's work.
const SMALL: i64 = 1024;

/// The writer's side of the checkpoint thread.
pub(super) struct Checkpoints {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    committed: AtomicBool,
    /// The log can only start over at a moment without newer pages, and while events stream in only the
    /// writer has such a moment. The thread moves nearly all pages and leaves the last few to it.
    writer_may_end_log: AtomicBool,
    stopping: AtomicBool,
}

pub(super) fn start(path: &Path) -> Result<Checkpoints, OpenError> {
    let connection = file::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let shared = Arc::new(Shared::default());
    let thread = std::thread::Builder::new()
        .name("inbox-checkpoints".to_owned())
        .spawn({
            let shared = Arc::clone(&shared);
            move || run(&connection, &shared)
        })
        .map_err(|cause| OpenError::Unopenable { path: path.to_owned(), cause: cause.into() })?;
    Ok(Checkpoints { shared, thread })
}

impl Checkpoints {
    /// For the writer, between two commits.
    pub(super) fn after_commit(&self, connection: &Connection) {
        self.shared.committed.store(true, Ordering::Relaxed);
        if self.shared.writer_may_end_log.swap(false, Ordering::Relaxed) {
            report(checkpoint(connection, "PASSIVE"));
        }
    }

    /// Leaves one file behind where nobody else reads it.
    pub(super) fn stop(self, connection: &Connection) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the checkpoint thread panicked");
        }
        report(checkpoint(connection, "TRUNCATE"));
    }
}

fn run(connection: &Connection, shared: &Shared) {
    while !shared.stopping.load(Ordering::Relaxed) {
        std::thread::park_timeout(EVERY);
        if !shared.committed.swap(false, Ordering::Relaxed) {
            continue;
        }
        let result = checkpoint(connection, "PASSIVE");
        if let Ok((logged, moved)) = result
            && logged >= LARGE
            && logged - moved <= SMALL
        {
            shared.writer_may_end_log.store(true, Ordering::Relaxed);
        }
        report(result);
    }
}

/// The pages in the log, and how many of them are in the store by now.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok((row.get(1)?, row.get(2)?))
    })
}

/// A failed checkpoint loses nothing: the pages stay in the log, and the next one tries again.
fn report(result: rusqlite::Result<(i64, i64)>) {
    if let Err(error) = result {
        tracing::warn!(%error, "a checkpoint failed and will be tried again");
    }
}
