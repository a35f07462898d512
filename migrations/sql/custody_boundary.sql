-- The boundary of reading: who sees which kit, and how much of it. A query that forgets its filter shows
-- nothing that `custody.permission` would not: row-level security and one view say the same once more.
--
-- Functions of custody_append.sql and custody_look.sql stand here again where they have to know of restricted
-- kits: what an earlier revision executes is never changed, for a database that has run it must not differ
-- from one that runs it today.

-- --- breaking the glass --------------------------------------------------------------------------

-- A member of a centre's staff, who is none of the readers of a restricted kit, opens it for one hour: by an
-- access record that says why. Row-level security does not bind these two, for they look at access records.
CREATE FUNCTION custody.glass_open(kit text, person text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM custody.access a, LATERAL (SELECT convert_from(a.bytes, 'UTF8')::jsonb -> 'who') w (who)
        WHERE a.subject = 'reads:' || glass_open.person AND a.kit = glass_open.kit
          AND position('"read":"break_glass"'::bytea IN a.bytes) > 0
          AND a.recorded_at > (SELECT custody.clock()) - interval '1 hour'
          AND w.who ->> 'organisation' = a.centre
          AND w.who ->> 'function' IN ('nurse', 'custodian', 'coordinator'))
$$;

-- The kits of the own centre whose glass the asker of this transaction has open. It is asked about the person,
-- not about a kit, so that a restricted kit takes as long as a number that never existed.
CREATE FUNCTION custody.open_glasses() RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ARRAY(
        SELECT a.kit FROM custody.access a
        WHERE a.subject = 'reads:' || custody.mine('person')
          AND position('"read":"break_glass"'::bytea IN a.bytes) > 0
          AND a.recorded_at > (SELECT custody.clock()) - interval '1 hour'
          AND a.centre = custody.mine('organisation') AND custody.glass_open(a.kit, custody.mine('person')))
$$;

-- --- what may be known ---------------------------------------------------------------------------

