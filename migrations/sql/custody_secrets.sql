-- What belongs to an event and stands outside it: the wrapped data key, the sealed private part, the hashes
-- of a card. Called by custody.append only, in the event's transaction, and only about the kits of its events.
CREATE FUNCTION custody.keep_secrets(extra jsonb, events bytea[], kits text[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    x jsonb;
BEGIN
    IF EXISTS (
        SELECT FROM (VALUES ('data_keys'), ('cards'), ('destroyed_keys')) AS about (what),
                    jsonb_array_elements(coalesce(extra -> about.what, '[]')) y
        WHERE NOT coalesce(y ->> 'kit' = ANY (kits), false)
    ) THEN
        RAISE EXCEPTION 'a secret of a kit that these events are not about' USING ERRCODE = 'CU003';
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
        DELETE FROM custody.data_key d USING custody.kit k
        WHERE d.kit = x ->> 'kit' AND k.number = d.kit AND k.retention = 'disposed'
          AND EXISTS (SELECT FROM custody.event e
                      WHERE e.kit = d.kit AND e.type = 'key.destroyed' AND e.digest = ANY (
                          SELECT sha256(b) FROM unnest(events) b));
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no key of a disposed kit stands under this number' USING ERRCODE = 'CU002';
        END IF;
    END LOOP;
END $$;

-- The kit of a card and the hash of its second secret; nothing for a stopped or unknown card.
CREATE FUNCTION custody.find_card(code_hash_ bytea) RETURNS TABLE (kit text, secret_hash text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.kit, c.secret_hash FROM custody.card c WHERE c.code_hash = code_hash_ AND c.stopped_at IS NULL
$$;

-- Two people: what one proposes waits here for the other's signature. Not evidence; it falls away.
-- The same command under the same key is the same proposal.
CREATE FUNCTION custody.propose(
    id_ text, action_ text, kit_ text, actor jsonb, command_ jsonb, valid interval
) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    until_ timestamptz := custody.clock() + least(valid, interval '7 days');
BEGIN
    INSERT INTO custody.proposal (id, action, kit, person, function, organisation, command, proposed_at, until)
    VALUES (id_, action_, kit_, actor ->> 'person', actor ->> 'function', actor ->> 'organisation',
            command_, custody.clock(), until_)
    ON CONFLICT (id) DO NOTHING;
    RETURN (SELECT p.until FROM custody.proposal p WHERE p.id = id_);
END $$;

-- The proposer takes a proposal back, or a second person declines it.
CREATE FUNCTION custody.drop_proposal(id_ text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM custody.proposal p
    WHERE p.id = id_ AND p.signed_at IS NULL AND p.organisation = custody.mine('organisation');
    RETURN FOUND;
END $$;

-- Commands that waited for a second person and were signed, or fell away, thirty days ago. The clerk's.
CREATE FUNCTION custody.forget_proposals() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone integer;
BEGIN
    DELETE FROM custody.proposal p WHERE p.until < custody.clock() - interval '30 days';
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
