-- Each entry of the log of ended sessions wakes those who listen. It can be run again.
CREATE OR REPLACE FUNCTION kippu_notify_ended() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    -- The server sends one of several equal messages of a transaction.
    NOTIFY kippu_ended;
    RETURN NULL;
END;
$$;
DROP TRIGGER IF EXISTS kippu_ended_notify ON kippu_ended;
CREATE TRIGGER kippu_ended_notify AFTER INSERT ON kippu_ended
FOR EACH STATEMENT EXECUTE FUNCTION kippu_notify_ended();
