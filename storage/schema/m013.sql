-- Which base model the folder was made with: adapters and features fit no other. The newest row counts.

CREATE TABLE base_models (
  id         INTEGER PRIMARY KEY,
  sha256     TEXT NOT NULL CHECK (length(sha256) = 64),
  name       TEXT NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;

-- Folders that are older than this table: what their newest version was made for.
INSERT INTO base_models (sha256, name, created_ms)
SELECT base_sha256, '', created_ms FROM policy_versions
 WHERE base_sha256 IS NOT NULL ORDER BY version DESC LIMIT 1;

-- Another model may come only while no model has said or learned anything here.
CREATE TRIGGER base_models_stays BEFORE INSERT ON base_models
WHEN EXISTS (SELECT 1 FROM base_models) AND (EXISTS (SELECT 1 FROM candidates)
                                             OR EXISTS (SELECT 1 FROM policy_versions WHERE version > 0))
BEGIN SELECT RAISE(ABORT, 'what is here was made with another model'); END;
CREATE TRIGGER base_models_no_update BEFORE UPDATE ON base_models
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER base_models_no_delete BEFORE DELETE ON base_models
BEGIN SELECT RAISE(ABORT, 'append-only'); END;

PRAGMA user_version = 13;
