-- Rankings of several answers to one message, and dialogues of which a person wrote both sides.
--
-- A ranking joins the answers' hash chain. after_seq is the newest answer when it was given, so
-- the two logs have one order: an answer stands at its seq, a ranking after the answer it names,
-- and rankings after the same answer stand by their id.

ALTER TABLE conversations ADD COLUMN purpose TEXT NOT NULL DEFAULT 'chat'
  CHECK (purpose IN ('chat', 'ranking', 'teaching'));

DROP TRIGGER conversations_fixed;
CREATE TRIGGER conversations_fixed BEFORE UPDATE ON conversations
WHEN NEW.conversation_id <> OLD.conversation_id OR NEW.key <> OLD.key
  OR NEW.user_id <> OLD.user_id OR NEW.held_out <> OLD.held_out OR NEW.purpose <> OLD.purpose
BEGIN SELECT RAISE(ABORT, 'key, person, hold-out and purpose of a conversation are fixed'); END;

-- ---------------------------------------------------------------------------------------------
-- Rankings
-- ---------------------------------------------------------------------------------------------

-- Several answers to one message, put before one person in the order of their places.
CREATE TABLE slates (
  slate_id       INTEGER PRIMARY KEY,
  token          TEXT NOT NULL UNIQUE CHECK (length(token) >= 32),
  user_id        TEXT NOT NULL REFERENCES users (user_id) ON DELETE RESTRICT,
  prompt_turn_id INTEGER NOT NULL REFERENCES turns (turn_id) ON DELETE RESTRICT,
  answers        INTEGER NOT NULL CHECK (answers BETWEEN 2 AND 9),
  imported       INTEGER NOT NULL DEFAULT 0 CHECK (imported IN (0, 1)),
  created_ms     INTEGER NOT NULL
) STRICT;
CREATE INDEX slates_prompt ON slates (prompt_turn_id);

