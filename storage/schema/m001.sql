-- The first schema. Frozen: a change is a new file beside this one.
--
-- Conventions
--   * *_ms columns are Unix time in milliseconds. They are for people; order is always by id,
--     never by clock.
--   * What people and policies wrote lives in texts and, tokenised, in candidate_cache. The only
--     copy elsewhere is a conversation's title, which is blanked with its first message.
--   * Logs are append-only: turns, candidates, comparisons, preferences, preference_flags, rounds,
--     round_items, policy_versions, version_states. A change of mind is a new row.
--   * The guarantees below need foreign_keys and recursive_triggers ON (storage/sqlite.py).
--   * trusted_schema is OFF, so rules use no function that some SQLite calls unsafe: no json_valid.

PRAGMA application_id = 843467844;  -- 0x32464C44, ASCII "2FLD"
PRAGMA user_version   = 1;

-- ---------------------------------------------------------------------------------------------
-- People and texts
-- ---------------------------------------------------------------------------------------------

-- salt goes into every text digest of this person; it is destroyed on erasure, so that a digest
-- that remains cannot be matched against guessed text.
CREATE TABLE users (
  user_id    TEXT PRIMARY KEY NOT NULL CHECK (length(user_id) BETWEEN 8 AND 64),
  label      TEXT,
  salt       BLOB CHECK (salt IS NULL OR length(salt) = 16),
  status     TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'quarantined', 'erased')),
  created_ms INTEGER NOT NULL,
  CHECK ((status = 'erased') = (salt IS NULL)),
  CHECK (status <> 'erased' OR label IS NULL)
) STRICT, WITHOUT ROWID;

