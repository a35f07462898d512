-- A tile only grows: an UPDATE keeps log, level and index and appends hashes to the ones that are there
-- (C2SP tlog-tiles: a partial tile becomes a wider one, never another one).
CREATE FUNCTION audit.tile_grows() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (NEW.log, NEW.level, NEW.index) IS DISTINCT FROM (OLD.log, OLD.level, OLD.index)
        OR length(NEW.hashes) < length(OLD.hashes)
        OR substring(NEW.hashes FROM 1 FOR length(OLD.hashes)) <> OLD.hashes
    THEN
        RAISE EXCEPTION 'the change of tile %/% of log % is refused: a tile may only get further hashes',
            OLD.level, OLD.index, OLD.log
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$