CREATE TABLE slate_answers (
  slate_id     INTEGER NOT NULL REFERENCES slates (slate_id) ON DELETE RESTRICT,
  place        INTEGER NOT NULL CHECK (place BETWEEN 1 AND 9),
  candidate_id INTEGER NOT NULL REFERENCES candidates (candidate_id) ON DELETE RESTRICT,
  PRIMARY KEY (slate_id, place),
  UNIQUE (slate_id, candidate_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX slate_answers_candidate ON slate_answers (candidate_id);

-- What a person said of a slate. A criterion holds one digit for each place: the rank of the answer
-- there, 1 the best; tied answers share a rank. NULL means as overall.
-- idem_key, supersedes, prev_hash and row_hash are as in preferences.
CREATE TABLE rankings (
  ranking_id      INTEGER PRIMARY KEY AUTOINCREMENT,
  idem_key        TEXT NOT NULL UNIQUE CHECK (length(idem_key) BETWEEN 16 AND 128),
  slate_id        INTEGER NOT NULL REFERENCES slates (slate_id) ON DELETE RESTRICT,
  user_id         TEXT NOT NULL REFERENCES users (user_id) ON DELETE RESTRICT,
  state           TEXT NOT NULL CHECK (state IN ('ranked', 'skipped', 'withdrawn')),
  overall         TEXT CHECK (overall NOT GLOB '*[^1-9]*'),
  relevance       TEXT CHECK (relevance NOT GLOB '*[^1-9]*'),
  informativeness TEXT CHECK (informativeness NOT GLOB '*[^1-9]*'),
  harmlessness    TEXT CHECK (harmlessness NOT GLOB '*[^1-9]*'),
  honesty         TEXT CHECK (honesty NOT GLOB '*[^1-9]*'),
  supersedes      INTEGER UNIQUE REFERENCES rankings (ranking_id) ON DELETE RESTRICT,
  decide_ms       INTEGER NOT NULL CHECK (decide_ms >= 0),
  created_ms      INTEGER NOT NULL,
  after_seq       INTEGER NOT NULL CHECK (after_seq >= 0),
  prev_hash       BLOB NOT NULL CHECK (length(prev_hash) = 32),
  row_hash        BLOB NOT NULL UNIQUE CHECK (length(row_hash) = 32),
  CHECK ((state = 'ranked') = (overall IS NOT NULL)),
  CHECK (overall IS NOT NULL
         OR coalesce(relevance, informativeness, harmlessness, honesty) IS NULL),
  CHECK (length(coalesce(relevance, overall)) = length(overall)),
  CHECK (length(coalesce(informativeness, overall)) = length(overall)),
  CHECK (length(coalesce(harmlessness, overall)) = length(overall)),
  CHECK (length(coalesce(honesty, overall)) = length(overall)),
  CHECK (state <> 'withdrawn' OR supersedes IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX rankings_one_first ON rankings (slate_id) WHERE supersedes IS NULL;
CREATE INDEX rankings_slate ON rankings (slate_id);

-- As imported_pairs and forgotten are, for slates.
CREATE TABLE imported_slates (
  slate_id   INTEGER PRIMARY KEY REFERENCES slates (slate_id) ON DELETE RESTRICT,
  row_sha256 TEXT NOT NULL UNIQUE CHECK (length(row_sha256) = 64),
  meta_json  TEXT NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE forgotten_slates (
  slate_id   INTEGER PRIMARY KEY REFERENCES slates (slate_id) ON DELETE RESTRICT,
  created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX forgotten_slates_when ON forgotten_slates (created_ms);

CREATE VIEW newest_rankings AS
  SELECT r.* FROM rankings r
   WHERE NOT EXISTS (SELECT 1 FROM rankings s WHERE s.supersedes = r.ranking_id);

-- The rankings that count now: newest, neither skipped nor withdrawn nor forgotten, of a
-- conversation that teaches, every answer read by the model.
CREATE VIEW live_rankings AS
  SELECT r.*, v.held_out
    FROM newest_rankings r
    JOIN users u ON u.user_id = r.user_id
    JOIN slates s ON s.slate_id = r.slate_id
    JOIN turns t ON t.turn_id = s.prompt_turn_id
    JOIN conversations v ON v.conversation_id = t.conversation_id
   WHERE r.state = 'ranked' AND u.status = 'active' AND v.learn = 1
     AND NOT EXISTS (SELECT 1 FROM forgotten_slates f WHERE f.slate_id = r.slate_id)
     AND NOT EXISTS (SELECT 1 FROM slate_answers a
                      WHERE a.slate_id = r.slate_id AND a.candidate_id NOT IN
                            (SELECT candidate_id FROM candidate_cache));

CREATE TRIGGER slates_owner BEFORE INSERT ON slates
WHEN NEW.user_id IS NOT
     (SELECT v.user_id FROM turns t JOIN conversations v USING (conversation_id)
       WHERE t.turn_id = NEW.prompt_turn_id)
BEGIN SELECT RAISE(ABORT, 'the conversation is another person''s'); END;
CREATE TRIGGER slate_answers_same_prompt BEFORE INSERT ON slate_answers
WHEN (SELECT prompt_turn_id FROM candidates WHERE candidate_id = NEW.candidate_id) IS NOT
     (SELECT prompt_turn_id FROM slates WHERE slate_id = NEW.slate_id)
BEGIN SELECT RAISE(ABORT, 'the candidate answers another message'); END;
CREATE TRIGGER slate_answers_place BEFORE INSERT ON slate_answers
WHEN NEW.place > (SELECT answers FROM slates WHERE slate_id = NEW.slate_id)
BEGIN SELECT RAISE(ABORT, 'the slate has no such place'); END;

CREATE TRIGGER rankings_owner BEFORE INSERT ON rankings
WHEN NEW.user_id IS NOT (SELECT user_id FROM slates WHERE slate_id = NEW.slate_id)
BEGIN SELECT RAISE(ABORT, 'only the person who was asked may answer'); END;
CREATE TRIGGER rankings_whole BEFORE INSERT ON rankings
WHEN (SELECT count(*) FROM slate_answers WHERE slate_id = NEW.slate_id) IS NOT
     (SELECT answers FROM slates WHERE slate_id = NEW.slate_id)
  OR length(NEW.overall) <> (SELECT answers FROM slates WHERE slate_id = NEW.slate_id)
BEGIN SELECT RAISE(ABORT, 'a ranking ranks every answer of its slate'); END;
CREATE TRIGGER rankings_supersede BEFORE INSERT ON rankings
WHEN NEW.supersedes IS NOT NULL AND NEW.slate_id IS NOT
     (SELECT slate_id FROM rankings WHERE ranking_id = NEW.supersedes)
BEGIN SELECT RAISE(ABORT, 'supersedes the ranking of another slate'); END;

-- ---------------------------------------------------------------------------------------------
-- The chain over answers and rankings
-- ---------------------------------------------------------------------------------------------

-- One row: the hash that the next one names as the one before it.
CREATE VIEW chain_end AS
  SELECT row_hash FROM (
    SELECT row_hash, seq AS at, 0 AS then_at
      FROM preferences WHERE seq = (SELECT max(seq) FROM preferences)
    UNION ALL
    SELECT row_hash, after_seq, ranking_id
      FROM rankings WHERE ranking_id = (SELECT max(ranking_id) FROM rankings)
    UNION ALL
    SELECT zeroblob(32), -1, 0)
   ORDER BY at DESC, then_at DESC LIMIT 1;

DROP TRIGGER preferences_chain;
CREATE TRIGGER preferences_chain BEFORE INSERT ON preferences
WHEN NEW.prev_hash IS NOT (SELECT row_hash FROM chain_end)
BEGIN SELECT RAISE(ABORT, 'the chain of answers grows only at its end'); END;
CREATE TRIGGER rankings_chain BEFORE INSERT ON rankings
WHEN NEW.prev_hash IS NOT (SELECT row_hash FROM chain_end)
  OR NEW.after_seq IS NOT (SELECT coalesce(max(seq), 0) FROM preferences)
BEGIN SELECT RAISE(ABORT, 'the chain of answers grows only at its end'); END;

-- ---------------------------------------------------------------------------------------------
-- Demonstrations
-- ---------------------------------------------------------------------------------------------

-- A dialogue that its writer called finished: the path to turn_id, its last reply. A longer one
-- supersedes the shorter, and 'withdrawn' takes it back.
CREATE TABLE demonstrations (
  demonstration_id INTEGER PRIMARY KEY AUTOINCREMENT,
  conversation_id  INTEGER NOT NULL REFERENCES conversations (conversation_id) ON DELETE RESTRICT,
  turn_id          INTEGER NOT NULL REFERENCES turns (turn_id) ON DELETE RESTRICT,
  state            TEXT NOT NULL CHECK (state IN ('finished', 'withdrawn')),
  supersedes       INTEGER UNIQUE REFERENCES demonstrations (demonstration_id) ON DELETE RESTRICT,
  created_ms       INTEGER NOT NULL,
  CHECK (state <> 'withdrawn' OR supersedes IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX demonstrations_one_first ON demonstrations (conversation_id)
  WHERE supersedes IS NULL;
CREATE INDEX demonstrations_conversation ON demonstrations (conversation_id);

CREATE TABLE imported_dialogues (
  conversation_id INTEGER PRIMARY KEY
    REFERENCES conversations (conversation_id) ON DELETE RESTRICT,
  row_sha256      TEXT NOT NULL UNIQUE CHECK (length(row_sha256) = 64),
  meta_json       TEXT NOT NULL,
  created_ms      INTEGER NOT NULL
) STRICT;
CREATE TABLE forgotten_dialogues (
  conversation_id INTEGER PRIMARY KEY
    REFERENCES conversations (conversation_id) ON DELETE RESTRICT,
  created_ms      INTEGER NOT NULL
) STRICT;
CREATE INDEX forgotten_dialogues_when ON forgotten_dialogues (created_ms);

CREATE VIEW newest_demonstrations AS
  SELECT d.* FROM demonstrations d
   WHERE NOT EXISTS (SELECT 1 FROM demonstrations s WHERE s.supersedes = d.demonstration_id);

CREATE VIEW live_demonstrations AS
  SELECT d.*, v.held_out
    FROM newest_demonstrations d
    JOIN conversations v USING (conversation_id)
    JOIN users u USING (user_id)
   WHERE d.state = 'finished' AND u.status = 'active' AND v.learn = 1
     AND NOT EXISTS (SELECT 1 FROM forgotten_dialogues f
                      WHERE f.conversation_id = d.conversation_id);

CREATE TRIGGER demonstrations_reply BEFORE INSERT ON demonstrations
WHEN NOT EXISTS (
  SELECT 1 FROM turns t JOIN conversations v USING (conversation_id)
   WHERE t.turn_id = NEW.turn_id AND t.conversation_id = NEW.conversation_id
     AND t.role = 'assistant' AND v.purpose = 'teaching')
BEGIN SELECT RAISE(ABORT, 'a demonstration ends with a reply of a dialogue that teaches'); END;
CREATE TRIGGER demonstrations_supersede BEFORE INSERT ON demonstrations
WHEN NEW.supersedes IS NOT NULL AND NEW.conversation_id IS NOT
     (SELECT conversation_id FROM demonstrations WHERE demonstration_id = NEW.supersedes)
BEGIN SELECT RAISE(ABORT, 'supersedes the demonstration of another conversation'); END;

-- ---------------------------------------------------------------------------------------------
-- Logs only grow
-- ---------------------------------------------------------------------------------------------

CREATE TRIGGER slates_no_update BEFORE UPDATE ON slates
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER slates_no_delete BEFORE DELETE ON slates
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER slate_answers_no_update BEFORE UPDATE ON slate_answers
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER slate_answers_no_delete BEFORE DELETE ON slate_answers
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER rankings_no_update BEFORE UPDATE ON rankings
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER rankings_no_delete BEFORE DELETE ON rankings
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER imported_slates_no_update BEFORE UPDATE ON imported_slates
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER imported_slates_no_delete BEFORE DELETE ON imported_slates
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER forgotten_slates_no_update BEFORE UPDATE ON forgotten_slates
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER forgotten_slates_no_delete BEFORE DELETE ON forgotten_slates
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER demonstrations_no_update BEFORE UPDATE ON demonstrations
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER demonstrations_no_delete BEFORE DELETE ON demonstrations
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER imported_dialogues_no_update BEFORE UPDATE ON imported_dialogues
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER imported_dialogues_no_delete BEFORE DELETE ON imported_dialogues
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER forgotten_dialogues_no_update BEFORE UPDATE ON forgotten_dialogues
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER forgotten_dialogues_no_delete BEFORE DELETE ON forgotten_dialogues
BEGIN SELECT RAISE(ABORT, 'append-only'); END;

PRAGMA user_version = 7;
