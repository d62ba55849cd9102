-- What the Learning page counts and the learner polls, so that neither reads the whole log.
--
-- Both tables follow from the logs, as pick_list does; the triggers here are their only writers.

-- ---------------------------------------------------------------------------------------------
-- Replies that came without a question
-- ---------------------------------------------------------------------------------------------

CREATE TABLE plain_replies (
  conversation_id INTEGER PRIMARY KEY,
  replies         INTEGER NOT NULL
) STRICT;

INSERT INTO plain_replies
SELECT t.conversation_id, count(*)
  FROM turns t JOIN conversations v USING (conversation_id)
 WHERE t.role = 'assistant' AND v.erased_ms IS NULL
   AND t.candidate_id NOT IN (SELECT first_id FROM comparisons)
   AND t.candidate_id NOT IN (SELECT second_id FROM comparisons)
 GROUP BY t.conversation_id;

CREATE TRIGGER plain_replies_shown AFTER INSERT ON turns
WHEN NEW.role = 'assistant'
 AND NOT EXISTS (SELECT 1 FROM comparisons WHERE first_id = NEW.candidate_id)
 AND NOT EXISTS (SELECT 1 FROM comparisons WHERE second_id = NEW.candidate_id)
BEGIN
  INSERT INTO plain_replies VALUES (NEW.conversation_id, 1)
  ON CONFLICT (conversation_id) DO UPDATE SET replies = replies + 1;
END;
-- A reply that was shown first and asked about later was plain until then.
CREATE TRIGGER plain_replies_asked AFTER INSERT ON comparisons
BEGIN
  UPDATE plain_replies
     SET replies = replies - (
       SELECT count(*) FROM turns t
        WHERE t.candidate_id IN (NEW.first_id, NEW.second_id)
          AND NOT EXISTS (SELECT 1 FROM comparisons c WHERE c.comparison_id <> NEW.comparison_id
                             AND (c.first_id = t.candidate_id OR c.second_id = t.candidate_id)))
   WHERE conversation_id = (SELECT t.conversation_id FROM candidates a
                              JOIN turns t ON t.turn_id = a.prompt_turn_id
                             WHERE a.candidate_id = NEW.first_id);
END;
CREATE TRIGGER plain_replies_erased AFTER UPDATE OF erased_ms ON conversations
WHEN NEW.erased_ms IS NOT NULL
BEGIN
  DELETE FROM plain_replies WHERE conversation_id = NEW.conversation_id;
END;

-- ---------------------------------------------------------------------------------------------
-- Picks that no version of the serving lineage has learned
-- ---------------------------------------------------------------------------------------------

-- Newest answers with a winner, whether or not they may train: eligible asks the rest. Normally a
-- handful; after a roll-back to the base, all of them.
CREATE TABLE unlearned (seq INTEGER PRIMARY KEY) STRICT;

INSERT INTO unlearned
SELECT p.seq FROM newest p
 WHERE p.choice IN ('first', 'second')
   AND NOT EXISTS (SELECT 1 FROM round_items i
                    WHERE i.seq = p.seq AND i.number IN (SELECT version FROM lineage));

CREATE TRIGGER unlearned_answered AFTER INSERT ON preferences
BEGIN
  DELETE FROM unlearned WHERE seq = NEW.supersedes;
  INSERT INTO unlearned SELECT NEW.seq WHERE NEW.choice IN ('first', 'second');
END;
-- The pointer moved: what the new lineage learned is taken out, what only the old one had learned
-- comes back. A superseded answer stays out.
CREATE TRIGGER unlearned_moved AFTER UPDATE OF version ON active_pointer
WHEN NEW.version <> OLD.version
BEGIN
  DELETE FROM unlearned WHERE seq IN (
    WITH RECURSIVE
      was (version) AS (
        SELECT OLD.version
        UNION ALL
        SELECT v.parent FROM policy_versions v JOIN was USING (version)
         WHERE v.parent IS NOT NULL),
      now (version) AS (
        SELECT NEW.version
        UNION ALL
        SELECT v.parent FROM policy_versions v JOIN now USING (version)
         WHERE v.parent IS NOT NULL AND v.version <> OLD.version)
    SELECT i.seq FROM now CROSS JOIN round_items i ON i.number = now.version
     WHERE now.version <> OLD.version AND now.version NOT IN (SELECT version FROM was));
  INSERT OR IGNORE INTO unlearned
    SELECT i.seq
      FROM (WITH RECURSIVE
              now (version) AS (
                SELECT NEW.version
                UNION ALL
                SELECT v.parent FROM policy_versions v JOIN now USING (version)
                 WHERE v.parent IS NOT NULL),
              gone (version) AS (
                SELECT OLD.version WHERE OLD.version NOT IN (SELECT version FROM now)
                UNION ALL
                SELECT v.parent FROM policy_versions v JOIN gone USING (version)
                 WHERE v.parent IS NOT NULL AND v.parent NOT IN (SELECT version FROM now))
            SELECT version FROM gone) gone
     CROSS JOIN round_items i ON i.number = gone.version
      JOIN newest p ON p.seq = i.seq
     WHERE p.choice IN ('first', 'second')
       AND NOT EXISTS (SELECT 1 FROM round_items j
                        WHERE j.seq = i.seq AND j.number IN (SELECT version FROM lineage));
END;

DROP VIEW eligible;
CREATE VIEW eligible AS
  SELECT p.* FROM unlearned u CROSS JOIN live p ON p.seq = u.seq
   WHERE p.held_out = 0 AND p.choice IN ('first', 'second');

-- ---------------------------------------------------------------------------------------------
-- Booking a round
-- ---------------------------------------------------------------------------------------------

-- As before, but the lineage is walked only for a pick that some round had already: with years of
-- versions behind it, the walk for each pick of each round is what booking would take long for.
DROP TRIGGER round_items_once;
CREATE TRIGGER round_items_once BEFORE INSERT ON round_items
WHEN (SELECT status FROM rounds WHERE number = NEW.number) = 'accepted'
 AND EXISTS (SELECT 1 FROM round_items WHERE seq = NEW.seq)
 AND EXISTS (
  WITH RECURSIVE l (version) AS (
    SELECT parent FROM rounds WHERE number = NEW.number
    UNION ALL
    SELECT v.parent FROM policy_versions v JOIN l USING (version) WHERE v.parent IS NOT NULL)
  SELECT 1 FROM round_items WHERE seq = NEW.seq AND number IN (SELECT version FROM l))
BEGIN SELECT RAISE(ABORT, 'a version learns a pick only once'); END;

-- ---------------------------------------------------------------------------------------------
-- Indexes
-- ---------------------------------------------------------------------------------------------

-- Counting answers by what was chosen reads this alone.
CREATE INDEX pick_list_choice ON pick_list (choice);

PRAGMA user_version = 3;
