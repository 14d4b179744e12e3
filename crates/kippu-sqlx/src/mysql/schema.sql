-- Texts are VARBINARY, so that they are compared as bytes, with trailing spaces, independent of the
-- server's character sets. A rotation changes no column of an index.
CREATE TABLE IF NOT EXISTS kippu_sessions (
    id BINARY(16) NOT NULL PRIMARY KEY,
    subject VARBINARY(512) NOT NULL,
    client VARBINARY(512) NOT NULL,
    label VARBINARY(128),
    -- Times are Unix milliseconds.
    created_at BIGINT NOT NULL,
    absolute_expires_at BIGINT NOT NULL,
    remembered TINYINT NOT NULL,
    -- In milliseconds.
    idle_lifetime BIGINT,
    auth_time BIGINT NOT NULL,
    data VARBINARY(1024) NOT NULL,
    generation BIGINT NOT NULL,
    kid VARBINARY(64) NOT NULL,
    rotated_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    revoked_reason VARBINARY(32),
    KEY kippu_sessions_subject (subject, created_at),
    CHECK (generation >= 0),
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- The log of ended sessions. A transaction takes its numbers from kippu_state and locks that row
-- until its commit, so that the numbers are in the order of the commits. The tag is random for each
-- transaction. It distinguishes an entry from the one that had the same number before a crash, a
-- failover or the restoration of a backup.
CREATE TABLE IF NOT EXISTS kippu_ended (
    seq BIGINT NOT NULL PRIMARY KEY,
    id BINARY(16) NOT NULL,
    tag BINARY(16) NOT NULL,
    ended_at BIGINT NOT NULL,
    KEY kippu_ended_ended_at (ended_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- One row: the version of these tables, and the last entry of the log.
CREATE TABLE IF NOT EXISTS kippu_state (
    one TINYINT NOT NULL PRIMARY KEY CHECK (one = 1),
    version INT NOT NULL,
    seq BIGINT NOT NULL,
    tag BINARY(16) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
INSERT IGNORE INTO kippu_state (one, version, seq, tag) VALUES (1, 1, 0, x'00000000000000000000000000000000');
