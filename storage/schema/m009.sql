-- What a person marks in one reply: unsafe, private data, the wrong language and so on. The newest
-- row of a candidate counts and names all of its labels; an empty list takes them back. Who said it
-- is whose conversation it is; source is where it was said.
CREATE TABLE reply_labels (
  label_id     INTEGER PRIMARY KEY,
  candidate_id INTEGER NOT NULL REFERENCES candidates (candidate_id) ON DELETE RESTRICT,
  labels_json  TEXT NOT NULL CHECK (json_valid(labels_json) AND json_type(labels_json) = 'array'),
  source       TEXT NOT NULL CHECK (source IN ('person', 'imported')),
  created_ms   INTEGER NOT NULL
) STRICT;
CREATE INDEX reply_labels_candidate ON reply_labels (candidate_id, label_id);

CREATE TRIGGER reply_labels_no_update BEFORE UPDATE ON reply_labels
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
-- A label says something of what was written, so it goes with the chat's texts, and only then.
CREATE TRIGGER reply_labels_no_delete BEFORE DELETE ON reply_labels
WHEN EXISTS (SELECT 1 FROM candidates c JOIN turns t ON t.turn_id = c.prompt_turn_id
               JOIN conversations v USING (conversation_id)
              WHERE c.candidate_id = OLD.candidate_id AND v.erased_ms IS NULL)
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER reply_labels_erased AFTER UPDATE OF erased_ms ON conversations
WHEN NEW.erased_ms IS NOT NULL
BEGIN
  DELETE FROM reply_labels WHERE candidate_id IN (
    SELECT c.candidate_id FROM candidates c JOIN turns t ON t.turn_id = c.prompt_turn_id
     WHERE t.conversation_id = NEW.conversation_id);
END;

PRAGMA user_version = 9;
