-- What IDaaS said of the user that an event names, asked once per event.
CREATE TABLE details (
    sequence INTEGER PRIMARY KEY,
    -- A JSON object; null where IDaaS knows no such user.
    user TEXT
) STRICT;

-- When IDaaS itself last changed the record, where it has told: what it says of an earlier time is not news.
ALTER TABLE directory ADD COLUMN changed_at INTEGER;
