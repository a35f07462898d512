-- The mark of the database stays as it is: refuses UPDATE, DELETE and TRUNCATE for everybody.
CREATE FUNCTION desk.refuse_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% on %.% is refused: a database stays fictional or real for good',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation',
              HINT = 'Use another database.';
END
$$
