-- The only deletion there is: the wrapped data key of a kit disposed of, in the transaction of the event that
-- states it. `events` are the digests of this transaction's events.
CREATE FUNCTION custody.destroy_key(kit_number text, events bytea[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM custody.data_key d USING custody.kit k
    WHERE d.kit = kit_number AND k.number = d.kit AND k.retention = 'disposed'
      AND EXISTS (SELECT FROM custody.event e
                  WHERE e.kit = d.kit AND e.type = 'key.destroyed' AND e.digest = ANY (events));
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no key of a disposed kit stands under this number' USING ERRCODE = 'CU002';
    END IF;
END $$;

-- The clerk's, when a master key is replaced: the same data key, wrapped by another master key. Nothing happens
-- where the wrapped key is no longer the one that was read (another rotation, or its destruction). What is put
-- there names a higher master key than what it replaces; `old` of 60 bytes without a number is of the first.
CREATE FUNCTION custody.rewrap(kit_number text, old_ bytea, new_ bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mark CONSTANT bytea := convert_to('data key', 'UTF8');
    before bytea := CASE WHEN substring(old_ FROM 1 FOR 8) = mark THEN substring(old_ FROM 9 FOR 4)
                         ELSE '\x00000001'::bytea END;
BEGIN
    IF session_user <> 'custody_clerk' THEN
        RAISE EXCEPTION 'only the clerk wraps keys anew' USING ERRCODE = 'CU003';
    END IF;
    IF substring(new_ FROM 1 FOR 8) IS DISTINCT FROM mark OR length(new_) NOT BETWEEN 13 AND 4108
       OR substring(new_ FROM 9 FOR 4) <= before THEN
        RAISE EXCEPTION 'this is not a data key under a later master key' USING ERRCODE = 'CU003';
    END IF;
    UPDATE custody.data_key d SET wrapped = new_ WHERE d.kit = kit_number AND d.wrapped = old_;
    RETURN FOUND;
END $$;

-- What belongs to an event and stands outside it: the wrapped data key, the sealed private part, the hashes
-- of a card. Called by custody.append only, in the event's transaction, and only about the kits of its events.
-- A card comes with the event that states it was issued or stopped, one for each kit; a data key with the first
-- events of its kit that name a private part. Neither rides along with anything else.
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
                     THEN e.type = 'card.issued' AND convert_from(e.bytes, 'UTF8')::jsonb ->> 'card' = 'issued'
                     ELSE e.type = 'card.stopped' END)) THEN
        RAISE EXCEPTION 'a card that no event issues or stops' USING ERRCODE = 'CU003';
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
