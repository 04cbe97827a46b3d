//! Every statement of a commit, right by index whatever the tables hold. Decides nothing about what is written.
//!
//! Rows are looked up in a subquery with `OFFSET 0`, which is planned by itself: joined freely, a table that was
//! nearly empty when it was last analysed would be read as a whole for each commit, however much it has come to
//! hold. What is found is changed by its `ctid`: in the turn nobody moves it, and what a claim has taken meanwhile
//! is passed over.

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
        SELECT asked.place, held.kept_until, held.sequence, held.holder IS NOT NULL, events.id, events.subject, events.reply
        FROM unnest($1::text[], $2::bigint[], $3::bytea[])
             WITH ORDINALITY AS asked (endpoint, signed_at, mac, place)
        CROSS JOIN LATERAL (
            SELECT kept_until, sequence, holder FROM duplicate_keys AS it
            WHERE (it.endpoint, it.signed_at, it.mac) = (asked.endpoint, asked.signed_at, asked.mac)
            OFFSET 0
        ) AS held
        LEFT JOIN LATERAL (
            SELECT id, subject, reply FROM events WHERE events.sequence = held.sequence OFFSET 0
        ) AS events ON TRUE";

    /// Records by id, and live ones by name; one may come twice. What is compared by `IS NOT DISTINCT FROM` is
    /// looked up in no index: without statistics, the primary key's first columns would seem as good as the name.
    records: "
        SELECT found.*
        FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (endpoint, kind, id)
        CROSS JOIN LATERAL (
            SELECT endpoint, kind, id, name, disabled, deleted, attributes, changed_at FROM directory AS it
            WHERE (it.endpoint, it.kind, it.id) = (asked.endpoint, asked.kind, asked.id)
            OFFSET 0
        ) AS found
        UNION ALL
        SELECT found.*
        FROM unnest($4::text[], $5::text[], $6::text[]) AS asked (endpoint, kind, name_key)
        CROSS JOIN LATERAL (
            SELECT endpoint, kind, id, name, disabled, deleted, attributes, changed_at FROM directory AS it
            WHERE it.name_key = asked.name_key AND NOT it.deleted AND it.name_key IS NOT NULL
              AND it.endpoint IS NOT DISTINCT FROM asked.endpoint AND it.kind IS NOT DISTINCT FROM asked.kind
            OFFSET 0
        ) AS found";

    /// The next places in the order of arrival.
    places: "SELECT nextval('events_sequence_seq') FROM generate_series(1, $1::bigint)";

    /// Of keys that nobody has: cheaper than to look once more, and nobody can have taken one since, out of turn.
    insert_keys: "
        INSERT INTO duplicate_keys (endpoint, signed_at, mac, kept_until, sequence, holder)
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::uuid[])";

    hold_keys: "
        INSERT INTO duplicate_keys (endpoint, signed_at, mac, kept_until, sequence, holder)
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::uuid[])
        ON CONFLICT (endpoint, signed_at, mac) DO UPDATE
        SET kept_until = excluded.kept_until, sequence = excluded.sequence, holder = excluded.holder";

    free_keys: "
        DELETE FROM duplicate_keys AS it
        USING unnest($1::text[], $2::bigint[], $3::bytea[]) AS freed (endpoint, signed_at, mac)
        CROSS JOIN LATERAL (
            SELECT ctid, sequence FROM duplicate_keys AS held
            WHERE (held.endpoint, held.signed_at, held.mac) = (freed.endpoint, freed.signed_at, freed.mac)
            OFFSET 0
        ) AS held
        WHERE it.ctid = held.ctid AND held.sequence IS NULL";

    /// Marks the keys of events whose commit got no answer, so that nobody was told that they are stored: the
    /// same request is then no duplicate.
    mark_unanswered: "
        UPDATE duplicate_keys AS it SET holder = $5
        FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::uuid[]) AS doubted (endpoint, signed_at, mac, id)
        CROSS JOIN LATERAL (
            SELECT ctid, sequence FROM duplicate_keys AS held
            WHERE (held.endpoint, held.signed_at, held.mac) = (doubted.endpoint, doubted.signed_at, doubted.mac)
            OFFSET 0
        ) AS held
        CROSS JOIN LATERAL (
            SELECT id FROM events WHERE events.sequence = held.sequence OFFSET 0
        ) AS stored
        WHERE it.ctid = held.ctid AND stored.id = doubted.id";

    /// Gives back what was reserved by a commit that got no answer: whoever asked for it does not know of it.
    free_unanswered: "
        DELETE FROM duplicate_keys AS it
        USING unnest($1::text[], $2::bigint[], $3::bytea[], $4::bigint[]) AS doubted (endpoint, signed_at, mac, until)
        CROSS JOIN LATERAL (
            SELECT ctid, sequence, holder, kept_until FROM duplicate_keys AS held
            WHERE (held.endpoint, held.signed_at, held.mac) = (doubted.endpoint, doubted.signed_at, doubted.mac)
            OFFSET 0
        ) AS held
        WHERE it.ctid = held.ctid AND held.sequence IS NULL AND held.holder = $5 AND held.kept_until = doubted.until";

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
        UPDATE directory AS it SET name_key = NULL
        FROM unnest($1::text[], $2::text[], $3::text[]) AS renamed (endpoint, kind, id)
        CROSS JOIN LATERAL (
            SELECT ctid FROM directory AS found
            WHERE (found.endpoint, found.kind, found.id) = (renamed.endpoint, renamed.kind, renamed.id)
            OFFSET 0
        ) AS found
        WHERE it.ctid = found.ctid";

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

    finish: "
        UPDATE deliveries AS it
        SET state = ended.state, attempts = ended.attempts, next_attempt_at = ended.next_attempt_at,
            lease_until = NULL, last_error = coalesce(ended.error, it.last_error)
        FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::smallint[], $5::integer[], $6::bigint[],
                    $7::text[])
             WITH ORDINALITY AS ended (sequence, handler, claim, state, attempts, next_attempt_at, error, place)
        CROSS JOIN LATERAL (
            SELECT ctid, claims, state FROM deliveries AS found
            WHERE found.sequence = ended.sequence AND found.handler = ended.handler
            OFFSET 0
        ) AS found
        WHERE it.ctid = found.ctid AND found.claims = ended.claim AND found.state = 1
        RETURNING ended.place";

    /// One delivery that ran has ended, so its subject's next one may go. Not where the lease had been lost, so
    /// that `finish` has not written it in this transaction: another one of the subject may run by now.
    admit_next: "
        UPDATE deliveries AS it SET next_attempt_at = freed.now
        FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS freed (sequence, handler, subject_key, now)
        CROSS JOIN LATERAL (
            SELECT xmin FROM deliveries AS ended
            WHERE ended.sequence = freed.sequence AND ended.handler = freed.handler
            OFFSET 0
        ) AS ended
        CROSS JOIN LATERAL (
            SELECT ctid, state, next_attempt_at FROM deliveries AS oldest
            WHERE oldest.handler = freed.handler AND oldest.subject_key = freed.subject_key
              AND oldest.state <= 1
            ORDER BY oldest.sequence LIMIT 1
        ) AS first
        WHERE it.ctid = first.ctid AND first.state = 0 AND first.next_attempt_at IS NULL
          AND ended.xmin = pg_current_xact_id()::xid";

    /// What has to wait again gives way to an older one that was asked for meanwhile.
    yield_to_older: "
        UPDATE deliveries AS it SET next_attempt_at = NULL
        FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS again (sequence, handler, subject_key)
        CROSS JOIN LATERAL (
            SELECT ctid, state, next_attempt_at FROM deliveries AS found
            WHERE found.sequence = again.sequence AND found.handler = again.handler
            OFFSET 0
        ) AS found
        WHERE it.ctid = found.ctid AND found.state = 0 AND found.next_attempt_at IS NOT NULL
          AND EXISTS (
              SELECT 1 FROM deliveries AS older
              WHERE older.handler = again.handler AND older.subject_key = again.subject_key
                AND older.state <= 1 AND older.sequence < again.sequence
              OFFSET 0
          )";

    extend: "
        UPDATE deliveries AS it SET lease_until = held.until
        FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS held (sequence, handler, claim, until)
        CROSS JOIN LATERAL (
            SELECT ctid, claims, state FROM deliveries AS found
            WHERE found.sequence = held.sequence AND found.handler = held.handler
            OFFSET 0
        ) AS found
        WHERE it.ctid = found.ctid AND found.claims = held.claim AND found.state = 1";

    notify: "SELECT pg_notify('bamboohook', $1)";

    /// Writes for the sake of writing: only this shows that the store takes data.
    prove: "UPDATE schema_versions SET applied_at = applied_at WHERE version = 1";
}
