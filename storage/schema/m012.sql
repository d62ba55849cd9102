-- Versions whose files are not kept any more, to save space (storage/pruning.py). Their rows stay.

CREATE TABLE pruned_versions (
  version    INTEGER PRIMARY KEY REFERENCES policy_versions (version) ON DELETE RESTRICT,
  created_ms INTEGER NOT NULL
) STRICT;

CREATE TRIGGER pruned_versions_not_live BEFORE INSERT ON pruned_versions
WHEN NEW.version = 0 OR NEW.version = (SELECT version FROM active_pointer)
BEGIN SELECT RAISE(ABORT, 'the base and the live version are kept'); END;
CREATE TRIGGER pruned_versions_no_update BEFORE UPDATE ON pruned_versions
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER pruned_versions_no_delete BEFORE DELETE ON pruned_versions
BEGIN SELECT RAISE(ABORT, 'append-only'); END;

-- The versions that may serve: through all checks, never rejected or found broken since, and kept.
DROP VIEW servable;
CREATE VIEW servable AS
  SELECT version FROM version_states WHERE state = 'ready'
  EXCEPT
  SELECT version FROM version_states WHERE state IN ('rejected', 'tainted')
  EXCEPT
  SELECT version FROM pruned_versions;

PRAGMA user_version = 12;