-- A kit's document as far as another organisation than its centre may know of it, or somebody of its centre who
-- is kept out of a restricted kit; what may not be known is as if it had never been:
-- `custody.permission.as_known`, and a test compares the two.
CREATE FUNCTION custody.known_document(document jsonb, organisation text, person text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    linked boolean := coalesce(
        document ->> 'legal' IN ('linked', 'released')
        AND organisation IN (document #>> '{link,office}', document #>> '{link,zone}'), false);
    -- Who is kept out knows of what is in the own hands alone; others of what their organisation has.
    kept_out boolean := document ->> 'centre' = organisation;
    offers jsonb := coalesce(document -> 'handovers', '{}');
    packages jsonb;
    items jsonb;
    parts text[];
BEGIN
    SELECT coalesce(jsonb_object_agg(p.key, p.value), '{}') INTO packages
    FROM jsonb_each(coalesce(document -> 'packages', '{}')) p,
         LATERAL (SELECT offers #> ARRAY[p.value ->> 'handover', 'receiver']) o (receiver)
    WHERE linked
       OR (NOT kept_out AND p.value #>> '{holder,organisation}' = organisation)
       OR (kept_out AND p.value #>> '{holder,person}' = person AND NOT p.value ? 'place')
       OR (o.receiver ->> 'organisation' = organisation
           AND (o.receiver ->> 'person' = person OR (NOT kept_out AND NOT o.receiver ? 'person')));
    SELECT coalesce(jsonb_object_agg(i.key, i.value), '{}') INTO items
    FROM jsonb_each(coalesce(document -> 'items', '{}')) i WHERE packages ? (i.value ->> 'package');
    parts := ARRAY(
        SELECT 'K'
        UNION ALL SELECT 'P' || lpad(n, greatest(2, length(n)), '0') FROM jsonb_object_keys(packages) n
        UNION ALL SELECT 'I' || lpad(n, greatest(2, length(n)), '0') FROM jsonb_object_keys(items) n);
    RETURN jsonb_strip_nulls(jsonb_build_object(
        'number', document -> 'number',
        'centre', document -> 'centre',
        'examined_on', document -> 'examined_on',
        'registered_at', document -> 'registered_at',
        'custody_head', document -> 'custody_head',
        'legal', document -> 'legal',
        'packages', nullif(packages, '{}'),
        'items', nullif(items, '{}'),
        'labels', (SELECT jsonb_object_agg(l.key, l.value) FROM jsonb_each(document -> 'labels') l
                   WHERE l.key = ANY (parts)),
        'handovers', (SELECT jsonb_object_agg(h.key, h.value) FROM jsonb_each(document -> 'handovers') h
                      WHERE linked OR packages ?| ARRAY(
                          SELECT jsonb_array_elements_text(h.value -> 'packages'))),
        'order', CASE WHEN linked THEN document -> 'order' END,
        'matches', CASE WHEN linked THEN document -> 'matches' END,
        'link', document -> 'link',
        'linked_at', document -> 'linked_at',
        'released_at', document -> 'released_at',
        'opened_to_centre_at', CASE WHEN linked THEN document -> 'opened_to_centre_at' END,
        'readers', CASE WHEN kept_out THEN document -> 'readers' END,
        'findings', (SELECT jsonb_agg(f.value ORDER BY f.place)
                     FROM jsonb_array_elements(document -> 'findings') WITH ORDINALITY f (value, place)
                     WHERE f.value ->> 'trail' = 'custody' AND (linked OR packages ?| ARRAY(
                         SELECT jsonb_array_elements_text(coalesce(f.value -> 'packages', '[]')))))))
    -- Of the choices there is what a kit has before anybody chose.
    || '{"retention": "running", "choices_head": {"number": 0}, "age_class": "unknown"}';
END $$;

-- The kits that the asker of this transaction may know of (`custody.enter`), how they stand to each, and as
-- much of it as they may know. Everything that is shown is read from here. The view runs with its owner's
-- rights; its conditions are the boundary. The asker's side is computed first and always, so that nothing
-- depends on whether there is such a kit.
CREATE VIEW custody.known_kit WITH (security_barrier) AS
WITH me AS MATERIALIZED (
    SELECT custody.mine('person') AS person, custody.mine('organisation') AS organisation,
           custody.mine('function') AS function, custody.mine('card') AS card, custody.open_glasses() AS glasses
)
SELECT k.number, k.centre, k.legal,
       CASE WHEN r.relation IN ('own_kit', 'of_its_centre') THEN k.retention END AS retention,
       k.registered_at,
       CASE WHEN r.relation IN ('own_kit', 'of_its_centre') THEN k.term_over_at END AS term_over_at,
       r.relation,
       CASE WHEN r.relation IN ('own_kit', 'of_its_centre') THEN k.document
            ELSE custody.known_document(k.document, me.organisation, me.person) END AS document
FROM me
JOIN custody.kit k ON (k.number = me.card OR k.centre = me.organisation OR k.parties @> ARRAY[me.organisation])
CROSS JOIN LATERAL (SELECT CASE
    WHEN me.function = 'victim' AND k.number = me.card THEN 'own_kit'
    WHEN k.centre = me.organisation THEN CASE
        WHEN me.function NOT IN ('nurse', 'custodian', 'coordinator') THEN NULL
        WHEN k.readers IS NULL OR me.person = ANY (k.readers) OR k.number = ANY (me.glasses)
        THEN 'of_its_centre'
        -- Who is kept out still answers for what is in the own hands, or was offered to this very person.
        WHEN EXISTS (
            SELECT FROM custody.package p
            WHERE p.kit = k.number
              AND p.state NOT IN ('split', 'joined', 'destroyed', 'returned', 'deposited', 'void')
              AND ((p.holder_person = me.person AND p.place IS NULL)
                   OR (p.receiver_organisation = me.organisation AND p.receiver_person = me.person)))
        THEN 'in_person' END
    WHEN NOT k.parties @> ARRAY[me.organisation] THEN NULL
    WHEN me.function IN ('officer', 'magistrate') AND k.legal IN ('linked', 'released')
         AND me.organisation IN (k.document #>> '{link,office}', k.document #>> '{link,zone}') THEN 'linked'
    -- Whose organisation holds a package, or is offered one: everybody there, or this very person.
    WHEN (me.function IN ('nurse', 'custodian', 'coordinator', 'analyst')
          OR (me.function IN ('officer', 'registrar') AND k.legal IN ('linked', 'released')))
         AND EXISTS (
            SELECT FROM custody.package p
            WHERE p.kit = k.number
              AND p.state NOT IN ('split', 'joined', 'destroyed', 'returned', 'deposited', 'void')
              AND (p.holder_organisation = me.organisation
                   OR (p.receiver_organisation = me.organisation
                       AND (p.receiver_person IS NULL OR p.receiver_person = me.person))))
         THEN 'in_hands'
    END OFFSET 0) r (relation) -- once for each kit, however often it is named
WHERE r.relation IS NOT NULL;

-- A look is for deciding: a step is folded into the whole projection, whoever takes it. So it answers the whole
-- document of each kit that may be known of, to the decision and to nobody's eyes. No lock.
CREATE OR REPLACE FUNCTION custody.look(actor jsonb, kits text[]) RETURNS TABLE (at timestamptz, documents jsonb)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM custody.enter(actor);
    IF session_user = 'custody_clerk' THEN
        SELECT coalesce(jsonb_object_agg(k.number, k.document), '{}') INTO documents
        FROM custody.kit k WHERE k.number = ANY (kits);
    ELSE
        SELECT coalesce(jsonb_object_agg(k.number, k.document), '{}') INTO documents
        FROM custody.known_kit v JOIN custody.kit k ON k.number = v.number WHERE v.number = ANY (kits);
    END IF;
    at := custody.clock();
    RETURN NEXT;
END $$;

-- The proposer takes a proposal back, or a second person declines it: who may see it.
CREATE OR REPLACE FUNCTION custody.drop_proposal(id_ text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM custody.proposal p
    WHERE p.id = id_ AND p.signed_at IS NULL AND p.organisation = custody.mine('organisation')
      AND (p.person = custody.mine('person')
           OR custody.mine('function') IN ('nurse', 'custodian', 'coordinator'))
      AND (p.kit IS NULL OR EXISTS (
          SELECT FROM custody.known_kit k
          WHERE k.number = p.kit AND (k.relation <> 'in_person' OR p.person = custody.mine('person'))));
    RETURN FOUND;
END $$;

-- --- row-level security --------------------------------------------------------------------------

ALTER POLICY kit_seen ON custody.kit USING (
    (number = (SELECT custody.mine('card')) AND (SELECT custody.mine('function')) = 'victim')
    OR (centre = (SELECT custody.mine('organisation'))
        AND (SELECT custody.mine('function')) IN ('nurse', 'custodian', 'coordinator')
        AND (readers IS NULL OR (SELECT custody.mine('person')) = ANY (readers)
             OR number = ANY ((SELECT custody.open_glasses())::text[]))));

ALTER POLICY package_seen ON custody.package USING (EXISTS (
    SELECT FROM custody.known_kit k
    WHERE k.number = package.kit
      AND (k.relation IN ('own_kit', 'of_its_centre', 'linked')
           OR (k.relation = 'in_hands' AND (SELECT custody.mine('organisation')) IN (
               package.holder_organisation, package.receiver_organisation))
           OR (k.relation = 'in_person' AND (SELECT custody.mine('person')) = package.holder_person
               AND package.place IS NULL)
           OR (k.relation = 'in_person' AND (SELECT custody.mine('person')) = package.receiver_person))));

-- Who has a package of a kit sees of its trail what the own organisation wrote, and may correct: no more.
-- What was answered to a request is for the centre alone: the police are told "received", whatever was found.
ALTER POLICY event_seen ON custody.event USING (
    (trail IN ('custody', 'choices') AND EXISTS (
        SELECT FROM custody.known_kit k
        WHERE k.number = event.kit
          AND (k.relation IN ('own_kit', 'of_its_centre')
               OR (trail = 'custody' AND k.relation = 'linked')
               OR (trail = 'custody' AND k.relation = 'in_hands'
                   AND convert_from(event.bytes, 'UTF8')::json #>> '{who,organisation}'
                       = custody.mine('organisation')))))
    OR (trail = 'request' AND EXISTS (
        SELECT FROM custody.request q
        WHERE 'request:' || q.id = event.subject AND (event.type = 'request.received'
           OR (q.centre = (SELECT custody.mine('organisation'))
               AND (SELECT custody.mine('function')) IN ('nurse', 'custodian', 'coordinator')))))
    OR trail IN ('organisation', 'place', 'policy', 'log'));

ALTER POLICY data_key_seen ON custody.data_key USING (EXISTS (
    SELECT FROM custody.known_kit k WHERE k.number = data_key.kit AND k.relation = 'of_its_centre'));

ALTER POLICY private_part_seen ON custody.private_part USING (EXISTS (
    SELECT FROM custody.known_kit k WHERE k.number = private_part.kit AND k.relation = 'of_its_centre'));

-- What waits for a second person is for those who may sign, and whoever proposed it, if they know of the kit.
ALTER POLICY proposal_seen ON custody.proposal USING (
    organisation = (SELECT custody.mine('organisation'))
    AND (person = (SELECT custody.mine('person'))
         OR (SELECT custody.mine('function')) IN ('nurse', 'custodian', 'coordinator'))
    AND (kit IS NULL OR EXISTS (
        SELECT FROM custody.known_kit k
        WHERE k.number = proposal.kit
          AND (k.relation <> 'in_person' OR proposal.person = (SELECT custody.mine('person'))))));

-- --- restricted kits -----------------------------------------------------------------------------

-- Who is named as a reader works at the centre today, and a coordinator is among them.
CREATE FUNCTION custody.check_readers(readers text[], centre text, at timestamptz) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    today date := (at AT TIME ZONE 'Europe/Brussels')::date;
    staff text[] := ARRAY['nurse', 'custodian', 'coordinator'];
BEGIN
    IF EXISTS (
        SELECT FROM unnest(readers) r (person)
        WHERE NOT EXISTS (
            SELECT FROM custody.appointment a
            WHERE a.person = r.person AND a.organisation = check_readers.centre AND a.function = ANY (staff)
              AND a."from" <= today AND (a.until IS NULL OR a.until >= today))) THEN
        RAISE EXCEPTION 'a reader of a restricted kit works at its centre' USING ERRCODE = 'CU002';
    END IF;
    IF NOT EXISTS (
        SELECT FROM custody.appointment a
        WHERE a.person = ANY (readers) AND a.organisation = check_readers.centre AND a.function = 'coordinator'
          AND a."from" <= today AND (a.until IS NULL OR a.until >= today)) THEN
        RAISE EXCEPTION 'a coordinator of the centre is among the readers of a restricted kit'
            USING ERRCODE = 'CU002';
    END IF;
END $$;

-- Nobody throws readers out: as long as one works at the centre who could name others, they replace the list
-- themselves; and who still works there leaves it by the own hand alone. People are compared, not entries
-- (`custody.at_work`, `custody.human`: custody_register.sql).
CREATE FUNCTION custody.check_replaced(replaced text[], readers text[], centre text, author text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me text := custody.human(author);
BEGIN
    IF NOT EXISTS (SELECT FROM unnest(replaced) r (person) WHERE custody.human(r.person) = me)
       AND custody.at_work(replaced, centre, ARRAY['nurse', 'coordinator']) <> '{}' THEN
        RAISE EXCEPTION 'the readers of a restricted kit replace the list, as long as one of them works there'
            USING ERRCODE = 'CU002';
    END IF;
    IF EXISTS (
        SELECT FROM unnest(custody.at_work(replaced, centre, ARRAY['nurse', 'custodian', 'coordinator'])) o (person)
        WHERE custody.human(o.person) <> me AND custody.human(o.person) NOT IN (
            SELECT custody.human(n.person) FROM unnest(readers) n (person))) THEN
        RAISE EXCEPTION 'a reader who still works there leaves the list by the own hand alone'
            USING ERRCODE = 'CU002';
    END IF;
END $$;

-- What an event does to the guarded columns of its kit and packages; `readers` is one of them.
CREATE OR REPLACE FUNCTION custody.apply_to_kit(values_ jsonb, kit_number text, step_ custody.step) RETURNS void
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
    readers_ text[];
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
    IF step_.type = 'kit.restricted' THEN
        readers_ := ARRAY(SELECT jsonb_array_elements_text(values_ -> 'readers'));
        PERFORM custody.check_readers(readers_, kit_.centre, at);
        PERFORM custody.check_replaced(kit_.readers, readers_, kit_.centre, values_ #>> '{who,person}');
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
        disposed_at = CASE WHEN step_.type = 'disposal.carried_out' THEN at ELSE kit_.disposed_at END,
        readers = CASE step_.type WHEN 'kit.restricted' THEN readers_
                                  WHEN 'restriction.lifted' THEN NULL
                                  ELSE kit_.readers END
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

-- The rest of the projection, as the service folded it; refused where it contradicts the guarded columns.
CREATE OR REPLACE FUNCTION custody.apply_document(kit_number text, document_ jsonb) RETURNS void
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
       OR (document_ -> 'readers') IS DISTINCT FROM to_jsonb(kit_.readers)
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

-- Record that somebody read: chained by reader, salted, and queued for the second log. The trail is the reader's
-- own: a person in a function that they hold today, or the card of the very kit.
CREATE OR REPLACE FUNCTION custody.record_access(expected integer, bytes_ bytea, kit_ text) RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v jsonb;
    h custody.head;
    digest_ bytea := sha256(bytes_);
    at timestamptz;
    wrong text := custody.spelled(bytes_);
    who jsonb;
    today date := (custody.clock() AT TIME ZONE 'Europe/Brussels')::date;
BEGIN
    IF wrong IS NOT NULL OR bytes_ IS NULL THEN
        RAISE EXCEPTION 'these bytes are not an event: %', coalesce(wrong, 'none') USING ERRCODE = 'CU003';
    END IF;
    v := convert_from(bytes_, 'UTF8')::jsonb;
    who := v -> 'who';
    IF (CASE who ->> 'function'
       WHEN 'clock' THEN who ? 'person' OR v ->> 'subject' IS DISTINCT FROM 'reads:clock'
                      OR session_user <> 'custody_clerk'
       WHEN 'victim' THEN who ? 'person' OR v ->> 'kit' IS NULL
                      OR v ->> 'subject' IS DISTINCT FROM 'reads:card-' || (v ->> 'kit')
       ELSE v ->> 'subject' IS DISTINCT FROM 'reads:' || (who ->> 'person') OR NOT EXISTS (
           SELECT FROM custody.appointment a JOIN custody.person p ON p.id = a.person
           WHERE a.person = who ->> 'person' AND p.name = who ->> 'name' AND a.function = who ->> 'function'
             AND a.organisation = who ->> 'organisation'
             AND a."from" <= today AND (a.until IS NULL OR a.until >= today))
       END) THEN
        RAISE EXCEPTION 'this record names another reader than its trail' USING ERRCODE = 'CU003';
    END IF;
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
