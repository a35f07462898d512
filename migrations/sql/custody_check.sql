-- custody.append_for_clock: the steps of the scheduled check, many kits in one transaction.
--
-- What custody.append does event by event stands here as a few statements over all rows: the same checks, with the
-- same SQLSTATEs, and the same rows with the same bytes. A test holds the two against each other. Only the clerk
-- calls it, only as the clock, and only with five types of event, one or two of a kit.
--   keys     the Idempotency-Key of each event; its command is the key itself
--   events   the exact bytes, in the order of each trail
--   changes  {"kit number": {"custody": n, "choices": n, "set": {…}, "gone": […]}}: where both trails of the kit
--            stood when it was looked at, and what is other in its document afterwards
-- A kit whose trails were extended since is left out. Answers the kits that were written.
CREATE FUNCTION custody.append_for_clock(keys text[], events bytea[], changes jsonb) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    wrong text;
    state text;
    told jsonb[];   -- the events, read
    kits text[];    -- the kit of each
    turns int[];    -- which of its kit's events each is
    lasts boolean[];
    ordinals int[];
    moved text[];
    turn int;
    now_ timestamptz;
BEGIN
    IF session_user <> 'custody_clerk' THEN
        RAISE EXCEPTION 'only the clock writes as the clock, and the clerk as nobody else' USING ERRCODE = 'CU003';
    END IF;
    IF cardinality(keys) IS DISTINCT FROM cardinality(events) THEN
        RAISE EXCEPTION 'each event has a key of its own' USING ERRCODE = 'CU003';
    END IF;
    BEGIN
        SELECT array_agg(v ORDER BY n), array_agg(kit ORDER BY n), array_agg(turn_ ORDER BY n),
               array_agg(turn_ = of_kit ORDER BY n), array_agg(ordinal ORDER BY n)
        INTO told, kits, turns, lasts, ordinals
        FROM (
            SELECT n, v, kit, row_number() OVER (PARTITION BY kit ORDER BY n)::int AS turn_,
                   (count(*) OVER (PARTITION BY kit))::int AS of_kit,
                   (row_number() OVER (PARTITION BY key ORDER BY n) - 1)::int AS ordinal
            FROM (
                SELECT n, key, v, split_part(v ->> 'subject', ':', 2) AS kit
                FROM unnest(events, keys) WITH ORDINALITY u (e, key, n),
                     LATERAL (SELECT convert_from(e, 'UTF8')::jsonb OFFSET 0) r (v)
            ) read
        ) counted;
    EXCEPTION WHEN data_exception THEN
        RAISE EXCEPTION 'these bytes are not an event: no JSON object' USING ERRCODE = 'CU003';
    END;
    IF EXISTS (
        SELECT FROM unnest(told, kits) u (v, kit)
        WHERE v ->> 'subject' IS DISTINCT FROM 'choices:' || kit OR NOT changes ? kit
           OR v ->> 'type' NOT IN ('notice.due', 'notice.repeated', 'notice.attempted', 'term.expired',
                                   'destruction.cooled_off')
           OR (v ->> 'type' = 'notice.attempted' AND v ->> 'how' IS DISTINCT FROM 'not_wanted')
    ) OR EXISTS (SELECT FROM unnest(turns) t WHERE t > 2)
      OR EXISTS (
        -- What these steps have nothing to do with: the packages' columns and the parties follow from it.
        SELECT FROM jsonb_each(changes) c
        WHERE c.key <> ALL (kits)
           OR (c.value -> 'set') ?| ARRAY['number', 'centre', 'legal', 'link', 'packages', 'handovers', 'readers',
                                          'custody_head']
           OR (c.value -> 'gone') ?| ARRAY['number', 'centre', 'legal', 'link', 'packages', 'handovers', 'readers',
                                           'custody_head']) THEN
        RAISE EXCEPTION 'this is no step of the scheduled check' USING ERRCODE = 'CU003';
    END IF;
    -- Always the same order, as in custody.append, so that nobody waits in a circle.
    PERFORM FROM custody.head x
    WHERE x.subject = ANY (ARRAY(SELECT a || ':' || c FROM jsonb_object_keys(changes) c,
                                        unnest(ARRAY['choices', 'custody']) a))
    ORDER BY x.subject FOR UPDATE;
    SELECT coalesce(array_agg(c.key), '{}') INTO moved
    FROM jsonb_each(changes) c
    LEFT JOIN custody.head a ON a.subject = 'choices:' || c.key
    LEFT JOIN custody.head b ON b.subject = 'custody:' || c.key
    WHERE coalesce(a.number, 0) IS DISTINCT FROM (c.value ->> 'choices')::int
       OR coalesce(b.number, 0) IS DISTINCT FROM (c.value ->> 'custody')::int;
    now_ := custody.clock();
    FOR turn IN 1..coalesce((SELECT max(t) FROM unnest(turns) t), 0) LOOP
        SELECT left(w, 5), substr(w, 7) INTO state, wrong FROM (
            SELECT n, CASE
                WHEN s.type IS NULL OR s.trail <> 'choices' OR h.subject IS NULL
                  OR v ->> 'number' IS DISTINCT FROM (h.number + 1)::text
                  OR v ->> 'previous' IS DISTINCT FROM encode(h.digest, 'hex')
                  OR NOT v ?& s.needs
                  OR (h.recorded_at IS NOT NULL AND at < h.recorded_at)
                  OR (at > now_ AND at IS DISTINCT FROM h.recorded_at)
                  OR at < now_ - interval '5 minutes' AND at IS DISTINCT FROM h.recorded_at
                THEN 'CU003 this event does not follow its trail'
                WHEN EXISTS (
                    SELECT FROM jsonb_object_keys(v) f
                    WHERE f <> ALL (s.needs || s.may || ARRAY[
                        'format', 'type', 'subject', 'number', 'previous', 'recorded_at', 'who', 'salt']))
                THEN 'CU003 this event states what its step does not'
                WHEN convert_from(e, 'UTF8') IS DISTINCT FROM custody.spelled_by_clock(v)
                THEN 'CU003 these bytes are not an event: not in the one spelling'
                WHEN k.number IS NULL THEN 'CU002 no kit is registered under this number'
            END AS w
            FROM unnest(events, told, kits, turns) WITH ORDINALITY u (e, v, kit, turn_, n)
            CROSS JOIN LATERAL (SELECT (v ->> 'recorded_at')::timestamptz) r (at)
            LEFT JOIN custody.step s ON s.type = v ->> 'type'
            LEFT JOIN custody.head h ON h.subject = v ->> 'subject'
            LEFT JOIN custody.kit k ON k.number = u.kit
            WHERE turn_ = turn AND u.kit <> ALL (moved)
        ) checked
        WHERE w IS NOT NULL ORDER BY n LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION '%', wrong USING ERRCODE = state;
        END IF;
        PERFORM custody.check_who(v, '{"function": "clock"}', NULL, s, u.kit),
                custody.advance('the legal state', k.legal, s.legal, s.type),
                custody.advance('the term', k.retention, s.retention, s.type),
                custody.check_term(v, k, s), custody.check_notice(v, k, s)
        FROM unnest(told, kits, turns) u (v, kit, turn_)
        JOIN custody.step s ON s.type = v ->> 'type'
        JOIN custody.kit k ON k.number = u.kit
        WHERE turn_ = turn AND u.kit <> ALL (moved);
        INSERT INTO custody.event (digest, subject, number, trail, kit, type, recorded_at, bytes,
                                   person, idempotency_key, ordinal, command)
        SELECT sha256(e), v ->> 'subject', (v ->> 'number')::int, 'choices', u.kit, v ->> 'type',
               (v ->> 'recorded_at')::timestamptz, e, 'clock', key, ordinal, sha256(convert_to(key, 'UTF8'))
        FROM unnest(events, keys, told, kits, turns, ordinals) WITH ORDINALITY u (e, key, v, kit, turn_, ordinal, n)
        WHERE turn_ = turn AND u.kit <> ALL (moved) ORDER BY n;
        INSERT INTO audit.pending (log, digest)
        SELECT 'events', sha256(e) FROM unnest(events, kits, turns) WITH ORDINALITY u (e, kit, turn_, n)
        WHERE turn_ = turn AND u.kit <> ALL (moved) ORDER BY n;
        UPDATE custody.head h
        SET number = h.number + 1, digest = sha256(e), recorded_at = (v ->> 'recorded_at')::timestamptz
        FROM unnest(events, told, kits, turns) u (e, v, kit, turn_)
        WHERE turn_ = turn AND u.kit <> ALL (moved) AND h.subject = v ->> 'subject';
        PERFORM custody.keep_outbox(v, k, s, custody.advance('the term', k.retention, s.retention, s.type))
        FROM unnest(told, kits, turns) u (v, kit, turn_)
        JOIN custody.step s ON s.type = v ->> 'type'
        JOIN custody.kit k ON k.number = u.kit
        WHERE turn_ = turn AND u.kit <> ALL (moved);
        -- One row of a kit is written once: its document with the last of its events.
        WITH before AS (
            SELECT u.kit, last, v, s.type, k.legal, k.holds, k.centre, k.disposed_at, k.readers, k.term_over_at,
                   k.notice_on, k.cooling_until, k.expires_at, k.remind_on, k.document,
                   custody.advance('the term', k.retention, s.retention, s.type) AS retention,
                   changes -> u.kit AS change, (v #>> '{term,over_at}')::timestamptz AS over_at
            FROM unnest(told, kits, turns, lasts) u (v, kit, turn_, last)
            JOIN custody.step s ON s.type = v ->> 'type'
            JOIN custody.kit k ON k.number = u.kit
            WHERE turn_ = turn AND u.kit <> ALL (moved)
        ), step AS MATERIALIZED (
            SELECT b.kit, last, b.legal, b.holds, b.centre, b.disposed_at, b.readers, b.retention,
                   coalesce(over_at, b.term_over_at) AS term_over_at,
                   coalesce((v #>> '{term,notice_on}')::date, b.notice_on) AS notice_on,
                   CASE WHEN type = 'destruction.cooled_off' THEN NULL ELSE b.cooling_until END AS cooling_until,
                   CASE type WHEN 'destruction.cooled_off' THEN greatest(over_at, b.cooling_until)
                             WHEN 'notice.attempted' THEN coalesce((v ->> 'until')::timestamptz, b.expires_at)
                             ELSE b.expires_at END AS expires_at,
                   CASE WHEN type IN ('notice.due', 'notice.repeated') THEN (v ->> 'remind_on')::date
                        ELSE b.remind_on END AS remind_on,
                   CASE WHEN last THEN
                       (b.document - ARRAY(SELECT jsonb_array_elements_text(change -> 'gone'))) || (change -> 'set')
                   ELSE b.document END AS document
            FROM before b
        ), written AS (
            UPDATE custody.kit k
            SET retention = p.retention, term_over_at = p.term_over_at, notice_on = p.notice_on,
                cooling_until = p.cooling_until, expires_at = p.expires_at, remind_on = p.remind_on,
                document = p.document
            FROM step p WHERE k.number = p.kit
        )
        SELECT p.kit INTO wrong FROM step p
        WHERE last AND (
            document ->> 'number' IS DISTINCT FROM p.kit
            OR document ->> 'centre' IS DISTINCT FROM p.centre
            OR document ->> 'legal' IS DISTINCT FROM p.legal
            OR document ->> 'retention' IS DISTINCT FROM p.retention
            OR (SELECT count(*) FROM jsonb_object_keys(coalesce(document -> 'holds', '{}'))) <> p.holds
            OR (document #>> '{term,over_at}')::timestamptz IS DISTINCT FROM p.term_over_at
            OR (document #>> '{term,notice_on}')::date IS DISTINCT FROM p.notice_on
            OR (document #>> '{destruction,until}')::timestamptz IS DISTINCT FROM p.cooling_until
            OR (document ->> 'disposed_at')::timestamptz IS DISTINCT FROM p.disposed_at
            OR (document -> 'readers') IS DISTINCT FROM to_jsonb(p.readers)
            OR (document ->> 'expires_at')::timestamptz IS DISTINCT FROM p.expires_at
            OR (document ->> 'remind_on')::date IS DISTINCT FROM p.remind_on
            OR EXISTS (
                SELECT FROM (SELECT * FROM custody.package WHERE kit = p.kit) g
                FULL JOIN jsonb_each(coalesce(document -> 'packages', '{}')) d ON g.package::text = d.key
                WHERE g.state IS DISTINCT FROM d.value ->> 'state'
                   OR g.handover IS DISTINCT FROM d.value ->> 'handover')
            OR EXISTS (
                SELECT FROM custody.head h
                WHERE h.subject IN ('custody:' || p.kit, 'choices:' || p.kit) AND h.number > 0
                  AND encode(h.digest, 'hex') IS DISTINCT FROM
                      document #>> ARRAY[split_part(h.subject, ':', 1) || '_head', 'digest']))
        ORDER BY p.kit LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'the projection of kit % does not follow from its events', wrong
                USING ERRCODE = 'CU004';
        END IF;
    END LOOP;
    RETURN QUERY SELECT c FROM jsonb_object_keys(changes) c WHERE c <> ALL (moved);
END $$;

-- An instant as an event writes it; null for what no event writes.
CREATE FUNCTION custody.moment(written text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT to_char(written::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    WHERE written ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{15}Z$'
$$;

-- What the clock states about one of its steps, in the one spelling of an event: from what was read of its bytes they
-- are written again, field by field in their order, so that any other spelling differs. It takes a tenth of the time of
-- custody.spelled, which holds every field of every event against its expression. Null where a value is in no form.
CREATE FUNCTION custody.spelled_by_clock(v jsonb) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT '{"format":' || 1 || ',"type":"' || (v ->> 'type')
        || '","subject":"' || (v ->> 'subject')
        || '","number":' || (v ->> 'number')
        || ',"previous":"' || (v ->> 'previous')
        || '","recorded_at":"' || custody.moment(v ->> 'recorded_at')
        || '","who":{"function":"clock"}'
        || CASE WHEN v ? 'term' THEN
               ',"term":{"start":"' || (v #>> '{term,start}')::date
               || '","end":"' || (v #>> '{term,end}')::date
               || '","notice_on":"' || (v #>> '{term,notice_on}')::date
               || '","over_at":"' || custody.moment(v #>> '{term,over_at}') || '"}'
           ELSE '' END
        || CASE WHEN v ? 'until' THEN ',"until":"' || custody.moment(v ->> 'until') || '"' ELSE '' END
        || CASE WHEN v ? 'remind_on' THEN ',"remind_on":"' || (v ->> 'remind_on')::date || '"' ELSE '' END
        || CASE WHEN v ? 'channel' THEN ',"channel":"' || (v ->> 'channel') || '"' ELSE '' END
        || CASE WHEN v ? 'how' THEN ',"how":"' || (v ->> 'how') || '"' ELSE '' END
        || ',"salt":"' || (v ->> 'salt') || '"}'
    WHERE v ->> 'subject' ~ '^choices:[0-9A-HJKMNP-TV-Z]{12}$'
      AND v ->> 'number' ~ '^[1-9][0-9]{0,14}$'
      AND v ->> 'salt' ~ '^[0-9a-f]{32}$'
      AND (v -> 'channel' IS NULL OR v ->> 'channel' IN ('none', 'email', 'sms', 'phone', 'post'))
$$;

-- The only deletion there is, as before; and the kit's row says that it has been.
CREATE OR REPLACE FUNCTION custody.destroy_key(kit_number text, events bytea[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at timestamptz;
BEGIN
    SELECT e.recorded_at INTO at FROM custody.event e
    WHERE e.kit = kit_number AND e.type = 'key.destroyed' AND e.digest = ANY (events);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no key of a disposed kit stands under this number' USING ERRCODE = 'CU002';
    END IF;
    DELETE FROM custody.data_key d USING custody.kit k
    WHERE d.kit = kit_number AND k.number = d.kit AND k.retention = 'disposed';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no key of a disposed kit stands under this number' USING ERRCODE = 'CU002';
    END IF;
    UPDATE custody.kit SET key_destroyed_at = at WHERE number = kit_number;
END $$;

-- What was due before this moment and is not done: how many kits of the asker's centre, for an auditor of all
-- centres, and since when at the longest. Counts alone; nothing of a kit.
CREATE FUNCTION retention.late(before timestamptz) RETURNS TABLE (kind text, kits bigint, since timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    all_ boolean := custody.mine('function') IS NOT DISTINCT FROM 'auditor';
    mine text := CASE WHEN custody.mine('function') IN ('nurse', 'custodian', 'coordinator')
                      THEN custody.mine('organisation') END;
BEGIN
    RETURN QUERY
    SELECT 'notices_due', count(*), min(k.notice_on)::timestamp AT TIME ZONE 'Europe/Brussels' FROM custody.kit k
    WHERE k.retention = 'running' AND k.notice_on < (before AT TIME ZONE 'Europe/Brussels')::date
      AND (all_ OR k.centre = mine)
    UNION ALL
    SELECT 'repeated', count(*), min(k.remind_on)::timestamp AT TIME ZONE 'Europe/Brussels' FROM custody.kit k
    WHERE k.retention = 'notice_due' AND k.remind_on < (before AT TIME ZONE 'Europe/Brussels')::date
      AND (all_ OR k.centre = mine)
    UNION ALL
    SELECT 'expired', count(*), min(greatest(k.expires_at, k.term_over_at)) FROM custody.kit k
    WHERE k.retention = 'notice_due' AND k.expires_at < before AND k.term_over_at < before AND k.holds = 0
      AND (all_ OR k.centre = mine)
    UNION ALL
    SELECT 'cooled_off', count(*), min(k.cooling_until) FROM custody.kit k
    WHERE k.cooling_until < before AND k.retention IN ('running', 'notice_due') AND k.holds = 0
      AND (all_ OR k.centre = mine)
    UNION ALL
    SELECT 'set_aside', count(*), NULL FROM retention.set_aside a JOIN custody.kit k ON k.number = a.kit
    WHERE all_ OR k.centre = mine
    UNION ALL
    SELECT 'waiting', count(*), min(o.made_at) FROM retention.outbox o JOIN custody.kit k ON k.number = o.kit
    WHERE o.done_at IS NULL AND (all_ OR k.centre = mine)
    UNION ALL
    SELECT 'not_sent', count(*), min(o.done_at) FROM retention.outbox o JOIN custody.kit k ON k.number = o.kit
    WHERE o.outcome IN ('failed', 'bounced') AND o.done_at > before - interval '30 days'
      AND k.retention = 'notice_due' AND k.expires_at IS NULL AND (all_ OR k.centre = mine);
END $$;
