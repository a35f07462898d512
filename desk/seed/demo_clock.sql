-- The demo's clock: the real time, and as many days more as somebody let pass on the demo's page. Only a
-- database that is marked as fictional gets it, and a fictional database never becomes a real one.
CREATE TABLE IF NOT EXISTS desk.time_passed (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    amount interval NOT NULL
);
INSERT INTO desk.time_passed (amount) VALUES ('0') ON CONFLICT DO NOTHING;
CREATE OR REPLACE FUNCTION custody.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'SELECT clock_timestamp() + (SELECT amount FROM desk.time_passed)';
CREATE OR REPLACE FUNCTION desk.let_pass(days integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'UPDATE desk.time_passed SET amount = amount + make_interval(days => greatest(0, least(days, 366)))';
REVOKE ALL ON FUNCTION desk.let_pass(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION desk.let_pass(integer) TO custody_service;
