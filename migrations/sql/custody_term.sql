-- The agreed term: what of it the database itself refuses, the notices that wait to be sent, and the card that is
-- renewed. Functions of earlier revisions stand here again where they have to know of it.

-- Whether an order of a judge stands: entered, and neither ended with its link since nor revoked in writing. A hold
-- belongs to the order that was entered last before it was placed: the hold of an earlier one revokes no later one.
CREATE FUNCTION custody.order_stands(kit_number text) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH said AS (
        SELECT e.type, e.number, e.recorded_at, convert_from(e.bytes, 'UTF8')::jsonb -> 'hold' AS hold
        FROM custody.event e
        WHERE e.kit = kit_number
          AND e.type IN ('order.entered', 'order_link.in_error', 'link.ended', 'hold.placed', 'hold.lifted')
    )
    SELECT EXISTS (
        SELECT FROM said o
        WHERE o.type = 'order.entered'
          AND NOT EXISTS (SELECT FROM said e
                          WHERE e.type IN ('order_link.in_error', 'link.ended') AND e.number > o.number)
          AND NOT EXISTS (
              SELECT FROM said lifted JOIN said placed ON placed.type = 'hold.placed'
                   AND placed.hold -> 'id' = lifted.hold -> 'id' AND placed.number < lifted.number
              WHERE lifted.type = 'hold.lifted' AND lifted.hold ->> 'ground' = 'order'
                AND placed.recorded_at >= o.recorded_at
                AND NOT EXISTS (SELECT FROM said later
                                WHERE later.type = 'order.entered' AND later.number > o.number
                                  AND later.recorded_at <= placed.recorded_at)))
$$;

-- What is refused about the wish for early destruction: it is confirmed where the victim asked for it and nothing
-- ended that since, neither confirmed nor carried into effect while a hold stands, and never of a minor.
CREATE FUNCTION custody.check_wish(values_ jsonb, kit_ custody.kit) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF kit_.holds > 0 THEN
        RAISE EXCEPTION 'no early destruction is confirmed or takes effect while a hold stands'
            USING ERRCODE = 'CU002';
    END IF;
    IF values_ ->> 'type' = 'destruction.confirmed' AND NOT coalesce((
        SELECT e.type = 'destruction.requested' FROM custody.event e
        WHERE e.kit = kit_.number AND (e.subject <> values_ ->> 'subject' OR e.number < (values_ ->> 'number')::int)
          AND (e.type IN ('destruction.requested', 'destruction.confirmed', 'destruction.taken_back',
                          'destruction.cooled_off', 'term.extended', 'report.declared', 'kit.linked',
                          'kit.linked_by_order')
               OR (e.type = 'term.corrected' AND convert_from(e.bytes, 'UTF8')::jsonb ->> 'age_class' <> 'adult'))
        ORDER BY e.recorded_at DESC, e.number DESC LIMIT 1), false) THEN
        RAISE EXCEPTION 'the victim has not asked for destruction' USING ERRCODE = 'CU002';
    END IF;
    IF values_ ->> 'type' = 'destruction.confirmed' AND NOT custody.of_age(kit_.number) THEN
        RAISE EXCEPTION 'evidence of a minor is not destroyed before the term' USING ERRCODE = 'CU002';
    END IF;
END $$;

