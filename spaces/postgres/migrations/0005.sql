-- Servers keep nodes that they have read, which never change. That some are gone, or were changed by hand, they learn here.
ALTER TABLE ibgib.space ADD COLUMN swept bigint NOT NULL DEFAULT 0;

CREATE FUNCTION ibgib.note_swept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ibgib.space SET swept = swept + 1;
    RETURN NULL;
END $$;

CREATE TRIGGER swept AFTER DELETE OR UPDATE OR TRUNCATE ON ibgib.nodes
    FOR EACH STATEMENT EXECUTE FUNCTION ibgib.note_swept();
