-- What a file said of a record goes with the record's chat, as the texts do.
--
-- row_sha256 is salted from now on, as the digests of texts are, so that it tells nothing of a text
-- that was erased: SHA-256 of the person's salt and the line's own SHA-256. It stays after an
-- erasure, so that a file does not bring back what was deleted.

DROP TRIGGER imported_pairs_no_update;
DROP TRIGGER imported_slates_no_update;
DROP TRIGGER imported_dialogues_no_update;

-- salted() is m010's own in storage/migrations.py.
UPDATE imported_pairs SET row_sha256 =
  salted((SELECT salt FROM users WHERE user_id = 'local-person'), row_sha256);
UPDATE imported_slates SET row_sha256 =
  salted((SELECT salt FROM users WHERE user_id = 'local-person'), row_sha256);
UPDATE imported_dialogues SET row_sha256 =
  salted((SELECT salt FROM users WHERE user_id = 'local-person'), row_sha256);

CREATE TRIGGER imported_meta_erased AFTER UPDATE OF erased_ms ON conversations
WHEN NEW.erased_ms IS NOT NULL AND NEW.imported = 1
BEGIN
  UPDATE imported_pairs SET meta_json = '{}' WHERE comparison_id IN (
    SELECT c.comparison_id FROM turns t JOIN candidates a ON a.prompt_turn_id = t.turn_id
      JOIN comparisons c ON c.first_id = a.candidate_id
     WHERE t.conversation_id = NEW.conversation_id);
  UPDATE imported_slates SET meta_json = '{}' WHERE slate_id IN (
    SELECT s.slate_id FROM slates s JOIN turns t ON t.turn_id = s.prompt_turn_id
     WHERE t.conversation_id = NEW.conversation_id);
  UPDATE imported_dialogues SET meta_json = '{}' WHERE conversation_id = NEW.conversation_id;
END;
-- Of the chats that were erased before this step.
UPDATE conversations SET erased_ms = erased_ms WHERE erased_ms IS NOT NULL AND imported = 1;

-- Append-only but for that: of an erased chat, meta_json becomes empty and all else stays.
CREATE TRIGGER imported_pairs_no_update BEFORE UPDATE ON imported_pairs
WHEN NEW.meta_json <> '{}'
  OR (NEW.comparison_id, NEW.row_sha256, NEW.created_ms)
     IS NOT (OLD.comparison_id, OLD.row_sha256, OLD.created_ms)
  OR EXISTS (SELECT 1 FROM comparisons c JOIN candidates a ON a.candidate_id = c.first_id
               JOIN turns t ON t.turn_id = a.prompt_turn_id JOIN conversations v
              USING (conversation_id)
              WHERE c.comparison_id = OLD.comparison_id AND v.erased_ms IS NULL)
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER imported_slates_no_update BEFORE UPDATE ON imported_slates
WHEN NEW.meta_json <> '{}'
  OR (NEW.slate_id, NEW.row_sha256, NEW.created_ms)
     IS NOT (OLD.slate_id, OLD.row_sha256, OLD.created_ms)
  OR EXISTS (SELECT 1 FROM slates s JOIN turns t ON t.turn_id = s.prompt_turn_id
               JOIN conversations v USING (conversation_id)
              WHERE s.slate_id = OLD.slate_id AND v.erased_ms IS NULL)
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER imported_dialogues_no_update BEFORE UPDATE ON imported_dialogues
WHEN NEW.meta_json <> '{}'
  OR (NEW.conversation_id, NEW.row_sha256, NEW.created_ms)
     IS NOT (OLD.conversation_id, OLD.row_sha256, OLD.created_ms)
  OR EXISTS (SELECT 1 FROM conversations v
              WHERE v.conversation_id = OLD.conversation_id AND v.erased_ms IS NULL)
BEGIN SELECT RAISE(ABORT, 'append-only'); END;

PRAGMA user_version = 10;
