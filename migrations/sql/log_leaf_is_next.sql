-- Leaves are numbered 0, 1, 2, ... in each log without a gap. The primary key keeps numbers unique, so
-- it is enough that one statement's leaves follow each other and the leaf before the first one is there.
CREATE FUNCTION audit.leaf_is_next() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    span record;
BEGIN
    FOR span IN
        SELECT added.log AS log, min(added.index) AS first, max(added.index) AS last, count(*) AS leaves
        FROM added GROUP BY added.log
    LOOP
        IF span.last - span.first + 1 <> span.leaves
            OR (span.first > 0 AND NOT EXISTS (
                SELECT FROM audit.leaf AS leaf WHERE leaf.log = span.log AND leaf.index = span.first - 1))
        THEN
            RAISE EXCEPTION 'leaves % to % of log % are refused: they do not follow the last leaf without a gap',
                span.first, span.last, span.log
                USING ERRCODE = 'restrict_violation';
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
