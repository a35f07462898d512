-- A kit's document as far as another organisation than its centre may know of it, or somebody of its centre who
-- is kept out of a restricted kit; what may not be known is as if it had never been:
-- `custody.permission.as_known`, and a test compares the two. As before, with the holds of magistrates for the
-- office that the kit is linked to: it looks at them again.
CREATE OR REPLACE FUNCTION custody.known_document(document jsonb, organisation text, person text) RETURNS jsonb
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
        'holds', (SELECT jsonb_object_agg(h.key, h.value) FROM jsonb_each(coalesce(document -> 'holds', '{}')) h
                  WHERE linked AND organisation = document #>> '{link,office}'
                    AND h.value ->> 'ground' = 'magistrate'),
        'findings', (SELECT jsonb_agg(f.value ORDER BY f.place)
                     FROM jsonb_array_elements(document -> 'findings') WITH ORDINALITY f (value, place)
                     WHERE f.value ->> 'trail' = 'custody' AND (linked OR packages ?| ARRAY(
                         SELECT jsonb_array_elements_text(coalesce(f.value -> 'packages', '[]')))))))
    -- Of the choices there is what a kit has before anybody chose.
    || '{"retention": "running", "choices_head": {"number": 0}, "age_class": "unknown"}';
END $$;
