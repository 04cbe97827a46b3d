//! Every statement of a commit, right by index whatever the tables hold. Decides nothing about what is written.

use tokio_postgres::Client;
use tokio_postgres::Error;
use tokio_postgres::Statement;

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident: $sql:expr;)*) => {
        /// Prepared on one connection.
        pub(super) struct Statements {
            $($(#[$doc])* pub(super) $name: Statement,)*
        }

        impl Statements {
            pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
                $(let $name = client.prepare($sql).await?;)*
                Ok(Self { $($name,)* })
            }
        }
    };
}

statements! {
    take_turn: "SELECT pg_advisory_xact_lock($1)";

    /// Who holds these duplicate keys, with what became of their events.
    held_keys: "
        SELECT asked.place, held.kept_until, held.sequence, held.unanswered, events.id, events.subject, events.reply
        FROM unnest($1::text[], $2::bigint[], $3::bytea[])
             WITH ORDINALITY AS asked (endpoint, signed_at, mac, place)
        JOIN duplicate_keys AS held USING (endpoint, signed_at, mac)
        LEFT JOIN events ON events.sequence = held.sequence";

    /// Records by id, and live ones by name; one may come twice. What is compared by `IS NOT DISTINCT FROM` is
    /// looked up in no index: without statistics, the primary key's first columns would seem as good as the name.
    records: "
        SELECT endpoint, kind, id, name, disabled, deleted, attributes, changed_at
        FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (endpoint, kind, id)
        JOIN directory USING (endpoint, kind, id)
        UNION ALL
        SELECT endpoint, kind, id, name, disabled, deleted, attributes, changed_at
        FROM unnest($4::text[], $5::text[], $6::text[]) AS asked (of_endpoint, of_kind, name_key)
        JOIN directory USING (name_key)
        WHERE endpoint IS NOT DISTINCT FROM of_endpoint AND kind IS NOT DISTINCT FROM of_kind
          AND NOT deleted AND name_key IS NOT NULL";

    /// The next places in the order of arrival.
    places: "SELECT nextval('events_sequence_seq') FROM generate_series(1, $1::bigint)";

    hold_keys: "
        INSERT INTO duplicate_keys (endpoint, signed_at, mac, kept_until, sequence)
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[])
        ON CONFLICT (endpoint, signed_at, mac) DO UPDATE
        SET kept_until = excluded.kept_until, sequence = excluded.sequence, unanswered = false";

    free_keys: "
        DELETE FROM duplicate_keys AS held
        USING unnest($1::text[], $2::bigint[], $3::bytea[]) AS freed (endpoint, signed_at, mac)
        WHERE (held.endpoint, held.signed_at, held.mac) = (freed.endpoint, freed.signed_at, freed.mac)
          AND held.sequence IS NULL";

    /// Marks the keys of events whose commit got no answer, so that nobody was told that they are stored: the
    /// same request is then no duplicate.
    mark_unanswered: "
        UPDATE duplicate_keys AS held SET unanswered = true
        FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::uuid[]) AS doubted (endpoint, signed_at, mac, id)
        JOIN events ON events.id = doubted.id
        WHERE (held.endpoint, held.signed_at, held.mac) = (doubted.endpoint, doubted.signed_at, doubted.mac)
          AND held.sequence = events.sequence";

    insert_events: "
        INSERT INTO events (sequence, id, endpoint, dialect, event, subject, nonce, timestamp,
                            requested_at, received_at, message, reply)
        SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                             $8::text[], $9::bigint[], $10::bigint[], $11::bytea[], $12::bytea[])";

    /// A delivery waits for a time of its own only where its subject has no older one that is unfinished,
    /// in this statement (`follows`) or in the table.
    insert_deliveries: "
        INSERT INTO deliveries (sequence, handler, subject_key, state, attempts, next_attempt_at)
        SELECT sequence, handler, subject_key, 0, 0,
               CASE WHEN follows OR EXISTS (
                   SELECT 1 FROM deliveries AS older
                   WHERE older.handler = added.handler AND older.subject_key = added.subject_key
                     AND older.state <= 1
               ) THEN NULL ELSE due END
        FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[])
             AS added (sequence, handler, subject_key, due, follows)";

    /// Frees names that change hands within one commit, before they are given to others.
    clear_names: "
        UPDATE directory SET name_key = NULL
        FROM unnest($1::text[], $2::text[], $3::text[]) AS renamed (endpoint, kind, id)
        WHERE (directory.endpoint, directory.kind, directory.id) = (renamed.endpoint, renamed.kind, renamed.id)";

    write_records: "
        INSERT INTO directory (endpoint, kind, id, name, name_key, disabled, deleted, attributes,
                               updated_at, changed_at)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[],
                             $7::boolean[], $8::text[], $9::bigint[], $10::bigint[])
        ON CONFLICT (endpoint, kind, id) DO UPDATE
        SET name = excluded.name, name_key = excluded.name_key, disabled = excluded.disabled,
            deleted = excluded.deleted, attributes = excluded.attributes,
            updated_at = excluded.updated_at, changed_at = excluded.changed_at";

    write_details: "
        INSERT INTO details (sequence, \"user\")
        SELECT * FROM unnest($1::bigint[], $2::text[])
        ON CONFLICT (sequence) DO UPDATE SET \"user\" = excluded.\"user\"";

    /// The attempt's number is the proof of the lease: whoever claimed it since has raised it.
    finish: "
        UPDATE deliveries AS it
        SET state = ended.state, attempts = ended.attempts, next_attempt_at = ended.next_attempt_at,
            lease_until = NULL, last_error = coalesce(ended.error, it.last_error)
        FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::smallint[], $5::integer[], $6::bigint[],
                    $7::text[])
             WITH ORDINALITY AS ended (sequence, handler, attempt, state, attempts, next_attempt_at, error, place)
        WHERE it.sequence = ended.sequence AND it.handler = ended.handler
          AND it.attempts = ended.attempt AND it.state = 1
        RETURNING ended.place";

    /// One delivery that ran has ended, so its subject's next one may go. Not where the lease had been lost
    /// and someone else's attempt runs.
    admit_next: "
        WITH oldest AS MATERIALIZED (
            SELECT freed.handler, freed.now, (
                SELECT it.sequence FROM deliveries AS it
                WHERE it.handler = freed.handler AND it.subject_key = freed.subject_key AND it.state <= 1
                ORDER BY it.sequence LIMIT 1
            ) AS sequence
            FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS freed (sequence, handler, subject_key, now)
            JOIN deliveries AS ended ON ended.sequence = freed.sequence AND ended.handler = freed.handler
            WHERE ended.state <> 1
        )
        UPDATE deliveries AS it SET next_attempt_at = oldest.now
        FROM oldest
        WHERE it.sequence = oldest.sequence AND it.handler = oldest.handler
          AND it.state = 0 AND it.next_attempt_at IS NULL";

    /// What has to wait again gives way to an older one that was asked for meanwhile.
    yield_to_older: "
        UPDATE deliveries AS it SET next_attempt_at = NULL
        FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS again (sequence, handler, subject_key)
        WHERE it.sequence = again.sequence AND it.handler = again.handler AND it.state = 0
          AND EXISTS (
              SELECT 1 FROM deliveries AS older
              WHERE older.handler = again.handler AND older.subject_key = again.subject_key
                AND older.state <= 1 AND older.sequence < again.sequence
          )";

    extend: "
        UPDATE deliveries AS it SET lease_until = held.until
        FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::bigint[]) AS held (sequence, handler, attempt, until)
        WHERE it.sequence = held.sequence AND it.handler = held.handler
          AND it.attempts = held.attempt AND it.state = 1";

    notify: "SELECT pg_notify('bamboohook', $1)";

    /// Writes for the sake of writing: only this shows that the store takes data.
    prove: "UPDATE schema_versions SET applied_at = applied_at WHERE version = 1";
}
