-- What happened to a duty credential stays: when and why it was opened, who used it, that it was voided, who
-- reviewed it. And nothing of it happens beside the trail of the centre: an opening, another user and a review
-- each need their event there. The review voids the credential by itself; otherwise only the clerk's role does.
CREATE FUNCTION desk.duty_event(digest_ bytea, type_ text, centre_ text, since timestamptz) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT convert_from(e.bytes, 'UTF8')::jsonb || jsonb_build_object('at', e.recorded_at)
    FROM custody.event e
    WHERE e.digest = digest_ AND e.type = type_ AND e.subject = 'organisation:' || centre_
      AND e.recorded_at >= since
$$;

CREATE FUNCTION desk.duty_goes_forward() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    told jsonb;
BEGIN
    IF TG_OP = 'DELETE'
       OR (NEW.id, NEW.centre, NEW.code_hash, NEW.made_at)
          IS DISTINCT FROM (OLD.id, OLD.centre, OLD.code_hash, OLD.made_at)
       OR (OLD.voided_at IS NOT NULL AND NEW.voided_at IS DISTINCT FROM OLD.voided_at)
       OR (OLD.opened_at IS NOT NULL AND (NEW.opened_at, NEW.ends_at, NEW.reason, NEW.opening)
           IS DISTINCT FROM (OLD.opened_at, OLD.ends_at, OLD.reason, OLD.opening))
       OR (OLD.reviewed_at IS NOT NULL AND (NEW.reviewed_at, NEW.reviewed_by, NEW.review, NEW.used_by)
           IS DISTINCT FROM (OLD.reviewed_at, OLD.reviewed_by, OLD.review, OLD.used_by))
       OR NOT NEW.used_by @> OLD.used_by THEN
        RAISE EXCEPTION 'what happened to a duty credential is not taken back'
            USING ERRCODE = 'insufficient_privilege';
    END IF;

    IF OLD.opened_at IS NULL AND NEW.opened_at IS NOT NULL THEN
        told := desk.duty_event(NEW.opening, 'duty.opened', NEW.centre, OLD.made_at);
        IF told IS NULL OR (told ->> 'at')::timestamptz <> NEW.opened_at
           OR told ->> 'reason' <> NEW.reason
           OR EXISTS (SELECT FROM desk.duty_credential c WHERE c.opening = NEW.opening) THEN
            RAISE EXCEPTION 'the opening of a duty credential stands in the trail of its centre first'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    END IF;

    IF EXISTS (
        SELECT FROM unnest(NEW.used_by) AS one (person)
        WHERE one.person <> ALL (OLD.used_by) AND NOT EXISTS (
            SELECT FROM custody.event e
            WHERE e.subject = 'organisation:' || NEW.centre AND e.type IN ('duty.opened', 'duty.used')
              AND e.recorded_at >= OLD.made_at
              AND convert_from(e.bytes, 'UTF8')::jsonb #>> '{who,person}' = one.person
        )
    ) THEN
        RAISE EXCEPTION 'the use of a duty credential stands in the trail of its centre first'
            USING ERRCODE = 'insufficient_privilege';
    END IF;

    IF OLD.reviewed_at IS NULL AND NEW.reviewed_at IS NOT NULL THEN
        told := desk.duty_event(NEW.review, 'duty.reviewed', NEW.centre, OLD.opened_at);
        IF told IS NULL OR (told ->> 'at')::timestamptz <> NEW.reviewed_at
           OR told #>> '{who,person}' <> NEW.reviewed_by
           OR NOT coalesce(told -> 'cites' @> to_jsonb(encode(OLD.opening, 'hex')), false) THEN
            RAISE EXCEPTION 'the review of a duty credential stands in the trail of its centre first'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        IF EXISTS (
            SELECT FROM unnest(NEW.used_by) AS one (person)
            WHERE custody.human(one.person) = custody.human(NEW.reviewed_by)
        ) THEN
            RAISE EXCEPTION 'who used a duty credential does not review it'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        NEW.voided_at := coalesce(NEW.voided_at, NEW.reviewed_at);
    END IF;
    RETURN NEW;
END $$;
