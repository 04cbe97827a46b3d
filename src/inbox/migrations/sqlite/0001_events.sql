-- Events in order of arrival.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    endpoint TEXT NOT NULL,
    dialect TEXT NOT NULL,
    event TEXT NOT NULL,
    subject TEXT,
    nonce TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    -- Milliseconds since 1970, like every time below.
    requested_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    message TEXT NOT NULL,
    -- The plain text of the answer's data.
    reply TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_by_id ON events (id);

-- The claim of a signed request. The signed time stands before the MAC: with the MAC first, every
-- row would dirty another page.
CREATE TABLE duplicate_keys (
    endpoint TEXT NOT NULL,
    signed_at INTEGER NOT NULL,
    mac BLOB NOT NULL,
    kept_until INTEGER NOT NULL,
    -- Null while inline handlers run, whose claim ends at kept_until.
    sequence INTEGER,
    PRIMARY KEY (endpoint, signed_at, mac)
) STRICT, WITHOUT ROWID;

CREATE INDEX duplicate_keys_by_end ON duplicate_keys (kept_until);

CREATE TABLE deliveries (
    sequence INTEGER NOT NULL,
    handler TEXT NOT NULL,
    -- A digest of endpoint and subject; null where the event has no subject, hence no order.
    subject_key INTEGER,
    -- 0 waiting, 1 running, 2 done, 3 dead.
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    -- Null where an older delivery of the subject has to be finished first.
    next_attempt_at INTEGER,
    lease_until INTEGER,
    last_error TEXT,
    PRIMARY KEY (sequence, handler)
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_due ON deliveries (handler, next_attempt_at, sequence)
    WHERE state = 0 AND next_attempt_at IS NOT NULL;

CREATE INDEX deliveries_of_subject ON deliveries (handler, subject_key, sequence)
    WHERE state <= 1 AND subject_key IS NOT NULL;

CREATE INDEX deliveries_leased ON deliveries (lease_until)
    WHERE state = 1;