-- What is refused about terms: one person never brings an end forward, and the clock only after the cooling-off;
-- no term stands under another policy than the kit's, or is shorter than that says; a notice is due before the end;
-- nothing expires, and no disposal is approved or carried out, before the victim was told and the notice period is
-- over; no key is destroyed while the disposal may be contested.
CREATE FUNCTION custody.check_term(values_ jsonb, kit_ custody.kit, step_ custody.step) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at timestamptz := (values_ ->> 'recorded_at')::timestamptz;
    over_at timestamptz := (values_ #>> '{term,over_at}')::timestamptz;
    until timestamptz := (values_ ->> 'until')::timestamptz;
    policy jsonb;
    period interval;
    floor timestamptz;
    before_wish timestamptz;
BEGIN
    IF over_at IS NOT NULL THEN
        before_wish := custody.over_before_wish(kit_.number, (values_ ->> 'number')::int);
    END IF;
    IF values_ ? 'policy' THEN
        policy := custody.adopted(values_ -> 'policy');
        IF NOT custody.may_name(values_, kit_, policy) THEN
            RAISE EXCEPTION 'this is not the policy that the kit keeps' USING ERRCODE = 'CU002';
        END IF;
        PERFORM custody.check_days(values_, kit_.number, policy);
    ELSIF step_.type IN ('destruction.confirmed', 'key.destroyed') THEN
        policy := custody.adopted(custody.kept_policy(kit_.number, (values_ ->> 'number')::int));
    END IF;
    IF step_.type IN ('term.agreed', 'term.corrected') THEN
        period := (policy #>> ARRAY['kept', values_ ->> 'age_class', 'period'])::interval;
        floor := ((custody.last_said('custody:' || kit_.number, 2, ARRAY['kit.registered']) ->> 'examined_on')::date
                  + period) AT TIME ZONE 'UTC' - custody.room(period);
        IF step_.type = 'term.corrected' AND over_at < kit_.term_over_at THEN
            period := (policy #>> '{notice,period}')::interval;
            floor := greatest(floor, custody.over(policy, at, period));
        END IF;
    END IF;
    IF (step_.type = 'term.agreed' AND kit_.term_over_at <> 'infinity')
       OR (step_.type IN ('term.extended', 'term.moved', 'term.restarted', 'report.withdrawn')
           AND over_at < greatest(kit_.term_over_at, before_wish))
       OR (step_.type IN ('term.agreed', 'term.corrected') AND NOT coalesce(over_at >= floor, false))
       OR (step_.type = 'destruction.cooled_off' AND (kit_.cooling_until IS NULL OR kit_.cooling_until > at)) THEN
        RAISE EXCEPTION '% would end the term that stands too early', step_.type USING ERRCODE = 'CU002';
    END IF;
    IF (values_ #>> '{term,notice_on}')::date > (over_at AT TIME ZONE 'UTC')::date THEN
        RAISE EXCEPTION 'the notice would be due after the end of the term' USING ERRCODE = 'CU002';
    END IF;
    IF step_.type = 'term.corrected' AND values_ ->> 'age_class' = custody.last_said(
        values_ ->> 'subject', (values_ ->> 'number')::int, ARRAY['term.agreed', 'term.corrected']) ->> 'age_class'
    THEN
        RAISE EXCEPTION 'this age class is on record already' USING ERRCODE = 'CU002';
    END IF;
    IF (step_.type = 'term.expired' AND (kit_.expires_at IS NULL OR kit_.expires_at > at OR kit_.term_over_at > at))
       OR (step_.type IN ('disposal.approved', 'disposal.carried_out') AND kit_.retention <> 'disposed'
           AND (kit_.expires_at IS NULL OR kit_.expires_at > at OR coalesce(kit_.cooling_until > at, false))) THEN
        RAISE EXCEPTION 'the victim was not told of the end of the term, or it is not over' USING ERRCODE = 'CU002';
    END IF;
    IF step_.type IN ('disposal.approved', 'disposal.carried_out', 'disposal.nothing_left')
       AND custody.order_stands(kit_.number) THEN
        RAISE EXCEPTION 'an order of a judge stands on this kit' USING ERRCODE = 'CU002';
    END IF;
    IF step_.type = 'destruction.confirmed' THEN
        period := (policy #>> '{cooling_off,period}')::interval;
        IF NOT coalesce(until >= custody.over(policy, at, period), false) THEN
            RAISE EXCEPTION 'the cooling-off is shorter than the policy says' USING ERRCODE = 'CU002';
        END IF;
    END IF;
    IF step_.type IN ('destruction.confirmed', 'destruction.cooled_off') THEN
        PERFORM custody.check_wish(values_, kit_);
    END IF;
    IF step_.type = 'key.destroyed' THEN
        period := (policy #>> '{contest,period}')::interval;
        IF NOT coalesce(custody.over(policy, kit_.disposed_at, period) <= at, false) THEN
            RAISE EXCEPTION 'the disposal of this kit may still be contested' USING ERRCODE = 'CU002';
        END IF;
    END IF;
    IF step_.type = 'disposal.nothing_left' AND custody.something_left(kit_.number) THEN
        RAISE EXCEPTION 'something of this kit is left, or still looked for' USING ERRCODE = 'CU002';
    END IF;
    IF step_.type = 'disposal.approved' AND kit_.retention = 'disposed' AND NOT custody.something_left(kit_.number) THEN
        RAISE EXCEPTION 'nothing of this kit was found since it was closed' USING ERRCODE = 'CU002';
    END IF;
END $$;

-- Whether the victim is known to be of age: by the last age class recorded, or because two staff said so since.
CREATE FUNCTION custody.of_age(kit_number text) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((
        SELECT convert_from(e.bytes, 'UTF8')::jsonb ->> 'age_class' = 'adult' FROM custody.event e
        WHERE e.kit = kit_number AND e.type IN ('term.agreed', 'term.corrected')
        ORDER BY e.number DESC LIMIT 1), false)
        OR EXISTS (SELECT FROM custody.event e WHERE e.kit = kit_number AND e.type = 'majority.confirmed')
$$;

-- Whether a package is there that has not ended; a lost one is, until two people ended the search for it.
CREATE FUNCTION custody.something_left(kit_number text) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM custody.package p
        WHERE p.kit = kit_number
          AND p.state NOT IN ('split', 'joined', 'destroyed', 'returned', 'deposited', 'void')
          AND (p.state <> 'lost' OR coalesce((
              SELECT e.type <> 'search.ended'
              FROM custody.event e, jsonb_array_elements(convert_from(e.bytes, 'UTF8')::jsonb -> 'packages') n
              WHERE e.kit = kit_number AND e.type IN ('package.lost', 'package.found', 'search.ended')
                AND (n ->> 'package')::smallint = p.package
              ORDER BY e.number DESC LIMIT 1), true)))
$$;

-- What is refused about notices: another word than the writer has for how an attempt went; a message over another
-- channel than the agreed one; a notice that is settled before the notice period and the grace are over. A second
-- agreement cannot bring another channel: that is a step of its own, of two people.
CREATE FUNCTION custody.check_notice(values_ jsonb, kit_ custody.kit, step_ custody.step) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at timestamptz := (values_ ->> 'recorded_at')::timestamptz;
    until timestamptz := (values_ ->> 'until')::timestamptz;
    how text := values_ ->> 'how';
    policy jsonb;
    notice interval;
BEGIN
    IF step_.type = 'agreement.recorded' AND kit_.document ? 'channel'
       AND (kit_.document -> 'channel', kit_.document -> 'language')
           IS DISTINCT FROM (values_ -> 'channel', values_ -> 'language') THEN
        RAISE EXCEPTION 'another channel takes two people' USING ERRCODE = 'CU002';
    END IF;
    IF step_.type IN ('notice.due', 'notice.repeated', 'notice.queued') AND values_ ? 'channel'
       AND (values_ ->> 'channel' NOT IN ('email', 'sms')
            OR values_ -> 'channel' IS DISTINCT FROM kit_.document -> 'channel') THEN
        RAISE EXCEPTION 'the service sends over the agreed channel alone, by e-mail or text message'
            USING ERRCODE = 'CU002';
    END IF;
    IF step_.type <> 'notice.attempted' THEN
        RETURN;
    END IF;
    IF NOT how = ANY (CASE values_ #>> '{who,function}'
        WHEN 'clock' THEN ARRAY['sent', 'tried', 'failed', 'bounced', 'not_wanted']
        ELSE ARRAY['reached', 'posted', 'not_reached', 'not_wanted', 'no_channel', 'unreachable'] END)
       OR (how IN ('failed', 'bounced') AND until IS NOT NULL) THEN
        RAISE EXCEPTION 'this is not how an attempt of this writer goes' USING ERRCODE = 'CU002';
    END IF;
    IF until IS NULL THEN
        RETURN;
    END IF;
    policy := custody.adopted(custody.kept_policy(kit_.number, (values_ ->> 'number')::int));
    notice := (policy #>> '{notice,period}')::interval;
    IF until < kit_.term_over_at
       OR until < custody.over(policy, kit_.term_over_at - interval '1 second', (policy #>> '{grace,period}')::interval)
       OR (policy #>> '{contact,answer}' IS DISTINCT FROM 'false'
           AND NOT coalesce(until >= custody.over(policy, at, notice), false)) THEN
        RAISE EXCEPTION 'the notice period would not be over' USING ERRCODE = 'CU002';
    END IF;
END $$;

-- A notice that the service is to send stands in the outbox from the transaction that says so, until the clock
-- answers it, or the term no longer ends. An answer names the event that asked for the sending; only a message
-- that came back (bounced) is answered once more.
CREATE FUNCTION custody.keep_outbox(
    values_ jsonb, kit_ custody.kit, step_ custody.step, retention_ text
) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at timestamptz := (values_ ->> 'recorded_at')::timestamptz;
    how text := values_ ->> 'how';
    told constant text[] := ARRAY['notice_due', 'expired', 'proposed', 'approved'];
BEGIN
    IF step_.type IN ('notice.due', 'notice.repeated', 'notice.queued') AND values_ ? 'channel' THEN
        INSERT INTO retention.outbox (event, kit, channel, made_at, next_at)
        SELECT e.digest, kit_.number, values_ ->> 'channel', at, at FROM custody.event e
        WHERE e.subject = values_ ->> 'subject' AND e.number = (values_ ->> 'number')::int;
    ELSIF step_.type = 'notice.attempted' AND values_ #>> '{who,function}' = 'clock' THEN
        UPDATE retention.outbox o SET
            done_at = CASE WHEN how = 'tried' THEN o.done_at ELSE coalesce(o.done_at, at) END,
            outcome = CASE WHEN how = 'tried' THEN o.outcome ELSE how END
        WHERE o.kit = kit_.number AND (o.done_at IS NULL OR (how = 'bounced' AND o.outcome = 'sent'))
          AND encode(o.event, 'hex') IN (
              SELECT jsonb_array_elements_text(coalesce(values_ -> 'cites', '[]')));
        IF NOT FOUND AND (how <> 'not_wanted' OR values_ ? 'cites') THEN
            RAISE EXCEPTION 'no message of this kit waits for this answer' USING ERRCODE = 'CU002';
        END IF;
    END IF;
    IF kit_.retention = ANY (told) AND NOT retention_ = ANY (told) THEN
        UPDATE retention.outbox o SET done_at = at, outcome = 'overtaken'
        WHERE o.kit = kit_.number AND o.done_at IS NULL;
    END IF;
END $$;

-- What is refused about holds: one that stands already, or does not; another ground than the one it was placed on;
-- the ground of an order without one. What a judge or magistrate holds ends by a written order alone.
CREATE FUNCTION custody.check_hold(values_ jsonb, kit_number text, step_ custody.step) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    said jsonb;
    stands boolean;
BEGIN
    SELECT convert_from(e.bytes, 'UTF8')::jsonb INTO said FROM custody.event e
    WHERE e.subject = 'choices:' || kit_number AND e.number < (values_ ->> 'number')::int
      AND e.type IN ('hold.placed', 'hold.reviewed', 'hold.lifted')
      AND convert_from(e.bytes, 'UTF8')::jsonb #>> '{hold,id}' = values_ #>> '{hold,id}'
    ORDER BY e.number DESC LIMIT 1;
    stands := coalesce(said ->> 'type' <> 'hold.lifted', false);
    IF stands = (step_.holds > 0) THEN
        RAISE EXCEPTION 'there is no such hold on this kit, or there is one already' USING ERRCODE = 'CU002';
    END IF;
    IF stands AND said #>> '{hold,ground}' IS DISTINCT FROM values_ #>> '{hold,ground}' THEN
        RAISE EXCEPTION 'this hold was placed on another ground' USING ERRCODE = 'CU002';
    END IF;
    IF step_.holds > 0 AND values_ #>> '{hold,ground}' = 'order' AND NOT custody.order_stands(kit_number) THEN
        RAISE EXCEPTION 'no order was entered for this kit' USING ERRCODE = 'CU002';
    END IF;
    IF step_.holds < 0 AND values_ #>> '{hold,ground}' IN ('order', 'magistrate') AND NOT values_ ? 'documents' THEN
        RAISE EXCEPTION 'a hold by a judge or magistrate is lifted by a written order alone' USING ERRCODE = 'CU002';
    END IF;
END $$;

-- What an event does to the guarded columns of its kit and packages, and what it may not do.
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
    retention_ text;
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
    PERFORM custody.check_term(values_, kit_, step_);
    PERFORM custody.check_notice(values_, kit_, step_);
    IF step_.holds <> 0 OR step_.type = 'hold.reviewed' THEN
        PERFORM custody.check_hold(values_, kit_number, step_);
    END IF;
    IF step_.type = 'disposal.approved' AND kit_.retention <> 'disposed'
       AND custody.human(values_ #>> '{who,person}') IS NOT DISTINCT FROM (
        SELECT custody.human(said #>> '{who,person}')
        FROM custody.last_said(values_ ->> 'subject', (values_ ->> 'number')::int, ARRAY['disposal.proposed']) said
    ) THEN
        RAISE EXCEPTION 'who proposes a disposal does not approve it' USING ERRCODE = 'CU002';
    END IF;
    IF step_.type = 'order.confirmed' AND NOT EXISTS (
        SELECT FROM jsonb_array_elements(coalesce(values_ -> 'with', '[]')) w
        WHERE w ->> 'person' = custody.last_said(
            values_ ->> 'subject', (values_ ->> 'number')::int, ARRAY['order.entered']) #>> '{who,person}') THEN
        RAISE EXCEPTION 'who entered the order and who confirms it are the two people' USING ERRCODE = 'CU002';
    END IF;
    IF values_ ->> 'type' LIKE 'disposal.%' OR values_ ->> 'type' = 'package.destroyed' THEN
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
    retention_ := custody.advance('the term', kit_.retention, step_.retention, step_.type);
    UPDATE custody.kit SET
        legal = custody.advance('the legal state', kit_.legal, step_.legal, step_.type),
        retention = retention_,
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
        disposed_at = CASE WHEN step_.type IN ('disposal.carried_out', 'disposal.nothing_left') THEN at
                           ELSE kit_.disposed_at END,
        -- While a term runs, or is stopped, nobody has been told of its end. Who asked for the destruction of
        -- the evidence needs no notice of it: what came of one says nothing about an end by that wish.
        expires_at = CASE
            WHEN retention_ IN ('running', 'stopped') THEN NULL
            WHEN step_.type = 'destruction.cooled_off' THEN greatest(over_at, kit_.cooling_until)
            WHEN step_.type <> 'notice.attempted' THEN kit_.expires_at
            WHEN kit_.retention <> 'notice_due'
                 AND custody.over_before_wish(kit_number, (values_ ->> 'number')::int) IS NOT NULL
                 THEN kit_.expires_at
            WHEN values_ ->> 'how' IN ('failed', 'bounced') THEN NULL
            ELSE coalesce((values_ ->> 'until')::timestamptz, kit_.expires_at) END,
        remind_on = CASE
            WHEN retention_ IN ('running', 'stopped') THEN NULL
            WHEN step_.type IN ('notice.due', 'notice.repeated') THEN (values_ ->> 'remind_on')::date
            ELSE kit_.remind_on END,
        readers = CASE step_.type WHEN 'kit.restricted' THEN readers_
                                  WHEN 'restriction.lifted' THEN NULL
                                  ELSE kit_.readers END
    WHERE number = kit_number;
    PERFORM custody.keep_outbox(values_, kit_, step_, retention_);
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
    -- A disposal leaves nothing behind: what it does not destroy with it would lie there of a kit that is closed.
    -- What was lost can be found afterwards; the projection before this append says whether it was closed then.
    IF kit_.retention = 'disposed' AND kit_.document ->> 'retention' IS DISTINCT FROM 'disposed'
       AND custody.something_left(kit_number) THEN
        RAISE EXCEPTION 'something of this kit is left, or still looked for' USING ERRCODE = 'CU002';
    END IF;
    IF document_ ->> 'number' IS DISTINCT FROM kit_number
       OR document_ ->> 'centre' IS DISTINCT FROM kit_.centre
       OR document_ ->> 'legal' IS DISTINCT FROM kit_.legal
       OR document_ ->> 'retention' IS DISTINCT FROM kit_.retention
       OR (SELECT count(*) FROM jsonb_object_keys(coalesce(document_ -> 'holds', '{}'))) <> kit_.holds
       OR (document_ #>> '{term,over_at}')::timestamptz IS DISTINCT FROM kit_.term_over_at
       OR (document_ #>> '{term,notice_on}')::date IS DISTINCT FROM kit_.notice_on
       OR (document_ #>> '{destruction,until}')::timestamptz IS DISTINCT FROM kit_.cooling_until
       OR (document_ ->> 'disposed_at')::timestamptz IS DISTINCT FROM kit_.disposed_at
       OR (document_ ->> 'expires_at')::timestamptz IS DISTINCT FROM kit_.expires_at
       OR (document_ ->> 'remind_on')::date IS DISTINCT FROM kit_.remind_on
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

-- A card comes with the event that states it was issued, renewed or stopped, one for each kit; a data key with the
-- first events of its kit that name a private part. Neither rides along with anything else.
CREATE OR REPLACE FUNCTION custody.keep_secrets(extra jsonb, events bytea[], kits text[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    x jsonb;
    digests bytea[] := (SELECT array_agg(sha256(b)) FROM unnest(events) b);
BEGIN
    IF EXISTS (
        SELECT FROM (VALUES ('data_keys'), ('cards'), ('destroyed_keys')) AS about (what),
                    jsonb_array_elements(coalesce(extra -> about.what, '[]')) y
        WHERE NOT coalesce(y ->> 'kit' = ANY (kits), false)
    ) THEN
        RAISE EXCEPTION 'a secret of a kit that these events are not about' USING ERRCODE = 'CU003';
    END IF;
    IF EXISTS (SELECT FROM jsonb_array_elements(coalesce(extra -> 'cards', '[]')) y
               GROUP BY y ->> 'kit' HAVING count(*) > 1)
       OR EXISTS (
           SELECT FROM jsonb_array_elements(coalesce(extra -> 'cards', '[]')) y
           WHERE NOT EXISTS (
               SELECT FROM custody.event e
               WHERE e.kit = y ->> 'kit' AND e.digest = ANY (digests)
                 AND CASE WHEN y ? 'code_hash'
                     THEN e.type = 'card.renewed' OR (
                         e.type = 'card.issued' AND convert_from(e.bytes, 'UTF8')::jsonb ->> 'card' = 'issued')
                     ELSE e.type = 'card.stopped' END)) THEN
        RAISE EXCEPTION 'a card that no event issues or stops' USING ERRCODE = 'CU003';
    END IF;
    IF EXISTS (
        SELECT FROM custody.event e
        WHERE e.digest = ANY (digests) AND e.type = 'card.renewed' AND NOT EXISTS (
            SELECT FROM jsonb_array_elements(coalesce(extra -> 'cards', '[]')) y
            WHERE y ->> 'kit' = e.kit AND y ? 'code_hash')) THEN
        RAISE EXCEPTION 'a renewed card comes with the new one' USING ERRCODE = 'CU003';
    END IF;
    IF EXISTS (
        SELECT FROM jsonb_array_elements(coalesce(extra -> 'data_keys', '[]')) y
        WHERE NOT coalesce((
            SELECT bool_and(e.digest = ANY (digests)) FROM custody.event e
            WHERE e.kit = y ->> 'kit' AND convert_from(e.bytes, 'UTF8')::jsonb ? 'private'), false)) THEN
        RAISE EXCEPTION 'a data key comes with the first private part of its kit' USING ERRCODE = 'CU003';
    END IF;
    FOR x IN SELECT jsonb_array_elements(coalesce(extra -> 'data_keys', '[]')) LOOP
        INSERT INTO custody.data_key (kit, centre, wrapped, made_at)
        SELECT k.number, k.centre, decode(x ->> 'wrapped', 'base64'), custody.clock()
        FROM custody.kit k WHERE k.number = x ->> 'kit';
    END LOOP;
    FOR x IN SELECT jsonb_array_elements(coalesce(extra -> 'private_parts', '[]')) LOOP
        INSERT INTO custody.private_part (event, kit, sealed)
        SELECT e.digest, e.kit, decode(x ->> 'sealed', 'base64')
        FROM custody.event e
        WHERE e.digest = sha256(events[(x ->> 'ordinal')::int + 1]) AND e.kit IS NOT NULL
          AND convert_from(e.bytes, 'UTF8')::jsonb ? 'private';
        IF NOT FOUND THEN
            RAISE EXCEPTION 'a private part that no event names' USING ERRCODE = 'CU003';
        END IF;
    END LOOP;
    FOR x IN SELECT jsonb_array_elements(coalesce(extra -> 'cards', '[]')) LOOP
        UPDATE custody.card SET stopped_at = custody.clock()
        WHERE kit = x ->> 'kit' AND stopped_at IS NULL;
        IF x ? 'code_hash' THEN
            INSERT INTO custody.card (code_hash, kit, secret_hash, issued_at)
            VALUES (decode(x ->> 'code_hash', 'hex'), x ->> 'kit', x ->> 'secret_hash', custody.clock());
        END IF;
    END LOOP;
    FOR x IN SELECT jsonb_array_elements(coalesce(extra -> 'destroyed_keys', '[]')) LOOP
        PERFORM custody.destroy_key(x ->> 'kit', digests);
    END LOOP;
END $$;
