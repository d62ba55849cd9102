-- What stays learned though a person switched it off, and what has to go with what was forgotten.

-- Conversations that taught until somebody switched that off; the trigger here is the only writer.
-- Nobody noted it before: of older ones all count that do not teach now.
CREATE TABLE taught_once (
  conversation_id INTEGER PRIMARY KEY REFERENCES conversations (conversation_id) ON DELETE RESTRICT
) STRICT;

INSERT INTO taught_once
SELECT conversation_id FROM conversations
 WHERE learn = 0 AND erased_ms IS NULL AND user_id NOT LIKE 'temporary-%';

CREATE TRIGGER taught_once_switched AFTER UPDATE OF learn ON conversations
WHEN OLD.learn = 1 AND NEW.learn = 0 AND NEW.erased_ms IS NULL
BEGIN
  INSERT OR IGNORE INTO taught_once VALUES (NEW.conversation_id);
END;

-- Rounds that learned from something forgotten: their files are to be gone. Of older ones those that
-- say so; other versions are tainted because their files are broken, and keep them.
CREATE TABLE forgotten_rounds (
  number     INTEGER PRIMARY KEY REFERENCES rounds (number) ON DELETE RESTRICT,
  created_ms INTEGER NOT NULL
) STRICT;

INSERT INTO forgotten_rounds
SELECT number, created_ms FROM rounds
 WHERE (status = 'failed'
        AND reason = 'Something was forgotten while it was made, so it is not kept.')
    OR number IN (SELECT version FROM version_states
                   WHERE state = 'tainted' AND reason LIKE 'learned from a %');

CREATE TRIGGER forgotten_rounds_no_update BEFORE UPDATE ON forgotten_rounds
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER forgotten_rounds_no_delete BEFORE DELETE ON forgotten_rounds
BEGIN SELECT RAISE(ABORT, 'append-only'); END;

PRAGMA user_version = 11;
