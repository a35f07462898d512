-- Under which policy a kit stands, and what may be adopted as one. Read from events and from what was adopted: the
-- projection beside a kit is what the service handed in, and says nothing here.

-- What the newest event of these types in this trail says, of those before the given number. Null where there is none.
CREATE FUNCTION custody.last_said(subject_ text, before integer, types text[]) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT convert_from(e.bytes, 'UTF8')::jsonb FROM custody.event e
    WHERE e.subject = subject_ AND e.number < before AND e.type = ANY (types)
    ORDER BY e.number DESC LIMIT 1
$$;

-- Every check of a period leaves this much room: the database reckons in UTC and knows no holidays, the service
-- in the local time of the centre. Of a short period never more than a fifth.
CREATE FUNCTION custody.room(period interval) RETURNS interval
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT least(interval '2 days', period / 5) $$;

-- The earliest end of a period of a policy that is counted from this instant: the same time of the local day, less
-- the room that every check leaves. Where a month of the calendar has no such date, its last day is counted at
-- the centre, as the service counts it. A zone that PostgreSQL does not know stands at UTC.
CREATE FUNCTION custody.over(policy jsonb, since timestamptz, period interval) RETURNS timestamptz
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    zone text := coalesce(policy ->> 'time_zone', 'UTC');
BEGIN
    RETURN (since AT TIME ZONE zone + period) AT TIME ZONE zone - custody.room(period);
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN (since AT TIME ZONE 'UTC' + period) AT TIME ZONE 'UTC' - custody.room(period);
END $$;

