-- custody.append: the only way by which evidence is written.
--
-- Refusals carry their own SQLSTATE, so that the service can tell them apart:
--   CU001  the trail has moved on since it was looked at (decide again)
--   CU002  the protocol has no such step from here
--   CU003  the event's bytes do not follow the trail, or are not what the caller may write
--   CU004  the projection handed in is not what the events say

-- Time comes from here and nowhere else. Tests replace this function in their template database.
CREATE FUNCTION custody.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT clock_timestamp() $$;

-- One table of states as the protocol writes it: {} means that the axis does not matter.
CREATE FUNCTION custody.advance(axis text, from_state text, allowed jsonb, type text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF allowed = '{}'::jsonb THEN
        RETURN from_state;
    END IF;
    IF from_state IS NULL OR NOT allowed ? from_state THEN
        RAISE EXCEPTION '% is not possible while % is %', type, axis, coalesce(from_state, 'unknown')
            USING ERRCODE = 'CU002';
    END IF;
    RETURN allowed ->> from_state;
END $$;

-- Who may write this event: the person acting, in a function that the person holds today; the person whose
-- proposal is being signed; the victim on the own kit; the clock. Everybody who signs beside them has acted:
-- signs now, proposed, or wrote the step before (entered the order, approved the disposal).
CREATE FUNCTION custody.check_who(
    values_ jsonb, actor jsonb, proposer text, step_ custody.step, kit_number text
) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    who jsonb := values_ -> 'who';
    others jsonb := coalesce(values_ -> 'with', '[]');
    signer jsonb;
    everybody text[];
    kind_ text := CASE WHEN who ->> 'function' IN ('victim', 'clock') THEN who ->> 'function' ELSE 'people' END;
    today date := (custody.clock() AT TIME ZONE 'Europe/Brussels')::date;
BEGIN
    IF NOT kind_ = ANY (step_.writers) THEN
        RAISE EXCEPTION '% is not for the % to write', step_.type, kind_ USING ERRCODE = 'CU003';
    END IF;
    IF kind_ <> 'people' THEN
        IF who IS DISTINCT FROM jsonb_build_object('function', actor ->> 'function') THEN
            RAISE EXCEPTION 'this event names another actor than the one who writes it' USING ERRCODE = 'CU003';
        END IF;
        IF kind_ = 'victim' AND values_ ->> 'subject' IS DISTINCT FROM 'choices:' || (actor ->> 'card') THEN
            RAISE EXCEPTION 'a card opens the choices of its own kit only' USING ERRCODE = 'CU003';
        END IF;
        IF others <> '[]' OR step_.people > 1 THEN
            RAISE EXCEPTION '% takes more people than signed it', step_.type USING ERRCODE = 'CU002';
        END IF;
        RETURN;
    END IF;
    IF NOT who ?& ARRAY['person', 'name', 'function', 'organisation']
       OR actor ->> 'person' IS NULL
       OR (who ->> 'person' IS DISTINCT FROM actor ->> 'person' AND who ->> 'person' IS DISTINCT FROM proposer)
       OR (who ->> 'person' = actor ->> 'person'
           AND (who ->> 'function', who ->> 'organisation')
               IS DISTINCT FROM (actor ->> 'function', actor ->> 'organisation')) THEN
        RAISE EXCEPTION 'this event names another person than the one who writes it' USING ERRCODE = 'CU003';
    END IF;
    FOR signer IN SELECT who UNION ALL SELECT jsonb_array_elements(others) LOOP
        IF signer ->> 'person' IS NOT NULL AND NOT EXISTS (
            SELECT FROM custody.appointment a JOIN custody.person p ON p.id = a.person
            WHERE a.person = signer ->> 'person' AND p.name = signer ->> 'name'
              AND (signer ->> 'function' IS NULL OR a.function = signer ->> 'function')
              AND (signer ->> 'organisation' IS NULL OR a.organisation = signer ->> 'organisation')
              AND a."from" <= today AND (a.until IS NULL OR a.until >= today)
        ) THEN
            RAISE EXCEPTION '% holds no such function today', signer ->> 'person' USING ERRCODE = 'CU003';
        END IF;
    END LOOP;
    SELECT coalesce(array_agg(DISTINCT p), '{}') INTO everybody FROM (
        SELECT who ->> 'person' AS p
        UNION ALL SELECT w ->> 'person' FROM jsonb_array_elements(others) w
    ) signers WHERE p IS NOT NULL;
    IF cardinality(everybody) < step_.people THEN
        RAISE EXCEPTION '% takes more people than signed it', step_.type USING ERRCODE = 'CU002';
    END IF;
    IF (step_.people > 1 AND NOT actor ->> 'person' = ANY (everybody)) OR (step_.trail <> 'policy' AND EXISTS (
        SELECT FROM unnest(everybody) p
        WHERE p <> actor ->> 'person' AND p IS DISTINCT FROM proposer AND NOT EXISTS (
            SELECT FROM custody.event e
            WHERE e.kit = kit_number AND e.person = p
              AND e.type = CASE step_.people WHEN 3 THEN 'disposal.approved' ELSE 'order.entered' END)
    )) THEN
        RAISE EXCEPTION 'somebody is named here who has not signed' USING ERRCODE = 'CU003';
    END IF;
END $$;

-- What an event does to the guarded columns of its kit and packages.
CREATE FUNCTION custody.apply_to_kit(values_ jsonb, kit_number text, step_ custody.step) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kit_ custody.kit;
    entry jsonb;
    at timestamptz := (values_ ->> 'recorded_at')::timestamptz;
    over_at timestamptz := (values_ #>> '{term,over_at}')::timestamptz;
    offer text := values_ ->> 'handover';
    package_ custody.package;
BEGIN
    IF values_ ->> 'type' = 'kit.registered' THEN
        IF values_ ->> 'centre' IS DISTINCT FROM values_ #>> '{who,organisation}' OR EXISTS (
            SELECT FROM custody.reserved_number r
            WHERE r.number = kit_number AND r.centre <> values_ ->> 'centre'
        ) THEN
            RAISE EXCEPTION 'a centre registers its own kits, under its own numbers' USING ERRCODE = 'CU003';
        END IF;
        IF EXISTS (SELECT FROM custody.kit k WHERE k.number = kit_number) THEN
            RAISE EXCEPTION 'this kit is registered already' USING ERRCODE = 'CU002';
        END IF;
        INSERT INTO custody.kit (number, centre, legal, retention, holds, in_transit, destroyed,
                                 unanswered_requests, notice_on, term_over_at, registered_at, parties, document)
        VALUES (kit_number, values_ ->> 'centre', 'unreported', 'running', 0, 0, 0, 0,
                'infinity', 'infinity', at, '{}', '{}');
        UPDATE custody.reserved_number SET used_at = at WHERE number = kit_number AND used_at IS NULL;
        RETURN;
    END IF;
    SELECT * INTO kit_ FROM custody.kit WHERE number = kit_number FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no kit is registered under this number' USING ERRCODE = 'CU002';
    END IF;
    -- One person never brings the end of a term forward, and the clock only after the cooling-off.
    IF (step_.type = 'term.agreed' AND kit_.term_over_at <> 'infinity')
       OR (step_.type IN ('term.extended', 'term.restarted', 'report.withdrawn') AND over_at < kit_.term_over_at)
       OR (step_.type = 'destruction.cooled_off' AND (kit_.cooling_until IS NULL OR kit_.cooling_until > at)) THEN
        RAISE EXCEPTION '% would end the term that stands too early', step_.type USING ERRCODE = 'CU002';
    END IF;
    IF (step_.holds > 0 AND coalesce(kit_.document -> 'holds' ? (values_ #>> '{hold,id}'), false))
       OR (step_.holds < 0 AND NOT coalesce(kit_.document -> 'holds' ? (values_ #>> '{hold,id}'), false)) THEN
        RAISE EXCEPTION 'there is no such hold on this kit, or there is one already' USING ERRCODE = 'CU002';
    END IF;
    IF step_.type = 'disposal.approved'
       AND kit_.document #>> '{disposal,proposed_by}' IS NOT DISTINCT FROM values_ #>> '{who,person}' THEN
        RAISE EXCEPTION 'who proposes a disposal does not approve it' USING ERRCODE = 'CU002';
    END IF;
    IF step_.type = 'order.confirmed' AND NOT EXISTS (
        SELECT FROM jsonb_array_elements(coalesce(values_ -> 'with', '[]')) w
        WHERE w ->> 'person' = kit_.document #>> '{order,entered_by}') THEN
        RAISE EXCEPTION 'who entered the order and who confirms it are the two people' USING ERRCODE = 'CU002';
    END IF;
    IF values_ ->> 'type' LIKE 'disposal.%' THEN
        -- A request of the police that names this centre protects every kit of it until it is answered.
        -- The share lock makes this wait for a request that is just being received.
        SELECT unanswered_requests INTO kit_.unanswered_requests
        FROM custody.organisation WHERE id = kit_.centre FOR SHARE;
    END IF;
    UPDATE custody.kit SET
        legal = custody.advance('the legal state', kit_.legal, step_.legal, step_.type),
        retention = custody.advance('the term', kit_.retention, step_.retention, step_.type),
        holds = kit_.holds + step_.holds,
        unanswered_requests = kit_.unanswered_requests,
        term_over_at = coalesce(over_at, kit_.term_over_at),
        notice_on = coalesce((values_ #>> '{term,notice_on}')::date, kit_.notice_on),
        cooling_until = CASE
            WHEN step_.type = 'destruction.confirmed' THEN (values_ ->> 'until')::timestamptz
            WHEN step_.type LIKE 'destruction.%' OR step_.type IN (
                'report.declared', 'term.extended', 'kit.linked', 'kit.linked_by_order') THEN NULL
            -- No early destruction before majority: a request under the wrong age class falls.
            WHEN step_.type = 'term.corrected' AND values_ ->> 'age_class' <> 'adult' THEN NULL
            ELSE kit_.cooling_until END,
        disposed_at = CASE WHEN step_.type = 'disposal.carried_out' THEN at ELSE kit_.disposed_at END
    WHERE number = kit_number;
    IF step_.type = 'handover.offered' AND EXISTS (
        SELECT FROM custody.package p WHERE p.kit = kit_number AND p.handover = offer) THEN
        RAISE EXCEPTION 'another offer has this name already' USING ERRCODE = 'CU002';
    END IF;
    FOR entry IN SELECT jsonb_array_elements(coalesce(values_ -> 'packages', '[]')) LOOP
        IF step_.packs AND (step_.custody = '{}' OR entry ? 'from') THEN
            IF EXISTS (SELECT FROM custody.package p
                       WHERE p.kit = kit_number AND p.package = (entry ->> 'package')::smallint) THEN
                RAISE EXCEPTION 'the kit has a package % already', entry ->> 'package' USING ERRCODE = 'CU002';
            END IF;
            INSERT INTO custody.package (kit, package, state)
            VALUES (kit_number, (entry ->> 'package')::smallint, 'packed');
            CONTINUE;
        END IF;
        SELECT * INTO package_ FROM custody.package p
        WHERE p.kit = kit_number AND p.package = (entry ->> 'package')::smallint;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the kit has no package %', entry ->> 'package' USING ERRCODE = 'CU002';
        END IF;
        IF offer IS NOT NULL AND step_.type <> 'handover.offered' AND package_.handover IS DISTINCT FROM offer THEN
            RAISE EXCEPTION 'package % is not on this way', package_.package USING ERRCODE = 'CU002';
        END IF;
        UPDATE custody.package p SET
            state = custody.advance('package ' || p.package, p.state, step_.custody, step_.type),
            handover = CASE WHEN step_.type = 'handover.offered' THEN offer
                            WHEN step_.custody ->> p.state = 'in_transit' OR step_.custody = '{}' THEN p.handover
                       END
        WHERE p.kit = kit_number AND p.package = package_.package;
    END LOOP;
    UPDATE custody.kit k SET in_transit = found.in_transit, destroyed = found.destroyed
    FROM (
        SELECT count(*) FILTER (WHERE p.state = 'in_transit') AS in_transit,
               count(*) FILTER (WHERE p.state = 'destroyed') AS destroyed
        FROM custody.package p WHERE p.kit = kit_number
    ) found
    WHERE k.number = kit_number
      AND (k.in_transit, k.destroyed) IS DISTINCT FROM (found.in_transit, found.destroyed);
END $$;

-- Organisations, people, places, requests, reserved numbers: the columns that the service asks for.
CREATE FUNCTION custody.apply_to_register(values_ jsonb, extra jsonb) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    r jsonb := values_ -> 'register';
    at timestamptz := (values_ ->> 'recorded_at')::timestamptz;
    id_ text := split_part(values_ ->> 'subject', ':', 2);
BEGIN
    CASE values_ ->> 'type'
    WHEN 'organisation.registered', 'organisation.changed' THEN
        INSERT INTO custody.organisation (id, kind, name, country, zone)
        VALUES (id_, r ->> 'kind', r ->> 'name', r ->> 'country', r ->> 'zone')
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, country = excluded.country, zone = excluded.zone;
    WHEN 'person.registered' THEN
        INSERT INTO custody.person (id, name, issuer, login)
        VALUES (id_, r ->> 'name', r ->> 'issuer', r ->> 'login');
    WHEN 'person.appointed' THEN
        INSERT INTO custody.appointment (person, organisation, function, "from", until)
        VALUES (id_, r ->> 'organisation', r ->> 'function', (r ->> 'from')::date, (r ->> 'until')::date);
    WHEN 'person.left' THEN
        UPDATE custody.appointment SET until = (r ->> 'until')::date
        WHERE person = id_ AND organisation = r ->> 'organisation' AND function = r ->> 'function'
          AND (until IS NULL OR until > (r ->> 'until')::date);
    WHEN 'place.opened' THEN
        INSERT INTO custody.place (id, organisation, name, kind, storage)
        VALUES (id_, r ->> 'organisation', r ->> 'name', r ->> 'kind', r ->> 'storage');
    WHEN 'place.closed' THEN
        UPDATE custody.place SET closed_at = at WHERE id = id_;
    WHEN 'numbers.reserved' THEN
        INSERT INTO custody.reserved_number (number, centre, reserved_at)
        SELECT n, id_, at FROM jsonb_array_elements_text(values_ -> 'numbers') n;
    WHEN 'policy.adopted' THEN
        INSERT INTO custody.policy (id, version, document, digest)
        VALUES (values_ #>> '{policy,id}', (values_ #>> '{policy,version}')::int,
                decode(extra ->> 'policy', 'base64'), decode(values_ ->> 'digest', 'hex'));
        IF sha256(decode(extra ->> 'policy', 'base64')) <> decode(values_ ->> 'digest', 'hex') THEN
            RAISE EXCEPTION 'the policy is not the one the event names' USING ERRCODE = 'CU003';
        END IF;
    WHEN 'request.received' THEN
        UPDATE custody.organisation SET unanswered_requests = unanswered_requests + 1
        WHERE id = values_ #>> '{naming,centre}' AND kind = 'centre';
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the request names no centre' USING ERRCODE = 'CU003';
        END IF;
        INSERT INTO custody.request (id, zone, person, centre, naming, received_at)
        VALUES (id_, values_ #>> '{who,organisation}', values_ #>> '{who,person}',
                values_ #>> '{naming,centre}', values_ -> 'naming', at);
    WHEN 'request.answered' THEN
        INSERT INTO custody.answer (request, centre, answered_at, how)
        SELECT q.id, q.centre, at, values_ ->> 'how' FROM custody.request q
        WHERE q.id = id_ AND q.centre = values_ #>> '{who,organisation}'
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no request of this number waits for this centre' USING ERRCODE = 'CU002';
        END IF;
        UPDATE custody.organisation o SET unanswered_requests = unanswered_requests - 1
        FROM custody.request q WHERE q.id = id_ AND o.id = q.centre;
    ELSE
        NULL;
    END CASE;
END $$;

-- The rest of the projection, as the service folded it; refused where it contradicts the guarded columns.
CREATE FUNCTION custody.apply_document(kit_number text, document_ jsonb) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kit_ custody.kit;
BEGIN
    SELECT * INTO STRICT kit_ FROM custody.kit WHERE number = kit_number;
    IF document_ ->> 'number' IS DISTINCT FROM kit_number
       OR document_ ->> 'centre' IS DISTINCT FROM kit_.centre
       OR document_ ->> 'legal' IS DISTINCT FROM kit_.legal
       OR document_ ->> 'retention' IS DISTINCT FROM kit_.retention
       OR (SELECT count(*) FROM jsonb_object_keys(coalesce(document_ -> 'holds', '{}'))) <> kit_.holds
       OR (document_ #>> '{term,over_at}')::timestamptz IS DISTINCT FROM kit_.term_over_at
       OR (document_ #>> '{term,notice_on}')::date IS DISTINCT FROM kit_.notice_on
       OR (document_ #>> '{destruction,until}')::timestamptz IS DISTINCT FROM kit_.cooling_until
       OR (document_ ->> 'disposed_at')::timestamptz IS DISTINCT FROM kit_.disposed_at
       OR EXISTS (
            SELECT FROM (SELECT * FROM custody.package WHERE kit = kit_number) p
            FULL JOIN jsonb_each(coalesce(document_ -> 'packages', '{}')) d ON p.package::text = d.key
            WHERE p.state IS DISTINCT FROM d.value ->> 'state'
               OR p.handover IS DISTINCT FROM d.value ->> 'handover')
       OR EXISTS (
            SELECT FROM custody.head h
            WHERE h.subject IN ('custody:' || kit_number, 'choices:' || kit_number) AND h.number > 0
              AND encode(h.digest, 'hex') IS DISTINCT FROM
                  document_ #>> ARRAY[split_part(h.subject, ':', 1) || '_head', 'digest'])
    THEN
        RAISE EXCEPTION 'the projection of kit % does not follow from its events', kit_number
            USING ERRCODE = 'CU004';
    END IF;
    -- Only the packages that this is about: a row that is written again is a row to clean up.
    UPDATE custody.package p SET
        storage = d.storage, holder_person = d.holder_person, holder_organisation = d.holder_organisation,
        place = d.place, receiver_person = d.receiver_person, receiver_organisation = d.receiver_organisation,
        due_at = d.due_at, since = d.since
    FROM (
        SELECT key,
            value ->> 'storage' AS storage,
            value #>> '{holder,person}' AS holder_person,
            value #>> '{holder,organisation}' AS holder_organisation,
            value #>> '{place,id}' AS place,
            document_ #>> ARRAY['handovers', value ->> 'handover', 'receiver', 'person'] AS receiver_person,
            document_ #>> ARRAY['handovers', value ->> 'handover', 'receiver', 'organisation']
                AS receiver_organisation,
            (document_ #>> ARRAY['handovers', value ->> 'handover', 'due_at'])::timestamptz AS due_at,
            (value ->> 'since')::timestamptz AS since
        FROM jsonb_each(coalesce(document_ -> 'packages', '{}'))
    ) d
    WHERE p.kit = kit_number AND p.package::text = d.key
      AND (p.storage, p.holder_person, p.holder_organisation, p.place, p.receiver_person,
           p.receiver_organisation, p.due_at, p.since)
          IS DISTINCT FROM
          (d.storage, d.holder_person, d.holder_organisation, d.place, d.receiver_person,
           d.receiver_organisation, d.due_at, d.since);
    UPDATE custody.kit SET
        document = document_,
        parties = custody.parties(kit_number, kit_.legal, document_ -> 'link')
    WHERE number = kit_number;
END $$;

-- Which organisations, besides the centre, may know of the kit: who holds a package, who is offered one,
-- and once it is linked the police zone and the prosecutor's office. Never police or prosecutor before.
CREATE FUNCTION custody.parties(kit_number text, legal text, link jsonb) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(DISTINCT o.id ORDER BY o.id), '{}')
    FROM custody.organisation o
    WHERE (legal IN ('linked', 'released') OR o.kind NOT IN ('police', 'prosecutor', 'registry'))
      AND (o.id IN (SELECT p.holder_organisation FROM custody.package p
                    WHERE p.kit = kit_number
                      AND p.state NOT IN ('split', 'joined', 'destroyed', 'returned', 'void'))
           OR o.id IN (SELECT p.receiver_organisation FROM custody.package p
                       WHERE p.kit = kit_number AND p.state = 'in_transit')
           OR (legal IN ('linked', 'released') AND o.id IN (link ->> 'office', link ->> 'zone')))
$$;

-- Append events to their trails. All or nothing.
--   actor      {"person", "function", "organisation"} or {"function": "victim", "card"} or {"function": "clock"}
--   key        the Idempotency-Key; with the person and the ordinal it can be used once, forever
--   command    SHA-256 of the command, to tell a retry from a key used for something else
--   expected   {"custody:…": number, …}: where each trail stood when it was looked at
--   events     the exact bytes, in order
--   documents  {"kit number": projection}
--   extra      secrets and documents that belong to these events and stand outside them
CREATE FUNCTION custody.append(
    actor jsonb, key text, command bytea, expected jsonb, events bytea[], documents jsonb, extra jsonb
) RETURNS TABLE (subject text, number integer, digest bytea, recorded_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    e bytea;
    v jsonb;
    s custody.step;
    h custody.head;
    trail_ text;
    kit_ text;
    proposer text;
    proposed_kit text;
    kits text[];
    at timestamptz;
    ordinal_ smallint := 0;
    digest_ bytea;
    author text := coalesce(actor ->> 'person', actor ->> 'card', actor ->> 'function');
    wrong text;
BEGIN
    IF (actor ->> 'function' IS NOT DISTINCT FROM 'clock') <> (session_user = 'custody_clerk') THEN
        RAISE EXCEPTION 'only the clerk writes as the clock, and the clerk as nobody else' USING ERRCODE = 'CU003';
    END IF;
    IF extra ? 'proposal' THEN
        UPDATE custody.proposal p SET signed_at = custody.clock(), signed_by = author
        WHERE p.id = extra ->> 'proposal' AND p.signed_at IS NULL AND p.until > custody.clock()
          AND p.person <> author
        RETURNING p.person, p.kit INTO proposer, proposed_kit;
        IF proposer IS NULL THEN
            RAISE EXCEPTION 'this proposal is signed already, too old, or your own' USING ERRCODE = 'CU002';
        END IF;
    END IF;
    -- Always the same order, so that two appends never wait for each other.
    INSERT INTO custody.head (subject, number)
    SELECT k, 0 FROM jsonb_object_keys(expected) k ORDER BY k ON CONFLICT DO NOTHING;
    PERFORM FROM custody.head x WHERE x.subject IN (SELECT jsonb_object_keys(expected))
    ORDER BY x.subject FOR UPDATE;
    IF EXISTS (SELECT FROM custody.head x JOIN jsonb_each_text(expected) w ON w.key = x.subject
               WHERE x.number <> w.value::int) THEN
        RAISE EXCEPTION 'the trail has moved on' USING ERRCODE = 'CU001';
    END IF;
    FOREACH e IN ARRAY events LOOP
        -- What nobody could read afterwards, or what no field is for, would stand in the trail forever.
        wrong := custody.spelled(e);
        IF wrong IS NOT NULL OR e IS NULL THEN
            RAISE EXCEPTION 'these bytes are not an event: %', coalesce(wrong, 'none') USING ERRCODE = 'CU003';
        END IF;
        v := convert_from(e, 'UTF8')::jsonb;
        SELECT * INTO s FROM custody.step x WHERE x.type = v ->> 'type';
        trail_ := split_part(v ->> 'subject', ':', 1);
        SELECT * INTO h FROM custody.head x WHERE x.subject = v ->> 'subject';
        at := (v ->> 'recorded_at')::timestamptz;
        IF s.type IS NULL OR s.trail <> trail_ OR h.subject IS NULL OR NOT expected ? h.subject
           OR (v ->> 'number')::int IS DISTINCT FROM h.number + 1
           OR v ->> 'previous' IS DISTINCT FROM encode(h.digest, 'hex')
           OR NOT v ?& s.needs
           OR (v ->> 'occurred_at')::timestamptz > at
           OR (h.recorded_at IS NOT NULL AND at < h.recorded_at)
           OR (at > custody.clock() AND at IS DISTINCT FROM h.recorded_at)
           OR at < custody.clock() - interval '5 minutes' AND at IS DISTINCT FROM h.recorded_at THEN
            RAISE EXCEPTION 'this event does not follow its trail' USING ERRCODE = 'CU003';
        END IF;
        -- What a step does not state cannot ride along with it: a term, say, on the check of a seal.
        IF EXISTS (
            SELECT FROM jsonb_object_keys(v) f
            WHERE f <> ALL (s.needs || s.may || ARRAY[
                'format', 'type', 'subject', 'number', 'previous', 'recorded_at', 'who', 'salt'])
        ) THEN
            RAISE EXCEPTION 'this event states what its step does not' USING ERRCODE = 'CU003';
        END IF;
        kit_ := CASE WHEN trail_ IN ('custody', 'choices') THEN split_part(v ->> 'subject', ':', 2) END;
        digest_ := sha256(e);
        INSERT INTO custody.event (digest, subject, number, trail, kit, type, recorded_at, bytes,
                                   person, idempotency_key, ordinal, command)
        VALUES (digest_, h.subject, h.number + 1, trail_, kit_, s.type, at, e, author, key, ordinal_, command);
        UPDATE custody.head x SET number = h.number + 1, digest = digest_, recorded_at = at
        WHERE x.subject = h.subject;
        INSERT INTO audit.pending (log, digest) VALUES ('events', digest_);
        IF kit_ IS NOT NULL THEN
            PERFORM custody.apply_to_kit(v, kit_, s);
        ELSE
            PERFORM custody.apply_to_register(v, extra);
        END IF;
        PERFORM custody.check_who(v, actor, proposer, s, kit_);
        ordinal_ := ordinal_ + 1;
        subject := h.subject; number := h.number + 1; digest := digest_; recorded_at := at;
        RETURN NEXT;
    END LOOP;
    SELECT coalesce(array_agg(DISTINCT x.kit), '{}') INTO kits FROM custody.event x
    WHERE x.person = author AND x.idempotency_key = key AND x.kit IS NOT NULL;
    IF extra ? 'proposal' AND kits <> '{}' AND NOT coalesce(proposed_kit = ANY (kits), false) THEN
        RAISE EXCEPTION 'this proposal is about another kit' USING ERRCODE = 'CU003';
    END IF;
    FOREACH kit_ IN ARRAY kits LOOP
        IF NOT documents ? kit_ THEN
            RAISE EXCEPTION 'the projection of kit % is missing', kit_ USING ERRCODE = 'CU004';
        END IF;
        PERFORM custody.apply_document(kit_, documents -> kit_);
    END LOOP;
    PERFORM custody.keep_secrets(extra, events, kits);
END $$;
