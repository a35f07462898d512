-- What happened to a duty credential stays: when and why it was opened, who used it, that it was voided, who
-- reviewed it.
CREATE FUNCTION desk.duty_goes_forward() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE'
       OR (NEW.id, NEW.centre, NEW.code_hash, NEW.made_at)
          IS DISTINCT FROM (OLD.id, OLD.centre, OLD.code_hash, OLD.made_at)
       OR (OLD.voided_at IS NOT NULL AND NEW.voided_at IS DISTINCT FROM OLD.voided_at)
       OR (OLD.opened_at IS NOT NULL AND (NEW.opened_at, NEW.ends_at, NEW.reason, NEW.opening)
           IS DISTINCT FROM (OLD.opened_at, OLD.ends_at, OLD.reason, OLD.opening))
       OR (OLD.reviewed_at IS NOT NULL AND (NEW.reviewed_at, NEW.reviewed_by, NEW.used_by)
           IS DISTINCT FROM (OLD.reviewed_at, OLD.reviewed_by, OLD.used_by))
       OR NOT NEW.used_by @> OLD.used_by THEN
        RAISE EXCEPTION 'what happened to a duty credential is not taken back'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