-- What is refused about the day of an examination and the days of a term: an examination that is still to come, a
-- policy that was not valid on its day, an end before the victim could be told of it and have the whole notice
-- period, and a notice that would not leave that period. No zone is farther from Greenwich than 14 hours.
CREATE FUNCTION custody.check_days(values_ jsonb, kit_number text, policy jsonb) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at timestamptz := (values_ ->> 'recorded_at')::timestamptz;
    over_at timestamptz := (values_ #>> '{term,over_at}')::timestamptz;
    notice interval := (policy #>> '{notice,period}')::interval;
    examined_on date;
BEGIN
    IF values_ ->> 'type' = 'term.agreed' THEN
        examined_on := custody.last_said('custody:' || kit_number, 2, ARRAY['kit.registered']) ->> 'examined_on';
        IF examined_on > ((at + interval '14 hours') AT TIME ZONE 'UTC')::date
           OR examined_on < (policy ->> 'valid_from')::date THEN
            RAISE EXCEPTION 'no term is agreed for an examination to come, or under a policy not valid then'
                USING ERRCODE = 'CU002';
        END IF;
        IF NOT coalesce(over_at >= custody.over(policy, at, notice), false) THEN
            RAISE EXCEPTION 'the term would end before the notice period is over' USING ERRCODE = 'CU002';
        END IF;
    END IF;
    IF ((values_ #>> '{term,notice_on}')::date + notice) AT TIME ZONE 'UTC' - custody.room(notice) > over_at THEN
        RAISE EXCEPTION 'the notice would not leave the notice period before the end' USING ERRCODE = 'CU002';
    END IF;
END $$;

-- When the term was over that stood before a wish of the victim ended it; null where no wish did.
CREATE FUNCTION custody.over_before_wish(kit_number text, before integer) RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (custody.last_said('choices:' || kit_number, (now_ ->> 'number')::int, sets.the_term)
            #>> '{term,over_at}')::timestamptz
    FROM (SELECT ARRAY['term.agreed', 'term.restarted', 'term.corrected', 'term.extended', 'term.moved',
                       'report.withdrawn']) sets (the_term),
         custody.last_said('choices:' || kit_number, before, sets.the_term || 'destruction.cooled_off'::text) now_
    WHERE now_ ->> 'type' = 'destruction.cooled_off'
$$;

-- This policy version as it was adopted. Refused where nobody did.
CREATE FUNCTION custody.adopted(named jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found jsonb;
BEGIN
    SELECT each INTO found
    FROM custody.policy p, jsonb_array_elements(convert_from(p.document, 'UTF8')::jsonb -> 'policies') each
    WHERE p.id = named ->> 'id' AND p.version = (named ->> 'version')::int
      AND each ->> 'id' = p.id AND (each ->> 'version')::int = p.version;
    IF found IS NULL THEN
        RAISE EXCEPTION 'no such retention policy was adopted' USING ERRCODE = 'CU002';
    END IF;
    RETURN found;
END $$;

-- Which policy version the kit keeps before the event of this number in its choices trail.
CREATE FUNCTION custody.kept_policy(kit_number text, before integer) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT custody.last_said('choices:' || kit_number, before, ARRAY[
        'term.agreed', 'term.restarted', 'term.corrected', 'term.extended', 'term.moved', 'report.withdrawn'
    ]) -> 'policy'
$$;

-- Whether an event may name this policy for the kit: the one that it keeps. A term is agreed under a policy that
-- is for this centre or for all. It moves to a later version of the same one, under which no period that protects
-- the victim is shorter from any day, the victim is told as before, and nothing expires earlier; and it never moves
-- where the victim wishes the evidence destroyed, or the term ended with that wish.
CREATE FUNCTION custody.may_name(values_ jsonb, kit_ custody.kit, policy jsonb) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    over_at timestamptz := (values_ #>> '{term,over_at}')::timestamptz;
    number_ int := (values_ ->> 'number')::int;
    wish constant text[] := ARRAY['destruction.requested', 'destruction.confirmed', 'destruction.cooled_off'];
    kept jsonb;
    old jsonb;
BEGIN
    IF values_ ->> 'type' = 'term.agreed' THEN
        RETURN coalesce(policy ->> 'centre', kit_.centre) = kit_.centre;
    END IF;
    kept := custody.kept_policy(kit_.number, number_);
    IF values_ ->> 'type' <> 'term.moved' THEN
        RETURN coalesce(values_ -> 'policy' = kept, false);
    END IF;
    old := custody.adopted(kept);
    RETURN coalesce(policy ->> 'id' = old ->> 'id' AND (policy ->> 'version')::int > (old ->> 'version')::int, false)
       AND NOT coalesce(custody.last_said('choices:' || kit_.number, number_, ARRAY[
               'destruction.taken_back', 'report.declared', 'term.extended', 'term.restarted', 'term.corrected'
           ] || wish) ->> 'type' = ANY (wish), false)
       AND (coalesce(old #>> '{contact,answer}', 'true') <> 'true'
            OR coalesce(policy #>> '{contact,answer}', 'true') = 'true')
       AND coalesce(over_at + coalesce((policy #>> '{grace,period}')::interval, '0') + interval '2 days'
                    >= kit_.expires_at, true)
       AND NOT EXISTS (
           -- Where months end is where periods of months and of days differ.
           SELECT FROM generate_series(timestamp '2023-01-01', '2026-12-31', '1 day') a (day), (VALUES
               ('{kept,adult,period}'::text[]), ('{kept,minor,period}'), ('{kept,unknown,period}'),
               ('{notice,period}'), ('{grace,period}'), ('{cooling_off,period}'), ('{contest,period}')) path (of)
           WHERE extract(day FROM a.day) >= 28 AND old #>> path.of IS NOT NULL
             AND NOT coalesce(a.day + (policy #>> path.of)::interval >= a.day + (old #>> path.of)::interval, false));
END $$;

-- What is adopted can be read, each version stands there once, its zone is one, and every period in it is one of at
-- most 150 years: by what is kept here the clock and the checks go. The rest of a policy is the service's to read.
CREATE FUNCTION custody.check_policy() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    calendar constant text := '^P(?=[1-9])([1-9][0-9]{0,4}Y)?([1-9][0-9]{0,4}M)?([1-9][0-9]{0,4}D)?$';
    hours constant text := '^PT[1-9][0-9]{0,3}H$';
    longest constant interval := '153 years';  -- 150 of 366 days, in months of 30: as the service reckons it
    told jsonb;
    fine boolean;
BEGIN
    BEGIN
        told := convert_from(NEW.document, 'UTF8')::jsonb;
        fine := told -> 'format' IN ('1', '2') AND jsonb_typeof(told -> 'policies') = 'array'
            AND EXISTS (
                SELECT FROM jsonb_array_elements(told -> 'policies') each
                WHERE each ->> 'id' = NEW.id AND each -> 'version' = to_jsonb(NEW.version))
            AND NOT EXISTS (
                SELECT FROM jsonb_array_elements(told -> 'policies') each
                GROUP BY each ->> 'id', each -> 'version' HAVING count(*) > 1)
            AND NOT EXISTS (
                SELECT FROM jsonb_array_elements(told -> 'policies') each
                WHERE (timestamp '2026-01-01' AT TIME ZONE (each ->> 'time_zone')) IS NULL)
            AND NOT EXISTS (
                SELECT FROM jsonb_array_elements(told -> 'policies') each, (VALUES
                    ('{kept,adult,period}'::text[]), ('{kept,minor,period}'), ('{kept,unknown,period}'),
                    ('{notice,period}'), ('{cooling_off,period}'), ('{contest,period}')) path (of)
                WHERE NOT coalesce(each #>> path.of ~ calendar, false))
            AND NOT EXISTS (
                SELECT FROM jsonb_path_query(told, '$.**.period') period
                WHERE NOT coalesce(CASE WHEN period #>> '{}' ~ calendar
                                        THEN (period #>> '{}')::interval <= longest
                                        ELSE period #>> '{}' ~ hours END, false));
    EXCEPTION WHEN data_exception THEN
        fine := false;
    END;
    IF NOT coalesce(fine, false) THEN
        RAISE EXCEPTION 'this is no retention policy that could be read' USING ERRCODE = 'CU003';
    END IF;
    IF coalesce(current_setting('custody.signed_about', true), '') <> '' THEN
        RAISE EXCEPTION 'what was signed is about a kit, and no policy' USING ERRCODE = 'CU003';
    END IF;
    RETURN NEW;
END $$;

-- As before; but a policy too is adopted by people who signed. Only the first ones, before there is any kit, are the
-- installation's own: nobody could have proposed them to anybody. Who signed that nothing was left of a kit stands
-- for who approved its end, when something is found later. Who entered an order has signed for its confirmation alone.
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
    IF step_.type = 'policy.adopted' AND (who ->> 'function' <> 'coordinator' OR EXISTS (
        SELECT FROM jsonb_array_elements(others) w
        WHERE NOT coalesce(w ->> 'function' IN ('nurse', 'custodian', 'coordinator'), false))) THEN
        RAISE EXCEPTION 'a coordinator adopts a policy, and another of the staff signs' USING ERRCODE = 'CU003';
    END IF;
    IF (step_.people > 1 AND NOT actor ->> 'person' = ANY (everybody)) OR ((
        step_.trail <> 'policy' OR EXISTS (SELECT FROM custody.kit)
    ) AND EXISTS (
        SELECT FROM unnest(everybody) p
        WHERE p <> actor ->> 'person' AND p IS DISTINCT FROM proposer AND NOT EXISTS (
            SELECT FROM custody.event e
            WHERE e.kit = kit_number AND e.person = p
              AND e.type = ANY (CASE
                  WHEN step_.people = 3 THEN ARRAY['disposal.approved', 'disposal.nothing_left']
                  WHEN step_.type = 'order.confirmed' THEN ARRAY['order.entered']
                  ELSE '{}' END))
    )) THEN
        RAISE EXCEPTION 'somebody is named here who has not signed' USING ERRCODE = 'CU003';
    END IF;
    PERFORM custody.check_hands(values_, step_, kit_number);
END $$;
