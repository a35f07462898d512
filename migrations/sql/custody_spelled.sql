-- What is wrong with the spelling of these bytes; null if they are in the one spelling of an event.
-- Told is the field, never what stands in it. The expressions follow from custody.event.FIELDS.
CREATE OR REPLACE FUNCTION custody.spelled(bytes_ bytea) RETURNS text
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $spelled$
DECLARE
    fields CONSTANT jsonb := $fields$@FIELDS@$fields$::jsonb;
    written text;
    again text := '';
    name text;
    told json;
    value text;
    quick text;
    field jsonb;
    place int := 0;
    always int := 0;
    first boolean;
    follows boolean;
BEGIN
    IF octet_length(bytes_) > 65536 THEN
        RETURN 'more than 65536 bytes';
    END IF;
    BEGIN
        written := convert_from(bytes_, 'UTF8');
        FOR name, told IN SELECT f.key, f.value FROM json_each(written::json) f LOOP
            field := fields -> name;
            IF field IS NULL THEN
                RETURN 'a key that no event has';
            ELSIF (field -> 'place')::int <= place THEN
                RETURN name || ' in another place';
            END IF;
            -- Expressions that count letters take long; they are needed where a text is long or escaped.
            value := told::text;
            quick := field ->> 'quick';
            IF quick IS NULL OR value = 'null' THEN
                quick := field ->> 'form';
            ELSIF field ? 'exact' THEN
                IF length(value) <> (field -> 'exact')::int THEN
                    RETURN name;
                END IF;
            ELSIF strpos(value, '\') > 0 OR length(value) > @SHORT@ + 2 AND EXISTS (
                SELECT FROM unnest(string_to_array(value, '"')) t WHERE length(t) > @SHORT@
            ) THEN
                quick := field ->> 'form';
            END IF;
            IF value !~ quick THEN
                RETURN name;
            ELSIF field ? 'most' AND json_array_length(told) > (field -> 'most')::int THEN
                RETURN name || ' with too many entries';
            ELSIF length(value) > (field -> 'longest')::int AND EXISTS (
                SELECT FROM jsonb_path_query(told::jsonb, '$[*]') t
                WHERE length(t #>> '{}') > (field -> 'longest')::int
            ) THEN
                RETURN name || ' with too long a text';
            END IF;
            place := (field -> 'place')::int;
            always := always + (field -> 'always')::boolean::int;
            IF name = 'number' THEN
                first := value = '1';
            ELSIF name = 'previous' THEN
                follows := value <> 'null';
            END IF;
            again := again || ',"' || name || '":' || value;
        END LOOP;
    EXCEPTION WHEN OTHERS THEN
        RETURN 'no JSON object';
    END;
    IF always <> @ALWAYS@ THEN
        RETURN 'a key that every event has is missing';
    ELSIF first = follows THEN
        RETURN 'previous';
    ELSIF '{' || substr(again, 2) || '}' <> written THEN
        RETURN 'blanks or escapes';
    ELSIF octet_length(bytes_) <> length(written)
          AND (written IS NOT NFC NORMALIZED OR written ~ '@REFUSED@') THEN
        RETURN 'letters that stand in no event';
    END IF;
    RETURN NULL;
END $spelled$;
