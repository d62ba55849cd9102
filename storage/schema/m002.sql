-- What the Data page lists and searches, what was forgotten, and what came out of a file.
--
-- pick_list is the list of questions in one narrow row each, so that a filter over hundreds of
-- thousands of them reads a few megabytes. It follows from the logs: the triggers here are its only
-- writers. comparison_search is the full text of a question and its two replies; it keeps no text,
-- and a question leaves it with the first of its texts that is erased.

-- 'compare': two versions of the person's choice, blind.  'imported': the pair came out of a file.
-- Only a CHECK changes and no row, so the table's own words are edited, as in
-- https://sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes".
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
   SET sql = replace(sql, '''random'', ''always'')', '''random'', ''always'', ''compare'', ''imported'')')
 WHERE type = 'table' AND name = 'comparisons';
PRAGMA writable_schema = RESET;

ALTER TABLE conversations ADD COLUMN imported INTEGER NOT NULL DEFAULT 0 CHECK (imported IN (0, 1));

-- A pair out of a file. row_sha256 is of the line's content, so that a file read twice adds nothing;
-- meta_json is what an export of twofold's said of the pair beside its texts, and no content.
CREATE TABLE imported_pairs (
  comparison_id INTEGER PRIMARY KEY REFERENCES comparisons (comparison_id) ON DELETE RESTRICT,
  row_sha256    TEXT NOT NULL UNIQUE CHECK (length(row_sha256) = 64),
  meta_json     TEXT NOT NULL,
  created_ms    INTEGER NOT NULL
) STRICT;

-- Questions that no fit uses ever again, whatever is answered. The versions that had learned from
-- them are tainted in the same transaction.
CREATE TABLE forgotten (
  comparison_id INTEGER PRIMARY KEY REFERENCES comparisons (comparison_id) ON DELETE RESTRICT,
  created_ms    INTEGER NOT NULL
) STRICT;
CREATE INDEX forgotten_when ON forgotten (created_ms);

-- ---------------------------------------------------------------------------------------------
-- The list
-- ---------------------------------------------------------------------------------------------

-- seq and choice are of the newest answer, NULL while there is none. flag is its last one.
CREATE TABLE pick_list (
  comparison_id   INTEGER PRIMARY KEY,
  conversation_id INTEGER NOT NULL,
  seq             INTEGER,
  choice          TEXT,
  reason          TEXT NOT NULL,
  first_version   INTEGER NOT NULL,
  second_version  INTEGER NOT NULL,
  held_out        INTEGER NOT NULL,
  flag            TEXT NOT NULL,
  asked_ms        INTEGER NOT NULL
) STRICT;
CREATE INDEX pick_list_conversation ON pick_list (conversation_id);

CREATE VIEW pick_sources AS
  SELECT c.comparison_id, t.conversation_id, c.reason, a.version AS first_version,
         b.version AS second_version, v.held_out, c.created_ms AS asked_ms,
         t.text_id AS prompt_text, a.text_id AS first_text, b.text_id AS second_text
    FROM comparisons c
    JOIN candidates a ON a.candidate_id = c.first_id
    JOIN candidates b ON b.candidate_id = c.second_id
    JOIN turns t ON t.turn_id = a.prompt_turn_id
    JOIN conversations v ON v.conversation_id = t.conversation_id;

INSERT INTO pick_list
SELECT s.comparison_id, conversation_id, n.seq, n.choice, reason, first_version, second_version,
       held_out,
       coalesce((SELECT f.flag FROM preference_flags f
                  WHERE f.seq = n.seq ORDER BY f.flag_id DESC LIMIT 1), 'released'),
       asked_ms
  FROM pick_sources s LEFT JOIN newest n USING (comparison_id)
 WHERE conversation_id IN (SELECT conversation_id FROM conversations WHERE erased_ms IS NULL);

CREATE TRIGGER pick_list_asked AFTER INSERT ON comparisons
BEGIN
  INSERT INTO pick_list
  SELECT comparison_id, conversation_id, NULL, NULL, reason, first_version, second_version,
         held_out, 'released', asked_ms
    FROM pick_sources WHERE comparison_id = NEW.comparison_id;
END;
CREATE TRIGGER pick_list_answered AFTER INSERT ON preferences
BEGIN
  UPDATE pick_list SET seq = NEW.seq, choice = NEW.choice, flag = 'released'
   WHERE comparison_id = NEW.comparison_id;
