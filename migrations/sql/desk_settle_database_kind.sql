-- Says whether this database is for fictional or for real kits. The first start decides; nothing changes it
-- afterwards. A database that holds kits and no mark is real, whoever asks. Two first starts at once: the
-- row of one is there, and both are told the same.
CREATE FUNCTION desk.settle_database_kind(wanted text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    settled text;
BEGIN
    IF wanted IS NULL OR wanted NOT IN ('fictional', 'real') THEN
        RAISE EXCEPTION 'a database is either fictional or real' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO desk.database_kind (kind, set_at)
    SELECT CASE WHEN EXISTS (SELECT FROM custody.kit) THEN 'real' ELSE wanted END, custody.clock()
    WHERE NOT EXISTS (SELECT FROM desk.database_kind)
    ON CONFLICT DO NOTHING;
    SELECT kind INTO STRICT settled FROM desk.database_kind;
    RETURN settled;
END
$$
