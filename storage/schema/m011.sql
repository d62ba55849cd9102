-- What stays learned though a person switched it off.

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

PRAGMA user_version = 11;