END;
CREATE TRIGGER pick_list_flagged AFTER INSERT ON preference_flags
BEGIN
  UPDATE pick_list SET flag = NEW.flag
   WHERE seq = NEW.seq
     AND comparison_id = (SELECT comparison_id FROM preferences WHERE seq = NEW.seq);
END;
CREATE TRIGGER pick_list_erased AFTER UPDATE OF erased_ms ON conversations
WHEN NEW.erased_ms IS NOT NULL
BEGIN
  DELETE FROM pick_list WHERE conversation_id = NEW.conversation_id;
END;

-- ---------------------------------------------------------------------------------------------
-- Full text
-- ---------------------------------------------------------------------------------------------

CREATE VIRTUAL TABLE comparison_search USING fts5(
  prompt, first, second, content = '', tokenize = 'unicode61 remove_diacritics 2');

CREATE VIEW comparison_texts AS
  SELECT s.comparison_id, s.prompt_text, s.first_text, s.second_text,
         p.body AS prompt, a.body AS first, b.body AS second
    FROM pick_sources s
    JOIN texts p ON p.text_id = s.prompt_text
    JOIN texts a ON a.text_id = s.first_text
    JOIN texts b ON b.text_id = s.second_text;

INSERT INTO comparison_search (rowid, prompt, first, second)
SELECT comparison_id, prompt, first, second FROM comparison_texts
 WHERE prompt IS NOT NULL AND first IS NOT NULL AND second IS NOT NULL;

CREATE TRIGGER comparison_search_asked AFTER INSERT ON comparisons
BEGIN
  INSERT INTO comparison_search (rowid, prompt, first, second)
  SELECT comparison_id, prompt, first, second FROM comparison_texts
   WHERE comparison_id = NEW.comparison_id
     AND prompt IS NOT NULL AND first IS NOT NULL AND second IS NOT NULL;
END;
-- A question's words go with the first of its texts, while all three can still be read, since the
-- index has to be told what it is to take out. _docsize has a row for each question in the index.
CREATE TRIGGER comparison_search_erased BEFORE UPDATE OF body ON texts
WHEN NEW.body IS NULL AND OLD.body IS NOT NULL
BEGIN
  INSERT INTO comparison_search (comparison_search, rowid, prompt, first, second)
  SELECT 'delete', x.comparison_id, x.prompt, x.first, x.second
    FROM (SELECT c.comparison_id FROM turns t
            JOIN candidates a ON a.prompt_turn_id = t.turn_id
            JOIN comparisons c ON c.first_id = a.candidate_id
           WHERE t.text_id = OLD.text_id AND t.role = 'user'
          UNION
          SELECT c.comparison_id FROM candidates a
            JOIN comparisons c ON c.first_id = a.candidate_id OR c.second_id = a.candidate_id
           WHERE a.text_id = OLD.text_id) touched
    JOIN comparison_texts x USING (comparison_id)
   WHERE x.comparison_id IN (SELECT id FROM comparison_search_docsize);
END;

-- ---------------------------------------------------------------------------------------------
-- What was forgotten counts for nothing
-- ---------------------------------------------------------------------------------------------

DROP VIEW eligible;
DROP VIEW live;

-- The answers that count now: newest, not withdrawn, not doubted, not forgotten, of a conversation
-- that teaches.
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
     AND coalesce((SELECT f.flag FROM preference_flags f
                    WHERE f.seq = p.seq ORDER BY f.flag_id DESC LIMIT 1), 'released') = 'released';

CREATE VIEW eligible AS
  SELECT p.* FROM live p
   WHERE p.held_out = 0 AND p.choice IN ('first', 'second')
     AND NOT EXISTS (SELECT 1 FROM round_items i
                      WHERE i.seq = p.seq AND i.number IN (SELECT version FROM lineage));

CREATE TRIGGER imported_pairs_no_update BEFORE UPDATE ON imported_pairs
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER imported_pairs_no_delete BEFORE DELETE ON imported_pairs
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER forgotten_no_update BEFORE UPDATE ON forgotten
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER forgotten_no_delete BEFORE DELETE ON forgotten
BEGIN SELECT RAISE(ABORT, 'append-only'); END;

PRAGMA user_version = 2;
