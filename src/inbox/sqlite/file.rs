//! Opening the file of a store, and telling what is wrong with one that does not open. Reads no events.

use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::ErrorCode;
use rusqlite::OpenFlags;

use crate::inbox::InboxError;
use crate::inbox::OpenError;
use crate::inbox::sqlite::schema;

/// How long another program's lock on the file is waited for before a write is given up.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// How long and how often a command that is being started is waited for.
const BIRTH: Duration = Duration::from_millis(20);
const BIRTHS_AWAITED: usize = 10;

/// "bmbh": SQLite keeps it in the file's head, where `file(1)` and we look for it.
const APPLICATION_ID: i32 = 0x626d_6268;

/// An open store with the lock that keeps other services away from it.
pub(super) struct Store {
    pub(super) connection: Connection,
    /// Absent beside the service that has it.
    _lock: Option<File>,
}

/// Opens or makes the store, ready to write.
pub(super) fn open(path: &Path) -> Result<Store, OpenError> {
    let lock = lock_soon(path)?;
    // The file is made here, since SQLite would let everyone read it.
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|cause| from_io(path, cause))?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Before the journal mode is set, which is written into the file: another program's stays as it is.
    let unmarked = is_unmarked(path, &connection)?;
    prepare(&mut connection).map_err(|cause| from_sqlite(path, cause))?;
    if unmarked {
        connection
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(|cause| from_sqlite(path, cause))?;
    }
    schema::migrate(path, &mut connection)?;
    Ok(Store { connection, _lock: Some(lock) })
}

/// Opens an existing store to store events in it beside the service that owns it.
pub(super) fn open_beside(path: &Path) -> Result<Store, OpenError> {
    let mut connection = open_to_edit(path)?;
    prepare(&mut connection).map_err(|cause| from_sqlite(path, cause))?;
    // KiB; a command has less to write and less memory to take than the service.
    connection
        .pragma_update(None, "cache_size", -4096)
        .map_err(|cause| from_sqlite(path, cause))?;
    Ok(Store { connection, _lock: None })
}

/// Opens an existing store to look at it; writes nothing.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, OpenError> {
    let connection = open_to_edit(path)?;
    connection.pragma_update(None, "query_only", true).map_err(|cause| from_sqlite(path, cause))?;
    Ok(connection)
}

/// Opens an existing store to change rows in it beside the service that owns it.
pub(super) fn open_to_edit(path: &Path) -> Result<Connection, OpenError> {
    if !path.exists() {
        return Err(OpenError::Missing { path: path.to_owned() });
    }
    // Not SQLITE_OPEN_READ_ONLY: in WAL mode a reader has to be able to make the shared-memory file.
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if application_id(path, &connection)? != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    schema::check(path, &connection)?;
    Ok(connection)
}

pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|cause| from_sqlite(path, cause))?;
    connection.busy_timeout(LOCK_PATIENCE).map_err(|cause| from_sqlite(path, cause))?;
    Ok(connection)
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    // An acknowledged event survives a power cut: every commit is synced.
    connection.pragma_update(None, "synchronous", "full")?;
    // Checkpoints have their own thread, off the way of commits.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    // KiB, negative by SQLite's convention.
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Whether the file is still to be marked as ours. Refuses one that holds something else.
fn is_unmarked(path: &Path, connection: &Connection) -> Result<bool, OpenError> {
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|cause| from_sqlite(path, cause))?;
    match application_id(path, connection)? {
        APPLICATION_ID => Ok(false),
        0 if tables == 0 => Ok(true),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

fn application_id(path: &Path, connection: &Connection) -> Result<i32, OpenError> {
    connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|cause| from_sqlite(path, cause))
}

/// A service that has just ended may have been starting a command: the command has a copy of the lock from the
/// moment of its birth until it runs.
fn lock_soon(path: &Path) -> Result<File, OpenError> {
    for _ in 0..BIRTHS_AWAITED {
        match lock(path, "lock") {
            Err(OpenError::InUse { .. }) => std::thread::sleep(BIRTH),
            result => return result,
        }
    }
    lock(path, "lock")
}

/// A lock of the operating system: it ends with the process, also with `kill -9`.
pub(super) fn lock(path: &Path, purpose: &str) -> Result<File, OpenError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{purpose}"));
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(PathBuf::from(beside))
        .map_err(|cause| from_io(path, cause))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(std::fs::TryLockError::Error(cause)) => Err(from_io(path, cause)),
    }
}

pub(super) fn from_sqlite(path: &Path, cause: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { path },
        Some(ErrorCode::NotADatabase) => OpenError::Foreign { path },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => OpenError::ReadOnly { path },
        Some(ErrorCode::DiskFull) => OpenError::Full { path },
        _ => OpenError::Unopenable { path, cause: cause.into() },
    }
}

fn from_io(path: &Path, cause: std::io::Error) -> OpenError {
    let path = path.to_owned();
    match cause.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly { path }
        }
        std::io::ErrorKind::StorageFull => OpenError::Full { path },
        _ => OpenError::Unopenable { path, cause: cause.into() },
    }
}

/// What a failure of a running store means to those who wait for it.
pub(super) fn while_running(cause: &rusqlite::Error) -> InboxError {
    match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => InboxError::Locked,
        Some(ErrorCode::DiskFull) => InboxError::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => InboxError::ReadOnly,
        _ => InboxError::Failed,
    }
}

/// What it means to those who have opened the store before that it does not open once more.
pub(super) fn once_open(cause: &OpenError) -> InboxError {
    match cause {
        OpenError::Locked { .. } => InboxError::Locked,
        OpenError::Full { .. } => InboxError::Full,
        OpenError::ReadOnly { .. } => InboxError::ReadOnly,
        _ => InboxError::Failed,
    }
}
