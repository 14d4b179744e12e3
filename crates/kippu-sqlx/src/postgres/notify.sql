-- Notifies the listeners of each new entry in the log of ended sessions. It can be run again.
CREATE OR REPLACE FUNCTION kippu_notify_ended() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    -- If a transaction notifies several times, the server sends one message.
    NOTIFY kippu_ended;
    RETURN NULL;
END;
$$;
DROP TRIGGER IF EXISTS kippu_ended_notify ON kippu_ended;
CREATE TRIGGER kippu_ended_notify AFTER INSERT ON kippu_ended
FOR EACH STATEMENT EXECUTE FUNCTION kippu_notify_ended();
