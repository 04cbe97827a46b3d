//! What failures of the connection and of statements mean. Shows what the server said without the values in it.

use std::error::Error;
use std::fmt::Write;
use std::io;

use deadpool_postgres::PoolError;
use deadpool_postgres::TimeoutType;
use tokio_postgres::error::SqlState;

use crate::inbox::InboxError;
use crate::inbox::postgres::error::Cause;
use crate::inbox::postgres::error::PostgresError;

/// What a failed statement means for whoever asked.
pub(super) fn while_running(cause: &tokio_postgres::Error) -> InboxError {
    if is_read_only(cause) {
        return InboxError::ReadOnly;
    }
    match cause.code() {
        Some(state) => of_state(state),
        None if cause.is_closed() || is_tls(cause) || has_io(cause) => InboxError::Unreachable,
        None => InboxError::Failed,
    }
}

/// What it means that the pool has no connection to give.
pub(super) fn from_pool(cause: &PoolError) -> InboxError {
    match cause {
        PoolError::Timeout(TimeoutType::Wait) => InboxError::Saturated,
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => InboxError::Unreachable,
        PoolError::Backend(cause) => while_running(cause),
        PoolError::Closed => InboxError::Closed,
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => InboxError::Failed,
    }
}

/// For one line of a log. The server's detail and hint are left out, which quote rows, and its message where
/// it may quote a value.
pub(super) fn cause_text(cause: &tokio_postgres::Error) -> String {
    if let Some(error) = cause.as_db_error() {
        let code = error.code().code();
        return if code.starts_with("22") || code.starts_with("P0") {
            format!("SQLSTATE {code}")
        } else {
            format!("SQLSTATE {code}: {}", error.message().replace(char::is_control, " "))
        };
    }
    let mut text = cause.to_string();
    let mut source = cause.source();
    while let Some(error) = source {
        // Writing to a String does not fail.
        let _written = write!(text, ": {error}").is_ok();
        source = error.source();
    }
    text.replace(char::is_control, " ")
}

/// What it means for opening the store at `at`.
pub(super) fn while_opening(at: &str, cause: &tokio_postgres::Error) -> PostgresError {
    let at = at.to_owned();
    let said = || Cause(cause_text(cause));
    if is_read_only(cause) {
        return PostgresError::ReadOnly { at };
    }
    if let Some(state) = cause.code() {
        return match state.code() {
            "3D000" => PostgresError::NoDatabase { at },
            "42501" => PostgresError::Rights { at, cause: said() },
            code if code.starts_with("28") => PostgresError::Login { at, cause: said() },
            _ => match of_state(state) {
                InboxError::Full => PostgresError::Full { at },
                InboxError::Unreachable | InboxError::Saturated => {
                    PostgresError::Unreachable { at, cause: said() }
                }
                _ => PostgresError::Unopenable { at, cause: said() },
            },
        };
    }
    if is_tls(cause) {
        PostgresError::Tls { at, cause: said() }
    } else if cause.is_closed() || has_io(cause) {
        PostgresError::Unreachable { at, cause: said() }
    } else if cause.source().is_some_and(|it| it.to_string() == "password missing") {
        PostgresError::Login { at, cause: Cause("the server asks for a password".to_owned()) }
    } else {
        PostgresError::Unopenable { at, cause: said() }
    }
}

/// Whether another attempt may go better without anyone doing anything about it.
pub(super) fn may_pass(cause: &PostgresError) -> bool {
    matches!(cause, PostgresError::Unreachable { .. } | PostgresError::ReadOnly { .. })
}

/// Whether the handshake failed, the server has no TLS, or it turned our certificate down a moment later.
pub(super) fn is_tls(cause: &tokio_postgres::Error) -> bool {
    let alert = cause
        .source()
        .and_then(|it| it.downcast_ref::<io::Error>())
        .and_then(io::Error::get_ref)
        .and_then(|it| it.downcast_ref::<rustls::Error>())
        .is_some();
    // The library tells its kinds of errors apart by their texts only; tests/it/postgres holds it to this one.
    alert || cause.to_string() == "error performing TLS handshake"
}

/// Whether the server can be reached and takes no writes.
fn is_read_only(cause: &tokio_postgres::Error) -> bool {
    let passed_over = cause.source().is_some_and(|it| {
        it.downcast_ref::<io::Error>().is_some()
            && it.to_string() == "database does not allow writes"
    });
    passed_over || cause.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

fn has_io(cause: &tokio_postgres::Error) -> bool {
    let mut source = cause.source();
    while let Some(error) = source {
        if error.is::<io::Error>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn of_state(state: &SqlState) -> InboxError {
    let code = state.code();
    match code {
        "53100" => InboxError::Full,
        "25006" => InboxError::ReadOnly,
        // Shut down, crashed, starting up, the session ended for its idleness; a statement, a lock took too long.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "57014" | "55P03" => {
            InboxError::Unreachable
        }
        // Refused logins and databases that are gone, which a running service had reached before.
        _ if code.starts_with("08") || code.starts_with("28") || code.starts_with("3D") => {
            InboxError::Unreachable
        }
        // Out of a resource, or in the way of another transaction.
        _ if code.starts_with("53") || code.starts_with("40") => InboxError::Saturated,
        _ => InboxError::Failed,
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::error::SqlState;

    use super::of_state;
    use crate::inbox::InboxError;

    #[test]
    fn states_of_the_server_are_told_apart_by_what_can_be_done() {
        for (code, expected) in [
            ("53100", InboxError::Full),
            ("53300", InboxError::Saturated),
            ("53200", InboxError::Saturated),
            ("40001", InboxError::Saturated),
            ("40P01", InboxError::Saturated),
            ("57P01", InboxError::Unreachable),
            ("57P02", InboxError::Unreachable),
            ("57P03", InboxError::Unreachable),
            ("57014", InboxError::Unreachable),
            ("55P03", InboxError::Unreachable),
            ("25P03", InboxError::Unreachable),
            ("08006", InboxError::Unreachable),
            ("08P01", InboxError::Unreachable),
            ("28P01", InboxError::Unreachable),
            ("3D000", InboxError::Unreachable),
            ("25006", InboxError::ReadOnly),
            ("23505", InboxError::Failed),
            ("42P01", InboxError::Failed),
            ("42501", InboxError::Failed),
            ("XX001", InboxError::Failed),
            ("58030", InboxError::Failed),
        ] {
            assert_eq!(of_state(&SqlState::from_code(code)), expected, "{code}");
        }
    }
}
