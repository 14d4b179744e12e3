-- Only columns that never change are indexed, and pages keep a fifth of their room for updates: so a rotation
-- writes its row and no index (a HOT update). "C": bytes are compared, whatever the server's locales are.
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
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS kippu_sessions_subject ON kippu_sessions (subject);
