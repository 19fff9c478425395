-- Texts are bytes: an address or a key may hold what a text of the database's encoding cannot. Where one may be longer
-- than an entry of an index, its SHA-256 is the key.

-- The space itself, one row. Whoever writes locks it first, so that writes happen one after the other, and the order of
-- revisions is the order of commits.
CREATE TABLE ibgib.space (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id bytea NOT NULL CHECK (length(id) = 32),
    revision bigint NOT NULL DEFAULT 0,
    nodes bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

-- Committed nodes. `text` is the JSON text compressed by zstd, `size` its length before.
CREATE TABLE ibgib.nodes (
    hash bytea PRIMARY KEY,
    addr bytea NOT NULL,
    size integer NOT NULL,
    text bytea NOT NULL
);
ALTER TABLE ibgib.nodes ALTER COLUMN text SET STORAGE EXTERNAL;

-- What is kept apart for an owner, whose SHA-256 stands here. Of what is committed too, only `ibgib.nodes` counts.
CREATE TABLE ibgib.staged (
    owner bytea NOT NULL,
    hash bytea NOT NULL,
    addr bytea NOT NULL,
    size integer NOT NULL,
    text bytea NOT NULL,
    PRIMARY KEY (owner, hash)
);
ALTER TABLE ibgib.staged ALTER COLUMN text SET STORAGE EXTERNAL;

-- `hash` is that of the timeline's first frame, `moved_at` the revision of the last move.
CREATE TABLE ibgib.tips (
    hash bytea PRIMARY KEY,
    tjp bytea NOT NULL,
    addr bytea NOT NULL,
    n bigint,
    kind smallint NOT NULL,
    moved_at bigint NOT NULL
);
CREATE INDEX tips_moved_at ON ibgib.tips (moved_at);

CREATE TABLE ibgib.records (
    digest bytea PRIMARY KEY,
    key bytea NOT NULL,
    value bytea NOT NULL
);
-- Keys that begin alike stand together, as far as an entry of an index reaches.
CREATE INDEX records_key ON ibgib.records (substr(key, 1, 512));

-- The last revisions, each with the random id of the write that made it: by it a writer whose connection broke while it
-- committed finds out whether it did.
CREATE TABLE ibgib.writes (
    revision bigint PRIMARY KEY,
    id bytea NOT NULL UNIQUE
);
