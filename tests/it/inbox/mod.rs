//! What every store promises, as one list of cases, and what SQLite alone can get into. Knows no HTTP.

use std::sync::Arc;
use std::time::Duration;

use bamboohook::inbox::Inbox;
use bamboohook::inbox::PostgresInbox;
use bamboohook::inbox::PostgresOptions;
use bamboohook::inbox::SqliteInbox;
use jiff::Timestamp;
use secrecy::SecretString;
use tempfile::TempDir;

use crate::support::postgres::Database;

mod cases;
mod postgres;
mod record_cases;
mod sqlite;

/// A store that can be opened, closed, and opened again with what is in it.
trait Stores {
    async fn open(&self, now: Timestamp) -> Arc<dyn Inbox>;
}

struct SqliteFile(TempDir);

impl SqliteFile {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }
}

impl Stores for SqliteFile {
    async fn open(&self, now: Timestamp) -> Arc<dyn Inbox> {
        Arc::new(SqliteInbox::open(&self.0.path().join("store.db"), now).unwrap())
    }
}

struct PostgresDatabase(Database);

impl Stores for PostgresDatabase {
    async fn open(&self, _now: Timestamp) -> Arc<dyn Inbox> {
        let url = SecretString::from(self.0.url());
        let options = PostgresOptions::new(&url, None, 4, Duration::from_secs(30)).unwrap();
        Arc::new(PostgresInbox::open(options).await.unwrap())
    }
}

/// Every store passes the same list.
macro_rules! on_every_store {
    ($($list:ident { $($case:ident,)* })*) => {
        mod on_sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    super::$list::$case(&super::SqliteFile::new()).await;
                }
            )*)*
        }

        mod on_postgres {
            $($(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    if let Some(database) = super::Database::create().await {
                        super::$list::$case(&super::PostgresDatabase(database)).await;
                    }
                }
            )*)*
        }
    };
}

on_every_store! {
    cases {
        an_event_is_stored_with_its_key_and_a_delivery_for_each_handler,
        a_new_subject_gets_an_id_that_the_reply_names,
        a_key_is_of_its_endpoint_and_its_time,
        a_key_is_taken_until_its_time_is_over_and_not_before,
        of_many_concurrent_accepts_of_one_key_exactly_one_stores,
        events_of_one_subject_come_one_after_another,
        events_of_one_moment_and_subject_come_one_after_another,
        subjects_handlers_and_endpoints_do_not_wait_for_each_other,
        events_without_a_subject_have_no_order,
        a_retry_holds_its_subject_back,
        a_dead_delivery_holds_nothing_back,
        a_released_delivery_has_not_been_attempted,
        what_is_released_twice_ends_nobody_elses_attempt,
        order_holds_under_any_outcomes,
        a_lease_that_ran_out_goes_to_someone_else,
        an_extended_lease_is_not_recovered_before_its_new_end,
        a_lost_lease_cannot_be_extended,
        a_claim_takes_no_more_than_asked_and_says_what_is_next,
        the_longest_due_is_claimed_first,
        pruning_takes_expired_keys,
        pruning_takes_old_finished_events_only,
        pruning_goes_in_steps,
        the_newest_event_stays,
        arrivals_are_signalled,
        a_closed_store_says_so,
        what_was_accepted_is_there_after_reopening,
        text_of_any_kind_comes_back_as_it_went_in,
    }
    record_cases {
        a_name_is_one_record_for_as_long_as_it_lives,
        of_many_concurrent_creates_of_one_name_all_get_one_id,
        a_create_without_a_name_is_someone_new,
        a_deletion_of_something_unknown_is_stored_and_says_so,
        a_refused_change_leaves_no_trace,
        refusals_among_many_refuse_nobody_else,
        a_reserved_key_runs_until_its_event_is_accepted,
        a_released_key_is_free_again,
        what_is_released_at_the_moment_of_its_acceptance_stays_accepted,
        a_reservation_ends_with_its_time_and_with_its_process,
        of_many_concurrent_reservations_exactly_one_holds,
        a_reservation_tells_whom_the_event_is_about,
        a_reservation_is_refused_where_the_event_would_be,
        a_name_that_was_taken_meanwhile_is_refused_after_all,
        pruning_takes_reservations_that_are_over,
        deliveries_of_a_new_record_keep_their_order,
        what_idaas_says_of_a_deleted_record_takes_no_name_from_a_live_one,
        names_that_change_hands_at_one_moment_have_one_holder,
        a_record_that_loses_its_name_was_changed_then,
    }
}