-- digest = SHA-256(owner's salt, UTF-8 body). Erasure sets body NULL; the digest stays.
CREATE TABLE texts (
  text_id   INTEGER PRIMARY KEY,
  owner_id  TEXT NOT NULL REFERENCES users (user_id) ON DELETE RESTRICT,
  body      TEXT CHECK (body IS NULL OR length(CAST(body AS BLOB)) <= 1048576),
  digest    BLOB NOT NULL CHECK (length(digest) = 32),
  erased_ms INTEGER,
  CHECK ((body IS NULL) = (erased_ms IS NOT NULL))
) STRICT;
CREATE INDEX texts_owner ON texts (owner_id);

-- ---------------------------------------------------------------------------------------------
-- Rounds and policy versions: an immutable tree rooted at version 0, the base model
-- ---------------------------------------------------------------------------------------------

-- One pass of the learner, whatever came of it. Its folder is rounds/r<number, six digits>.
CREATE TABLE rounds (
  number            INTEGER PRIMARY KEY CHECK (number >= 1),
  parent            INTEGER NOT NULL REFERENCES policy_versions (version) ON DELETE RESTRICT,
  status            TEXT NOT NULL CHECK (status IN ('accepted', 'refused', 'failed')),
  attempted_through INTEGER NOT NULL CHECK (attempted_through >= 0),
  update_rule       TEXT NOT NULL,
  seed              INTEGER NOT NULL,
  reason            TEXT NOT NULL,
  metrics_json      TEXT NOT NULL,
  config_json       TEXT NOT NULL,
  seconds           REAL NOT NULL CHECK (seconds >= 0.0),
  manifest_sha256   TEXT NOT NULL CHECK (length(manifest_sha256) = 64),
  created_ms        INTEGER NOT NULL,
  CHECK (parent < number)
) STRICT;

-- The answers a round was trained on.
CREATE TABLE round_items (
  number INTEGER NOT NULL REFERENCES rounds (number) ON DELETE RESTRICT,
  seq    INTEGER NOT NULL REFERENCES preferences (seq) ON DELETE RESTRICT,
  PRIMARY KEY (number, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX round_items_seq ON round_items (seq);

-- What an accepted round made, under the round's own number. The row exists only after the folder
-- was written, synced, renamed and verified.
CREATE TABLE policy_versions (
  version         INTEGER PRIMARY KEY CHECK (version >= 0),
  parent          INTEGER REFERENCES policy_versions (version) ON DELETE RESTRICT,
  manifest_sha256 TEXT CHECK (length(manifest_sha256) = 64),
  base_sha256     TEXT CHECK (length(base_sha256) = 64),
  created_ms      INTEGER NOT NULL,
  CHECK ((version = 0) = (parent IS NULL)),
  CHECK ((version = 0) = (manifest_sha256 IS NULL)),
  CHECK ((version = 0) = (base_sha256 IS NULL)),
  CHECK (parent IS NULL OR parent < version)
) STRICT;

CREATE TABLE version_states (
  id         INTEGER PRIMARY KEY,
  version    INTEGER NOT NULL REFERENCES policy_versions (version) ON DELETE RESTRICT,
  state      TEXT NOT NULL CHECK (state IN ('written', 'verified', 'ready', 'active', 'retired',
                                            'rolled_back', 'rejected', 'tainted')),
  reason     TEXT NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX version_states_version ON version_states (version, state);

-- One row: the version that serves. It is the truth; memory follows it.
CREATE TABLE active_pointer (
  one        INTEGER PRIMARY KEY CHECK (one = 1),
  version    INTEGER NOT NULL REFERENCES policy_versions (version) ON DELETE RESTRICT,
  epoch      INTEGER NOT NULL CHECK (epoch >= 0),
  changed_ms INTEGER NOT NULL
) STRICT;

-- ---------------------------------------------------------------------------------------------
-- Conversations
-- ---------------------------------------------------------------------------------------------

-- key is random and names the conversation in the page's address. held_out is fixed by a hash of
-- it: those answers measure and never train. head_turn_id is the leaf now shown.
CREATE TABLE conversations (
  conversation_id INTEGER PRIMARY KEY,
  key             TEXT NOT NULL UNIQUE CHECK (length(key) >= 32),
  user_id         TEXT NOT NULL REFERENCES users (user_id) ON DELETE RESTRICT,
  title           TEXT NOT NULL DEFAULT '',
  learn           INTEGER NOT NULL CHECK (learn IN (0, 1)),
  held_out        INTEGER NOT NULL CHECK (held_out IN (0, 1)),
  head_turn_id    INTEGER REFERENCES turns (turn_id) ON DELETE RESTRICT,
  created_ms      INTEGER NOT NULL,
  erased_ms       INTEGER,
  CHECK (erased_ms IS NULL OR (learn = 0 AND title = '' AND head_turn_id IS NULL))
) STRICT;
CREATE INDEX conversations_user ON conversations (user_id);

-- A tree: siblings share a parent. An assistant turn shows one candidate.
CREATE TABLE turns (
  turn_id         INTEGER PRIMARY KEY,
  conversation_id INTEGER NOT NULL REFERENCES conversations (conversation_id) ON DELETE RESTRICT,
  parent_id       INTEGER REFERENCES turns (turn_id) ON DELETE RESTRICT,
  role            TEXT NOT NULL CHECK (role IN ('user', 'assistant', 'system')),
  text_id         INTEGER NOT NULL REFERENCES texts (text_id) ON DELETE RESTRICT,
  candidate_id    INTEGER REFERENCES candidates (candidate_id) ON DELETE RESTRICT,
  state           TEXT NOT NULL CHECK (state IN ('final', 'aborted')),
  created_ms      INTEGER NOT NULL,
  CHECK (parent_id IS NULL OR parent_id < turn_id),  -- hence no cycles
  CHECK ((role = 'assistant') = (candidate_id IS NOT NULL))
) STRICT;
CREATE INDEX turns_conversation ON turns (conversation_id);
CREATE INDEX turns_parent ON turns (parent_id);
CREATE INDEX turns_text ON turns (text_id);
CREATE INDEX turns_candidate ON turns (candidate_id);

-- Every completion, shown or not, with exact provenance. Rewards are logits.
CREATE TABLE candidates (
  candidate_id   INTEGER PRIMARY KEY,
  prompt_turn_id INTEGER NOT NULL REFERENCES turns (turn_id) ON DELETE RESTRICT,
  version        INTEGER NOT NULL REFERENCES policy_versions (version) ON DELETE RESTRICT,
  seed           INTEGER NOT NULL,
  params_json    TEXT NOT NULL,
  text_id        INTEGER NOT NULL REFERENCES texts (text_id) ON DELETE RESTRICT,
  finish         TEXT NOT NULL CHECK (finish IN ('stop', 'length', 'aborted', 'error')),
  reward_mean    REAL,
  reward_std     REAL CHECK (reward_std IS NULL OR reward_std >= 0.0),
  created_ms     INTEGER NOT NULL
) STRICT;
CREATE INDEX candidates_prompt ON candidates (prompt_turn_id);
CREATE INDEX candidates_text ON candidates (text_id);

-- Content in another form, all little-endian; removed with its text.
--   token_ids int32   token_logp float32, nats   feature float16, hidden state of the base model
CREATE TABLE candidate_cache (
  candidate_id INTEGER PRIMARY KEY REFERENCES candidates (candidate_id) ON DELETE RESTRICT,
  token_ids    BLOB NOT NULL,
  token_logp   BLOB NOT NULL CHECK (length(token_logp) = length(token_ids)),
  feature      BLOB
) STRICT;

-- ---------------------------------------------------------------------------------------------
-- Questions and answers
-- ---------------------------------------------------------------------------------------------

-- What was asked, of whom, in which order, and why. The page sends back token and choice only.
CREATE TABLE comparisons (
  comparison_id     INTEGER PRIMARY KEY,
  token             TEXT NOT NULL UNIQUE CHECK (length(token) >= 32),
  user_id           TEXT NOT NULL REFERENCES users (user_id) ON DELETE RESTRICT,
  first_id          INTEGER NOT NULL REFERENCES candidates (candidate_id) ON DELETE RESTRICT,
  second_id         INTEGER NOT NULL REFERENCES candidates (candidate_id) ON DELETE RESTRICT,
  reason            TEXT NOT NULL CHECK (reason IN ('burn_in', 'uncertain', 'random', 'always')),
  propensity        REAL NOT NULL CHECK (propensity > 0.0 AND propensity <= 1.0),
  disagreement      REAL NOT NULL CHECK (disagreement >= 0.0),
  first_better_prob REAL NOT NULL CHECK (first_better_prob BETWEEN 0.0 AND 1.0),
  created_ms        INTEGER NOT NULL,
  CHECK (first_id <> second_id)
) STRICT;
CREATE INDEX comparisons_first ON comparisons (first_id);
CREATE INDEX comparisons_second ON comparisons (second_id);

-- The answers, chained by hash.
--   idem_key    follows from the question alone, so that a retry with another choice is "already
--               answered" and not a second answer
--   supersedes  the answer that this one changes or withdraws; each is superseded at most once
--   prev_hash   row_hash of the row before, 32 zero bytes for the first
--   row_hash    SHA-256 over prev_hash, the answer, the question and digests (storage/chain.py)
CREATE TABLE preferences (
  seq           INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused, so it may be a watermark
  idem_key      TEXT NOT NULL UNIQUE CHECK (length(idem_key) BETWEEN 16 AND 128),
  comparison_id INTEGER NOT NULL REFERENCES comparisons (comparison_id) ON DELETE RESTRICT,
  user_id       TEXT NOT NULL REFERENCES users (user_id) ON DELETE RESTRICT,
  choice        TEXT NOT NULL CHECK (choice IN ('first', 'second', 'tie', 'both_bad', 'skip',
                                                'withdrawn')),
  supersedes    INTEGER UNIQUE REFERENCES preferences (seq) ON DELETE RESTRICT,
  decide_ms     INTEGER NOT NULL CHECK (decide_ms >= 0),
  created_ms    INTEGER NOT NULL,
  prev_hash     BLOB NOT NULL CHECK (length(prev_hash) = 32),
  row_hash      BLOB NOT NULL UNIQUE CHECK (length(row_hash) = 32),
  CHECK (choice <> 'withdrawn' OR supersedes IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX preferences_one_first_answer ON preferences (comparison_id)
  WHERE supersedes IS NULL;
CREATE INDEX preferences_comparison ON preferences (comparison_id);

-- Doubts about an answer; the last one decides ('released' or none: it counts).
CREATE TABLE preference_flags (
  flag_id    INTEGER PRIMARY KEY,
  seq        INTEGER NOT NULL REFERENCES preferences (seq) ON DELETE RESTRICT,
  flag       TEXT NOT NULL CHECK (flag IN ('too_fast', 'side_bias', 'inconsistent', 'burst',
                                           'outlier', 'admin', 'released')),
  created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX preference_flags_seq ON preference_flags (seq, flag_id);

-- ---------------------------------------------------------------------------------------------
-- Views
-- ---------------------------------------------------------------------------------------------

-- The serving version and all its ancestors.
CREATE VIEW lineage AS
  WITH RECURSIVE l (version) AS (
    SELECT version FROM active_pointer
    UNION ALL
    SELECT v.parent FROM policy_versions v JOIN l USING (version) WHERE v.parent IS NOT NULL)
  SELECT version FROM l;

-- The versions that may serve: through all checks, and never rejected or found broken since.
CREATE VIEW servable AS
  SELECT version FROM version_states WHERE state = 'ready'
  EXCEPT
  SELECT version FROM version_states WHERE state IN ('rejected', 'tainted');

-- The newest answer to each comparison, withdrawn or not.
CREATE VIEW newest AS
  SELECT p.* FROM preferences p
   WHERE NOT EXISTS (SELECT 1 FROM preferences s WHERE s.supersedes = p.seq);

-- The answers that count now: newest, not withdrawn, not doubted, of a conversation that teaches.
CREATE VIEW live AS
  SELECT p.*, v.held_out
    FROM newest p
    JOIN users u ON u.user_id = p.user_id
    JOIN comparisons c ON c.comparison_id = p.comparison_id
    JOIN candidates a ON a.candidate_id = c.first_id
    JOIN turns t ON t.turn_id = a.prompt_turn_id
    JOIN conversations v ON v.conversation_id = t.conversation_id
   WHERE p.choice <> 'withdrawn' AND u.status = 'active' AND v.learn = 1
     AND coalesce((SELECT f.flag FROM preference_flags f
                    WHERE f.seq = p.seq ORDER BY f.flag_id DESC LIMIT 1), 'released') = 'released';

-- Picks that the serving version has not learned. A version has its accepted round's number, so
-- the rounds of the lineage are its versions; a roll-back shortens it and frees their picks.
CREATE VIEW eligible AS
  SELECT p.* FROM live p
   WHERE p.held_out = 0 AND p.choice IN ('first', 'second')
     AND NOT EXISTS (SELECT 1 FROM round_items i
                      WHERE i.seq = p.seq AND i.number IN (SELECT version FROM lineage));

-- ---------------------------------------------------------------------------------------------
-- Rules: conversations
-- ---------------------------------------------------------------------------------------------

CREATE TRIGGER texts_only_erase BEFORE UPDATE ON texts
WHEN NOT (NEW.body IS NULL AND NEW.text_id = OLD.text_id
          AND NEW.owner_id = OLD.owner_id AND NEW.digest = OLD.digest)
BEGIN SELECT RAISE(ABORT, 'a text never changes, it can only be erased'); END;
CREATE TRIGGER texts_no_delete BEFORE DELETE ON texts
BEGIN SELECT RAISE(ABORT, 'erase a text, do not delete it'); END;
CREATE TRIGGER texts_erase_copies AFTER UPDATE OF body ON texts
WHEN NEW.body IS NULL
BEGIN
  DELETE FROM candidate_cache
   WHERE candidate_id IN (SELECT candidate_id FROM candidates WHERE text_id = NEW.text_id);
  UPDATE conversations SET title = ''
   WHERE conversation_id IN (SELECT conversation_id FROM turns
                              WHERE text_id = NEW.text_id AND parent_id IS NULL);
END;

CREATE TRIGGER conversations_fixed BEFORE UPDATE ON conversations
WHEN NEW.conversation_id <> OLD.conversation_id OR NEW.key <> OLD.key
  OR NEW.user_id <> OLD.user_id OR NEW.held_out <> OLD.held_out
BEGIN SELECT RAISE(ABORT, 'key, person and hold-out of a conversation are fixed'); END;
CREATE TRIGGER conversations_head BEFORE UPDATE OF head_turn_id ON conversations
WHEN NEW.head_turn_id IS NOT NULL AND NEW.conversation_id IS NOT
     (SELECT conversation_id FROM turns WHERE turn_id = NEW.head_turn_id)
BEGIN SELECT RAISE(ABORT, 'the head is a turn of another conversation'); END;
CREATE TRIGGER conversations_no_delete BEFORE DELETE ON conversations
BEGIN SELECT RAISE(ABORT, 'erase a conversation, do not delete it'); END;

CREATE TRIGGER turns_parent BEFORE INSERT ON turns
WHEN NEW.parent_id IS NOT NULL AND NEW.conversation_id IS NOT
     (SELECT conversation_id FROM turns WHERE turn_id = NEW.parent_id)
BEGIN SELECT RAISE(ABORT, 'the parent is a turn of another conversation'); END;
CREATE TRIGGER turns_candidate BEFORE INSERT ON turns
WHEN NEW.candidate_id IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM candidates WHERE candidate_id = NEW.candidate_id
     AND prompt_turn_id = NEW.parent_id AND text_id = NEW.text_id)
BEGIN SELECT RAISE(ABORT, 'the candidate answers another turn, or says something else'); END;
CREATE TRIGGER candidates_prompt BEFORE INSERT ON candidates
WHEN 'user' IS NOT (SELECT role FROM turns WHERE turn_id = NEW.prompt_turn_id)
BEGIN SELECT RAISE(ABORT, 'a candidate answers a message of a person'); END;

-- ---------------------------------------------------------------------------------------------
-- Rules: questions and answers
-- ---------------------------------------------------------------------------------------------

CREATE TRIGGER comparisons_same_prompt BEFORE INSERT ON comparisons
WHEN (SELECT prompt_turn_id FROM candidates WHERE candidate_id = NEW.first_id) IS NOT
     (SELECT prompt_turn_id FROM candidates WHERE candidate_id = NEW.second_id)
BEGIN SELECT RAISE(ABORT, 'the candidates answer different messages'); END;
CREATE TRIGGER comparisons_owner BEFORE INSERT ON comparisons
WHEN NEW.user_id IS NOT
     (SELECT v.user_id FROM candidates a JOIN turns t ON t.turn_id = a.prompt_turn_id
        JOIN conversations v USING (conversation_id) WHERE a.candidate_id = NEW.first_id)
BEGIN SELECT RAISE(ABORT, 'the conversation is another person''s'); END;

CREATE TRIGGER preferences_owner BEFORE INSERT ON preferences
WHEN NEW.user_id IS NOT
     (SELECT user_id FROM comparisons WHERE comparison_id = NEW.comparison_id)
BEGIN SELECT RAISE(ABORT, 'only the person who was asked may answer'); END;
CREATE TRIGGER preferences_supersede BEFORE INSERT ON preferences
WHEN NEW.supersedes IS NOT NULL AND NEW.comparison_id IS NOT
     (SELECT comparison_id FROM preferences WHERE seq = NEW.supersedes)
BEGIN SELECT RAISE(ABORT, 'supersedes the answer to another comparison'); END;
CREATE TRIGGER preferences_chain BEFORE INSERT ON preferences
WHEN NEW.prev_hash IS NOT
     coalesce((SELECT row_hash FROM preferences ORDER BY seq DESC LIMIT 1), zeroblob(32))
BEGIN SELECT RAISE(ABORT, 'the chain of answers grows only at its end'); END;

-- ---------------------------------------------------------------------------------------------
-- Rules: rounds and versions
-- ---------------------------------------------------------------------------------------------

CREATE TRIGGER round_items_once BEFORE INSERT ON round_items
WHEN (SELECT status FROM rounds WHERE number = NEW.number) = 'accepted' AND EXISTS (
  WITH RECURSIVE l (version) AS (
    SELECT parent FROM rounds WHERE number = NEW.number
    UNION ALL
    SELECT v.parent FROM policy_versions v JOIN l USING (version) WHERE v.parent IS NOT NULL)
  SELECT 1 FROM round_items WHERE seq = NEW.seq AND number IN (SELECT version FROM l))
BEGIN SELECT RAISE(ABORT, 'a version learns a pick only once'); END;
CREATE TRIGGER round_items_held_out BEFORE INSERT ON round_items
WHEN EXISTS (
  SELECT 1 FROM preferences p JOIN comparisons c USING (comparison_id)
    JOIN candidates a ON a.candidate_id = c.first_id
    JOIN turns t ON t.turn_id = a.prompt_turn_id
    JOIN conversations v ON v.conversation_id = t.conversation_id
   WHERE p.seq = NEW.seq AND v.held_out = 1)
BEGIN SELECT RAISE(ABORT, 'held-out answers never train'); END;

CREATE TRIGGER policy_versions_round BEFORE INSERT ON policy_versions
WHEN NEW.version > 0 AND NOT EXISTS (
  SELECT 1 FROM rounds WHERE number = NEW.version AND parent = NEW.parent
     AND status = 'accepted' AND manifest_sha256 = NEW.manifest_sha256)
BEGIN SELECT RAISE(ABORT, 'a version is made by an accepted round of the same number'); END;

CREATE TRIGGER active_pointer_first BEFORE INSERT ON active_pointer
WHEN NEW.version <> 0 OR EXISTS (SELECT 1 FROM active_pointer)
BEGIN SELECT RAISE(ABORT, 'the pointer starts once, at version 0'); END;
CREATE TRIGGER active_pointer_servable BEFORE UPDATE ON active_pointer
WHEN NEW.version NOT IN (SELECT version FROM servable)
BEGIN SELECT RAISE(ABORT, 'this version may not serve'); END;
CREATE TRIGGER active_pointer_epoch BEFORE UPDATE ON active_pointer
WHEN NEW.epoch <> OLD.epoch + 1
BEGIN SELECT RAISE(ABORT, 'the epoch grows by one'); END;
CREATE TRIGGER active_pointer_no_delete BEFORE DELETE ON active_pointer
BEGIN SELECT RAISE(ABORT, 'the pointer cannot be deleted'); END;

-- ---------------------------------------------------------------------------------------------
-- Rules: logs only grow
-- ---------------------------------------------------------------------------------------------

CREATE TRIGGER turns_no_update BEFORE UPDATE ON turns
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER turns_no_delete BEFORE DELETE ON turns
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER candidates_no_update BEFORE UPDATE ON candidates
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER candidates_no_delete BEFORE DELETE ON candidates
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER comparisons_no_update BEFORE UPDATE ON comparisons
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER comparisons_no_delete BEFORE DELETE ON comparisons
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER preferences_no_update BEFORE UPDATE ON preferences
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER preferences_no_delete BEFORE DELETE ON preferences
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER preference_flags_no_update BEFORE UPDATE ON preference_flags
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER preference_flags_no_delete BEFORE DELETE ON preference_flags
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER rounds_no_update BEFORE UPDATE ON rounds
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER rounds_no_delete BEFORE DELETE ON rounds
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER round_items_no_update BEFORE UPDATE ON round_items
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER round_items_no_delete BEFORE DELETE ON round_items
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER policy_versions_no_update BEFORE UPDATE ON policy_versions
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER policy_versions_no_delete BEFORE DELETE ON policy_versions
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER version_states_no_update BEFORE UPDATE ON version_states
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER version_states_no_delete BEFORE DELETE ON version_states
BEGIN SELECT RAISE(ABORT, 'append-only'); END;

-- ---------------------------------------------------------------------------------------------
-- The rows without which nothing works: one person, and the base model, serving
-- ---------------------------------------------------------------------------------------------

INSERT INTO users (user_id, salt, created_ms)
VALUES ('local-person', randomblob(16),
        CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER));
INSERT INTO policy_versions (version, created_ms) SELECT 0, created_ms FROM users;
-- Without 'ready' a roll-back to the base would be refused.
INSERT INTO version_states (version, state, reason, created_ms)
SELECT 0, state, 'the base model', created_ms
  FROM users, (SELECT 'verified' AS state UNION ALL SELECT 'ready' UNION ALL SELECT 'active');
INSERT INTO active_pointer (one, version, epoch, changed_ms) SELECT 1, 0, 0, created_ms FROM users;
