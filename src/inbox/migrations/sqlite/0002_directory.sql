-- Users and organisations of each endpoint, as its events leave them. Written with the event that says so.
CREATE TABLE directory (
    endpoint TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('user', 'organization')),
    id TEXT NOT NULL,
    -- As received, and as names are compared.
    name TEXT,
    name_key TEXT,
    disabled INTEGER NOT NULL DEFAULT 0,
    -- A deleted record stays, so that its id is never given to another.
    deleted INTEGER NOT NULL DEFAULT 0,
    attributes TEXT NOT NULL DEFAULT '{}',
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (endpoint, kind, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX directory_by_name ON directory (endpoint, kind, name_key)
    WHERE deleted = 0 AND name_key IS NOT NULL;

-- For applications that read: these two stay as they are from version to version.
CREATE VIEW users AS
SELECT endpoint,
       id,
       name AS username,
       attributes ->> '$.name' AS name,
       -- The first of several organisations is the primary one.
       coalesce(attributes ->> '$.organizationId', attributes ->> '$.organizationIds[0]') AS organization_id,
       disabled,
       deleted,
       attributes,
       strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000.0, 'unixepoch') AS updated_at
FROM directory
WHERE kind = 'user';

CREATE VIEW organizations AS
SELECT endpoint,
       id,
       name AS code,
       attributes ->> '$.name' AS name,
       attributes ->> '$.parentId' AS parent_id,
       disabled,
       deleted,
       attributes,
       strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000.0, 'unixepoch') AS updated_at
FROM directory
WHERE kind = 'organization';
