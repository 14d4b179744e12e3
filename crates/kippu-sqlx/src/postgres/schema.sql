-- Adds the new columns to a table of an earlier version, and rejects a table of a later one. This
-- comes first because it takes the strongest lock: upgrading a weaker lock would deadlock with
-- writers of the previous version.
DO $$
DECLARE
    found REGCLASS := to_regclass('kippu_sessions');
BEGIN
    IF substring(obj_description(found, 'pg_class') FROM '^kippu schema ([0-9]{1,9})')::int > 3 THEN
        RAISE EXCEPTION 'kippu_sessions has the schema of a newer version of kippu' USING ERRCODE = 'KIPPU';
    END IF;
    IF found IS NOT NULL AND NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = found AND attname = 'data' AND NOT attisdropped
    ) THEN
        ALTER TABLE kippu_sessions
            ADD COLUMN IF NOT EXISTS remembered BOOLEAN NOT NULL DEFAULT TRUE,
            ADD COLUMN IF NOT EXISTS idle_lifetime BIGINT,
            ADD COLUMN IF NOT EXISTS auth_time BIGINT,
            ADD COLUMN IF NOT EXISTS data BYTEA NOT NULL DEFAULT '';
    END IF;
END;
$$;

-- Only columns that never change are indexed, and pages keep a fifth of their space for updates, so
-- that a rotation writes its row and no index (a HOT update). COLLATE "C" compares bytes, whatever
-- the server's locale is.
CREATE TABLE IF NOT EXISTS kippu_sessions (
    id BYTEA PRIMARY KEY CHECK (octet_length(id) = 16),
    subject TEXT COLLATE "C" NOT NULL,
    client TEXT COLLATE "C" NOT NULL,
    label TEXT,
    -- Times are Unix milliseconds.
    created_at BIGINT NOT NULL,
    absolute_expires_at BIGINT NOT NULL,
    generation BIGINT NOT NULL CHECK (generation >= 0),
    kid TEXT NOT NULL,
    rotated_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    revoked_reason TEXT,
    -- A process with the previous version inserts rows without these columns.
    remembered BOOLEAN NOT NULL DEFAULT TRUE,
    idle_lifetime BIGINT,
    auth_time BIGINT,
    data BYTEA NOT NULL DEFAULT '',
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS kippu_sessions_subject ON kippu_sessions (subject);

-- The log of ended sessions. Readers continue from a snapshot: neither a time nor a sequence is in
-- the order in which transactions become visible.
CREATE TABLE IF NOT EXISTS kippu_ended (
    txid BIGINT NOT NULL DEFAULT txid_current(),
    id BYTEA NOT NULL CHECK (octet_length(id) = 16),
    ended_at BIGINT NOT NULL DEFAULT floor(date_part('epoch', clock_timestamp()) * 1000)
);
CREATE INDEX IF NOT EXISTS kippu_ended_txid ON kippu_ended (txid);
CREATE INDEX IF NOT EXISTS kippu_ended_ended_at ON kippu_ended (ended_at);
-- A trigger, so that a session that an operator revokes with SQL is also in the log.
CREATE OR REPLACE FUNCTION kippu_log_ended() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO kippu_ended (id) VALUES (NEW.id);
    RETURN NULL;
END;
$$;
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = 'kippu_sessions'::regclass AND tgname = 'kippu_sessions_ended'
    ) THEN
        CREATE TRIGGER kippu_sessions_ended AFTER UPDATE OF revoked_at ON kippu_sessions
        FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL)
        EXECUTE FUNCTION kippu_log_ended();
        -- The access tokens of sessions that were revoked before the log existed may still be
        -- valid.
        INSERT INTO kippu_ended (id) SELECT id FROM kippu_sessions WHERE revoked_at IS NOT NULL;
    END IF;
END;
$$;

-- Programs with an earlier version read the comment, and reject a table that they do not know.
-- Every role may read it.
COMMENT ON TABLE kippu_sessions IS 'kippu schema 3';
