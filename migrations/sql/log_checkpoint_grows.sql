-- Checkpoints of a log only get larger, and none speaks of more leaves than there are. The lock makes
-- two insertions at once look one after the other.
CREATE FUNCTION audit.checkpoint_grows() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    last_size bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audit.checkpoint ' || NEW.log, 0));
    SELECT max(checkpoint.size) INTO last_size FROM audit.checkpoint AS checkpoint WHERE checkpoint.log = NEW.log;
    IF NEW.size < last_size THEN
        RAISE EXCEPTION 'a checkpoint of % leaves of log % is refused: one of % leaves is already there',
            NEW.size, NEW.log, last_size
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.size > 0 AND NOT EXISTS (
        SELECT FROM audit.leaf AS leaf WHERE leaf.log = NEW.log AND leaf.index = NEW.size - 1)
    THEN
        RAISE EXCEPTION 'a checkpoint of % leaves of log % is refused: the log has fewer leaves',
            NEW.size, NEW.log
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$
