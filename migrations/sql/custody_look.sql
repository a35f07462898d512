-- Reading: whose eyes look is set first; row-level security then limits what can be seen.

-- One value of the context of this transaction; a setting once used and gone reads '' and means none.
CREATE FUNCTION custody.mine(what text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT nullif(current_setting('custody.' || what, true), '') $$;

CREATE FUNCTION custody.enter(actor jsonb) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('custody.person', coalesce(actor ->> 'person', ''), true),
            set_config('custody.function', coalesce(actor ->> 'function', ''), true),
            set_config('custody.organisation', coalesce(actor ->> 'organisation', ''), true),
            set_config('custody.card', coalesce(actor ->> 'card', ''), true);
END $$;

-- Look at kits: the context, the projections, then the clock, in this order; the clock must not be older
-- than what was read.
CREATE FUNCTION custody.look(actor jsonb, kits text[]) RETURNS TABLE (at timestamptz, documents jsonb)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM custody.enter(actor);
    SELECT coalesce(jsonb_object_agg(k.number, k.document), '{}') INTO documents
    FROM custody.kit k WHERE k.number = ANY (kits);
    at := custody.clock();
    RETURN NEXT;
END $$;

-- Where other trails stand: number, digest, time. Heads say nothing about a kit to whom it is not visible,
-- so kits are looked at above.
CREATE FUNCTION custody.heads(subjects text[]) RETURNS TABLE (
    subject text, number integer, digest text, recorded_at timestamptz, at timestamptz
)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s, coalesce(h.number, 0), encode(h.digest, 'hex'), h.recorded_at, custody.clock()
    FROM unnest(subjects) s LEFT JOIN custody.head h ON h.subject = s
    WHERE split_part(s, ':', 1) NOT IN ('custody', 'choices')
$$;

-- The receipts of a command that was carried out before, for a retry with the same key.
CREATE FUNCTION custody.receipts(author text, key text) RETURNS TABLE (
    subject text, number integer, digest bytea, recorded_at timestamptz, type text, command bytea
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.subject, e.number, e.digest, e.recorded_at, e.type, e.command FROM custody.event e
    WHERE e.person = author AND e.idempotency_key = key ORDER BY e.ordinal
$$;

-- Record that somebody read: chained by reader, salted, and queued for the second log.
CREATE FUNCTION custody.record_access(expected integer, bytes_ bytea, kit_ text) RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v jsonb;
    h custody.head;
    digest_ bytea := sha256(bytes_);
    at timestamptz;
    wrong text := custody.spelled(bytes_);
BEGIN
    IF wrong IS NOT NULL OR bytes_ IS NULL THEN
        RAISE EXCEPTION 'these bytes are not an event: %', coalesce(wrong, 'none') USING ERRCODE = 'CU003';
    END IF;
    v := convert_from(bytes_, 'UTF8')::jsonb;
    at := (v ->> 'recorded_at')::timestamptz;
    INSERT INTO custody.head (subject, number) VALUES (v ->> 'subject', 0) ON CONFLICT DO NOTHING;
    SELECT * INTO h FROM custody.head x WHERE x.subject = v ->> 'subject' FOR UPDATE;
    IF h.number IS DISTINCT FROM expected THEN
        RAISE EXCEPTION 'the trail has moved on' USING ERRCODE = 'CU001';
    END IF;
    IF v ->> 'type' IS DISTINCT FROM 'access.recorded'
       OR split_part(v ->> 'subject', ':', 1) IS DISTINCT FROM 'reads'
       OR v ->> 'kit' IS DISTINCT FROM kit_
       OR NOT EXISTS (SELECT FROM custody.step s WHERE s.type = 'access.recorded' AND v ?& s.needs)
       OR EXISTS (
           SELECT FROM custody.step s, jsonb_object_keys(v) f
           WHERE s.type = 'access.recorded' AND f <> ALL (s.needs || s.may || ARRAY[
               'format', 'type', 'subject', 'number', 'previous', 'recorded_at', 'who', 'salt']))
       OR (v ->> 'number')::int IS DISTINCT FROM h.number + 1
       OR v ->> 'previous' IS DISTINCT FROM encode(h.digest, 'hex')
       OR (h.recorded_at IS NOT NULL AND at < h.recorded_at)
       OR (at > custody.clock() AND at IS DISTINCT FROM h.recorded_at) THEN
        RAISE EXCEPTION 'this record does not follow its trail' USING ERRCODE = 'CU003';
    END IF;
    INSERT INTO custody.access (digest, subject, number, recorded_at, kit, centre, bytes)
    VALUES (digest_, h.subject, h.number + 1, at, kit_,
            (SELECT k.centre FROM custody.kit k WHERE k.number = kit_), bytes_);
    UPDATE custody.head x SET number = h.number + 1, digest = digest_, recorded_at = at
    WHERE x.subject = h.subject;
    INSERT INTO audit.pending (log, digest) VALUES ('reads', digest_);
    RETURN digest_;
END $$;
