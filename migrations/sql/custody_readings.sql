-- What a reading is checked against before it is shown.

-- The own access records of one kit since then: whether a purpose that is claimed is true.
CREATE FUNCTION custody.my_readings(kit_ text, since timestamptz) RETURNS SETOF bytea
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.bytes FROM custody.access a
    WHERE a.kit = kit_ AND a.recorded_at >= since AND a.subject = 'reads:' || custody.mine('person')
$$;

-- Whether such a kit is of the own centre, for staff who may not see it: the glass stands before no other.
CREATE FUNCTION custody.behind_glass(kit_ text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT custody.mine('function') IN ('nurse', 'custodian', 'coordinator') AND EXISTS (
        SELECT FROM custody.kit k WHERE k.number = kit_ AND k.centre = custody.mine('organisation'))
$$;
