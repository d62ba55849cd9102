-- What a person says of a reply beside choosing: thumbs, strength and reasons of a choice, and
-- replies of their own. Logs as in m001: append-only, the newest row of its kind counts.

-- A reply that a person wrote is a candidate like any other; it has no cache until the model has
-- read it. version is then the one that was live.
ALTER TABLE candidates ADD COLUMN author TEXT NOT NULL DEFAULT 'policy'
  CHECK (author IN ('policy', 'person'));

-- 'edited' and 'written': nobody was asked, the pair follows from what a person wrote. As in m002.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
   SET sql = replace(sql, '''imported''', '''imported'', ''edited'', ''written''')
 WHERE type = 'table' AND name = 'comparisons';
PRAGMA writable_schema = RESET;

CREATE TABLE ratings (
  rating_id  INTEGER PRIMARY KEY,
  turn_id    INTEGER NOT NULL REFERENCES turns (turn_id) ON DELETE RESTRICT,
  thumb      TEXT NOT NULL CHECK (thumb IN ('up', 'down', 'none')),
  created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX ratings_turn ON ratings (turn_id, rating_id);

CREATE TABLE preference_notes (
  note_id      INTEGER PRIMARY KEY,
  seq          INTEGER NOT NULL REFERENCES preferences (seq) ON DELETE RESTRICT,
  strength     TEXT CHECK (strength IS NULL OR strength IN ('slightly', 'clearly')),
  reasons_json TEXT NOT NULL,
  comment_id   INTEGER REFERENCES texts (text_id) ON DELETE RESTRICT,
  created_ms   INTEGER NOT NULL
) STRICT;
CREATE INDEX preference_notes_seq ON preference_notes (seq, note_id);
CREATE INDEX preference_notes_comment ON preference_notes (comment_id);

CREATE TRIGGER ratings_reply BEFORE INSERT ON ratings
WHEN 'assistant' IS NOT (SELECT role FROM turns WHERE turn_id = NEW.turn_id)
BEGIN SELECT RAISE(ABORT, 'a thumb is about a reply'); END;

CREATE TRIGGER ratings_no_update BEFORE UPDATE ON ratings
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER ratings_no_delete BEFORE DELETE ON ratings
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER preference_notes_no_update BEFORE UPDATE ON preference_notes
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER preference_notes_no_delete BEFORE DELETE ON preference_notes
BEGIN SELECT RAISE(ABORT, 'append-only'); END;

-- As before, and both replies must have been read by the model: what a person wrote a moment ago
-- waits for that.
DROP VIEW live;
CREATE VIEW live AS
  SELECT p.*, v.held_out
    FROM newest p
    JOIN users u ON u.user_id = p.user_id
    JOIN comparisons c ON c.comparison_id = p.comparison_id
    JOIN candidates a ON a.candidate_id = c.first_id
    JOIN turns t ON t.turn_id = a.prompt_turn_id
    JOIN conversations v ON v.conversation_id = t.conversation_id
   WHERE p.choice <> 'withdrawn' AND u.status = 'active' AND v.learn = 1
     AND NOT EXISTS (SELECT 1 FROM forgotten f WHERE f.comparison_id = p.comparison_id)
     AND EXISTS (SELECT 1 FROM candidate_cache WHERE candidate_id = c.first_id)
     AND EXISTS (SELECT 1 FROM candidate_cache WHERE candidate_id = c.second_id)
     AND coalesce((SELECT f.flag FROM preference_flags f
                    WHERE f.seq = p.seq ORDER BY f.flag_id DESC LIMIT 1), 'released') = 'released';

-- What a person wrote is no reply of the policy's, and a pair that follows from it no question.
DROP TRIGGER plain_replies_shown;
CREATE TRIGGER plain_replies_shown AFTER INSERT ON turns
WHEN NEW.role = 'assistant'
 AND 'policy' = (SELECT author FROM candidates WHERE candidate_id = NEW.candidate_id)
 AND NOT EXISTS (SELECT 1 FROM comparisons WHERE first_id = NEW.candidate_id
                    AND reason NOT IN ('edited', 'written'))
 AND NOT EXISTS (SELECT 1 FROM comparisons WHERE second_id = NEW.candidate_id
                    AND reason NOT IN ('edited', 'written'))
BEGIN
  INSERT INTO plain_replies VALUES (NEW.conversation_id, 1)
  ON CONFLICT (conversation_id) DO UPDATE SET replies = replies + 1;
END;
DROP TRIGGER plain_replies_asked;
CREATE TRIGGER plain_replies_asked AFTER INSERT ON comparisons
WHEN NEW.reason NOT IN ('edited', 'written')
BEGIN
  UPDATE plain_replies
     SET replies = replies - (
       SELECT count(*) FROM turns t
        WHERE t.candidate_id IN (NEW.first_id, NEW.second_id)
          AND 'policy' = (SELECT author FROM candidates a WHERE a.candidate_id = t.candidate_id)
          AND NOT EXISTS (SELECT 1 FROM comparisons c WHERE c.comparison_id <> NEW.comparison_id
                             AND c.reason NOT IN ('edited', 'written')
                             AND (c.first_id = t.candidate_id OR c.second_id = t.candidate_id)))
   WHERE conversation_id = (SELECT t.conversation_id FROM candidates a
                              JOIN turns t ON t.turn_id = a.prompt_turn_id
                             WHERE a.candidate_id = NEW.first_id);
END;
DROP INDEX pick_list_choice;
CREATE INDEX pick_list_choice ON pick_list (choice, reason);

PRAGMA user_version = 4;
