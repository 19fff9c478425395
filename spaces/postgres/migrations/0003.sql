-- What is only staged is not written to the log of the database: when the database crashes, or a standby takes over, nothing
-- is staged any more, and is sent again. A commit that would have published it finds that it is not there.
ALTER TABLE ibgib.staged SET UNLOGGED;
