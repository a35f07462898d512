-- The observer of a disposal: a named person, often of another organisation, who is asked for one signature and
-- reads nothing. Who carries the disposal out names the observer in the command; the proposal keeps the name.

-- As before, with the one person whose signature is asked, where the command names one.
CREATE OR REPLACE FUNCTION custody.propose(
    id_ text, action_ text, kit_ text, actor jsonb, command_ jsonb, valid interval
) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    until_ timestamptz := custody.clock() + least(valid, interval '7 days');
BEGIN
    INSERT INTO custody.proposal (
        id, action, kit, person, function, organisation, command, proposed_at, until, signer)
    VALUES (id_, action_, kit_, actor ->> 'person', actor ->> 'function', actor ->> 'organisation',
            command_, custody.clock(), until_, command_ ->> 'observer')
    ON CONFLICT (id) DO NOTHING;
    RETURN (SELECT p.until FROM custody.proposal p WHERE p.id = id_);
END $$;

-- The proposer takes a proposal back; a second person who may see it declines it. The one person whose signature
-- is asked declines with a reason, and the row stays: who asked is told.
CREATE OR REPLACE FUNCTION custody.drop_proposal(id_ text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM custody.proposal p
    WHERE p.id = id_ AND p.signed_at IS NULL
      AND p.organisation = custody.mine('organisation')
      AND (p.person = custody.mine('person')
           OR custody.mine('function') IN ('nurse', 'custodian', 'coordinator'))
      AND (p.kit IS NULL OR EXISTS (
          SELECT FROM custody.known_kit k
          WHERE k.number = p.kit
            AND (k.relation <> 'in_person' OR p.person = custody.mine('person'))));
    RETURN FOUND;
END $$;

-- The person whose signature is asked declines: nobody can sign it any more, and its centre reads who declined,
-- when and why.
CREATE FUNCTION custody.decline_observation(id_ text, why text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    at timestamptz := custody.clock();
BEGIN
    UPDATE custody.proposal p SET declined_at = at, declined = left(why, 200), until = at
    WHERE p.id = id_ AND p.signed_at IS NULL AND p.until > at
      AND p.signer = custody.mine('person')
      AND custody.mine('function') IN ('nurse', 'custodian', 'coordinator', 'observer');
    RETURN FOUND;
END $$;

-- What the asker of this transaction is asked to observe: which packages, and who carries it out. Nothing else
-- of the command, and nothing of the kits. Row-level security shows the proposal itself to its centre alone.
CREATE FUNCTION custody.observations() RETURNS TABLE (
    id text, person text, function text, organisation text, proposed_at timestamptz, until timestamptz,
    signed boolean, packages jsonb)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.id, p.person, p.function, p.organisation, p.proposed_at, p.until,
           p.signed_at IS NOT NULL,
           (SELECT jsonb_agg(jsonb_build_object('kit', e.value ->> 'kit', 'package', e.value -> 'package')
                             ORDER BY e.place)
            FROM jsonb_array_elements(p.command -> 'packages') WITH ORDINALITY e (value, place))
    FROM custody.proposal p
    WHERE p.signer = custody.mine('person') AND p.action = 'disposal.carry_out'
      AND custody.mine('function') IN ('nurse', 'custodian', 'coordinator', 'observer')
      AND p.until > custody.clock()
    ORDER BY p.proposed_at
$$;

-- Where one person is asked, nobody else signs. What the transaction writes under this signature is looked at
-- in custody.check_observer, and a policy in custody.check_policy.
CREATE FUNCTION custody.check_signer() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.signer IS DISTINCT FROM OLD.signer THEN
        RAISE EXCEPTION 'whose signature is asked does not change' USING ERRCODE = 'CU002';
    END IF;
    IF OLD.declined_at IS NOT NULL THEN
        RAISE EXCEPTION 'what was declined is not signed, and stays declined' USING ERRCODE = 'CU002';
    END IF;
    IF NEW.signed_at IS DISTINCT FROM OLD.signed_at THEN
        IF NEW.signer IS NOT NULL AND NEW.signed_by IS DISTINCT FROM NEW.signer THEN
            RAISE EXCEPTION 'this signature is asked of another person' USING ERRCODE = 'CU002';
        END IF;
        PERFORM set_config('custody.observing', coalesce(NEW.signer, ''), true);
        PERFORM set_config('custody.signed_about', coalesce(NEW.kit, ''), true);
    END IF;
    RETURN NEW;
END $$;

-- Destruction is written by its observer's hand: the approver is the one who approved this disposal (of what is found
-- after nothing was left, the second who signed that), the observer the one who signs now, who has not proposed it,
-- under no name of theirs. Who was asked to observe signs nothing else with it, and who holds the function of an
-- observer signs nothing but as an observer.
CREATE FUNCTION custody.check_observer() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v jsonb := convert_from(NEW.bytes, 'UTF8')::jsonb;
    others jsonb := coalesce(v -> 'with', '[]');
    approved_by text;
    proposed_by text;
BEGIN
    IF NEW.type IN ('disposal.carried_out', 'package.destroyed') THEN
        SELECT said #>> CASE said ->> 'type' WHEN 'disposal.approved' THEN ARRAY['who', 'person']
                                             ELSE ARRAY['with', '0', 'person'] END
        INTO approved_by
        FROM custody.last_said('choices:' || NEW.kit, 2147483647,
                               ARRAY['disposal.approved', 'disposal.nothing_left']) said;
        -- Where no approval stands, the protocol has no such step: custody.apply_to_kit says so.
        IF jsonb_array_length(others) <> 2
           OR (approved_by IS NOT NULL AND NOT EXISTS (
               SELECT FROM jsonb_array_elements(others) w
               WHERE w ->> 'part' = 'approver' AND w ->> 'person' = approved_by))
           OR NOT EXISTS (SELECT FROM jsonb_array_elements(others) w
                          WHERE w ->> 'part' = 'observer' AND w ->> 'person' = NEW.person
                            AND w ->> 'function' IN ('nurse', 'custodian', 'coordinator', 'observer')) THEN
            RAISE EXCEPTION 'who approved this disposal and the observer who signs now stand beside who carries it out'
                USING ERRCODE = 'CU003';
        END IF;
        proposed_by := custody.last_said('choices:' || NEW.kit, 2147483647,
                                         ARRAY['disposal.proposed', 'disposal.nothing_left']) #>> '{who,person}';
        IF custody.human(NEW.person) = custody.human(proposed_by) THEN
            RAISE EXCEPTION 'who proposed a disposal does not observe it' USING ERRCODE = 'CU002';
        END IF;
    ELSIF current_setting('custody.observing', true) = NEW.person THEN
        RAISE EXCEPTION 'who is asked to observe a disposal signs nothing else' USING ERRCODE = 'CU003';
    ELSIF v #>> '{who,function}' = 'observer' OR EXISTS (
        SELECT FROM jsonb_array_elements(others) w WHERE w ->> 'function' = 'observer') THEN
        RAISE EXCEPTION 'an observer signs as the observer of a disposal alone' USING ERRCODE = 'CU003';
    END IF;
    RETURN NULL;
END $$;
