-- People with several accounts, and people who were registered twice: two- and three-person rules count
-- people. Functions that end: what somebody who left still holds is taken over by a colleague.

-- The one person behind a name in an event: of somebody registered twice, the one they were found to be.
CREATE FUNCTION custody.human(person_ text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE same (id, far) AS (
        SELECT person_, 0
        UNION ALL
        SELECT p.merged_into, same.far + 1 FROM same JOIN custody.person p ON p.id = same.id
        WHERE p.merged_into IS NOT NULL
    )
    SELECT id FROM same ORDER BY far DESC LIMIT 1
$$;

-- Which of these people hold one of these functions at the centre today, under whichever name.
CREATE FUNCTION custody.at_work(people text[], centre text, functions text[]) RETURNS text[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(r.person ORDER BY r.person), '{}')
    FROM unnest(people) r (person), (SELECT (custody.clock() AT TIME ZONE 'Europe/Brussels')::date) d (today)
    WHERE EXISTS (
        SELECT FROM custody.appointment a
        WHERE a.organisation = at_work.centre AND a.function = ANY (functions)
          AND a."from" <= d.today AND (a.until IS NULL OR a.until >= d.today)
          AND custody.human(a.person) = custody.human(r.person))
$$;

-- For a coordinator: the restricted kits of the own centre of which no reader is left who could name others.
-- Nobody there knows of them, so nobody would break the glass. Their numbers, and no more.
CREATE FUNCTION custody.without_reader() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT k.number FROM custody.kit k
    WHERE custody.mine('function') = 'coordinator' AND k.centre = custody.mine('organisation')
      AND k.readers IS NOT NULL AND k.retention <> 'disposed'
      AND custody.at_work(k.readers, k.centre, ARRAY['nurse', 'coordinator']) = '{}'
    ORDER BY k.term_over_at, k.number
$$;

-- Rules about whose hands they are, beside the number of signatures. The rows of packages and the document
-- are those from before this append: the projection is written at its end.
CREATE FUNCTION custody.check_hands(values_ jsonb, step_ custody.step, kit_number text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    who jsonb := values_ -> 'who';
    me text := custody.human(who ->> 'person');
    today date := (custody.clock() AT TIME ZONE 'Europe/Brussels')::date;
BEGIN
    IF step_.type = 'disposal.approved' AND me = (
        SELECT custody.human(k.document #>> '{disposal,proposed_by}') FROM custody.kit k WHERE k.number = kit_number
    ) THEN
        RAISE EXCEPTION 'who proposes a disposal does not approve it' USING ERRCODE = 'CU002';
    END IF;
    IF step_.type = 'handover.accepted' AND EXISTS (
        SELECT FROM custody.package p JOIN jsonb_array_elements(values_ -> 'packages') e
            ON p.package = (e ->> 'package')::smallint
        WHERE p.kit = kit_number AND custody.human(p.holder_person) = me
    ) THEN
        RAISE EXCEPTION 'who offers a package does not accept it' USING ERRCODE = 'CU002';
    END IF;
    IF step_.type = 'package.taken_over' AND EXISTS (
        SELECT FROM custody.package p JOIN jsonb_array_elements(values_ -> 'packages') e
            ON p.package = (e ->> 'package')::smallint
        WHERE p.kit = kit_number
          AND (p.holder_person IS NULL OR p.place IS NOT NULL
               OR p.holder_organisation IS DISTINCT FROM who ->> 'organisation'
               OR EXISTS (
                   SELECT FROM custody.appointment a
                   WHERE a.person = p.holder_person AND a.organisation = p.holder_organisation
                     AND a."from" <= today AND (a.until IS NULL OR a.until >= today)))
    ) THEN
        RAISE EXCEPTION 'only what somebody who left still holds is taken over' USING ERRCODE = 'CU002';
    END IF;
END $$;

-- As in 0002, with the count of people instead of names, and the rules above.
CREATE OR REPLACE FUNCTION custody.check_who(
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
    humans int;
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
    SELECT coalesce(array_agg(DISTINCT p), '{}'), count(DISTINCT custody.human(p)) INTO everybody, humans FROM (
        SELECT who ->> 'person' AS p
        UNION ALL SELECT w ->> 'person' FROM jsonb_array_elements(others) w
    ) signers WHERE p IS NOT NULL;
    IF humans < step_.people THEN
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
    PERFORM custody.check_hands(values_, step_, kit_number);
END $$;

-- Who turns out to be somebody else has nothing open under this name: nobody would sign in who could go on.
CREATE FUNCTION custody.check_merged(person_ text, at timestamptz) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM custody.kit k WHERE person_ = ANY (k.readers)) THEN
        RAISE EXCEPTION '% reads restricted kits under this name; name the other entry as reader first', person_
            USING ERRCODE = 'CU002';
    END IF;
    IF EXISTS (
        SELECT FROM custody.package p
        WHERE (p.holder_person = person_ AND p.place IS NULL
               AND p.state IN ('packed', 'sealed', 'opened', 'in_transit'))
           OR (p.receiver_person = person_ AND p.state = 'in_transit')) THEN
        RAISE EXCEPTION '% has packages, or hand-overs on the way, under this name; finish them first', person_
            USING ERRCODE = 'CU002';
    END IF;
    IF EXISTS (
        SELECT FROM custody.proposal p WHERE p.person = person_ AND p.signed_at IS NULL AND p.until > at) THEN
        RAISE EXCEPTION '% has proposals under this name that wait for a second person', person_
            USING ERRCODE = 'CU002';
    END IF;
END $$;

-- As in 0002, with accounts of their own, people who are one, and the end of one function among several.
CREATE OR REPLACE FUNCTION custody.apply_to_register(values_ jsonb, extra jsonb) RETURNS void
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
        INSERT INTO custody.person (id, name) VALUES (id_, r ->> 'name');
        IF r ? 'issuer' AND r ? 'login' THEN
            INSERT INTO custody.account (issuer, login, person) VALUES (r ->> 'issuer', r ->> 'login', id_);
        END IF;
    WHEN 'person.account_added' THEN
        INSERT INTO custody.account (issuer, login, person) VALUES (r ->> 'issuer', r ->> 'login', id_)
        ON CONFLICT (issuer, login, person) DO UPDATE SET removed_at = NULL;
    WHEN 'person.account_removed' THEN
        UPDATE custody.account SET removed_at = at
        WHERE issuer = r ->> 'issuer' AND login = r ->> 'login' AND person = id_ AND removed_at IS NULL;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'this person has no such account' USING ERRCODE = 'CU002';
        END IF;
    WHEN 'person.merged' THEN
        -- Their accounts sign in the other from now on, who has the functions; what was recorded stays. So
        -- nothing may be waiting under the name that goes.
        PERFORM custody.check_merged(id_, at);
        UPDATE custody.person SET merged_into = r ->> 'into'
        WHERE id = id_ AND merged_into IS NULL AND custody.human(r ->> 'into') <> id_;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'these two cannot become one person' USING ERRCODE = 'CU002';
        END IF;
        UPDATE custody.appointment SET until = (at AT TIME ZONE 'Europe/Brussels')::date - 1
        WHERE person = id_ AND (until IS NULL OR until >= (at AT TIME ZONE 'Europe/Brussels')::date);
    WHEN 'person.appointed' THEN
        INSERT INTO custody.appointment (person, organisation, function, "from", until)
        VALUES (id_, r ->> 'organisation', r ->> 'function', (r ->> 'from')::date, (r ->> 'until')::date);
    WHEN 'person.left' THEN
        UPDATE custody.appointment SET until = (r ->> 'until')::date
        WHERE person = id_ AND organisation = r ->> 'organisation' AND function = r ->> 'function'
          AND (r ->> 'from' IS NULL OR "from" = (r ->> 'from')::date)
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
