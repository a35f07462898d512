-- What happened is never changed or removed: for everybody, the owner and superusers included, and even
-- with session_replication_role = replica (the triggers are ENABLE ALWAYS).
CREATE FUNCTION custody.refuse_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% on %.% is refused: what is recorded is never changed or removed',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation',
              HINT = 'A mistake is followed by a correction, which is an event of its own.';
END $$;
