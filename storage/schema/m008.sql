-- 'duel': the live version against an earlier one, without being asked for. As in m002.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
   SET sql = replace(sql, '''edited'', ''written''', '''edited'', ''written'', ''duel''')
 WHERE type = 'table' AND name = 'comparisons';
PRAGMA writable_schema = RESET;

PRAGMA user_version = 8;
