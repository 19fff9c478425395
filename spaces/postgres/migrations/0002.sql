-- Who does the work that only one of many servers should do, and until when by the clock of this database.
CREATE TABLE ibgib.leases (
    name bytea PRIMARY KEY,
    holder bytea NOT NULL,
    until timestamptz NOT NULL
) WITH (fillfactor = 10);
