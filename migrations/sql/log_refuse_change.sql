-- What is in the log stays as it is: refuses UPDATE, DELETE and TRUNCATE on the tables that name it as
-- their trigger, for everybody, the owner and superusers included.
CREATE FUNCTION audit.refuse_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% on %.% is refused: what is in the log is never changed or removed',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation',
              HINT = 'Record a correction as a new event.';
END
$$
