"""Texts of the package that need no row in the index. Each has to exist; write a line here only for what nobody has to act on."""

SAID = """
… hosts as wanted
… in schema … of database …
… is as the templates render
… migration(s) at target
… migration(s) in the ledger belong to another source; left alone
… migration(s) pending, nothing was applied
… of … older than …, ……
… will belong to role …
1 host as wanted
Embedded PostgreSQL in …; stop it with: …; then remove it with: …
adopted …: contract holds, recorded without running it
applied … (… ms)
deleted … in … s
deleted … of … of …, … rows/s, … remain
dropped INVALID index …
from … to …
new objects and ledger …
no row of … is older than ……
nothing newer than … is applied
nothing of this source is applied
nothing to purge
probe: … of … rows in each temporary table (… s)
reached … of …
replaced the checksum of …; it was …
reverted … (… ms)
standby: … migration(s) not replayed yet
standby: … migration(s) not replayed yet; will be verified when they are
standby: left alone, its primary is the one to purge
standby: nothing to migrate
standby: nothing to record
standby: nothing was reverted
standby: verified only
standby: waits up to … s for … migration(s)
taken from the ledger
the ledger keeps its checksum …; replace_checksum=true would replace it
this database holds … ledgers, in schemas …; … is used
to record without running it: …; contract holds
to revert: …
verified: … on PostgreSQL … is as the contract says
will be probed with … rows in temporary tables
will be verified after the migration
would delete …
…: applied meanwhile by someone else
…: nothing to write
…: p95 … ms of … ms, p50 … ms, … run(s)
…: recorded already; contract holds
…: recorded by another formatting of this file; contract holds
…: recorded meanwhile by someone else
…: reverted meanwhile by someone else
…: … meanwhile by someone else
"""
"""What a run says that does well, or is still at work."""

PARTS = r"""
, but for newest rows of an integration, which stay
, or set `owner` to …
, with … beside it
, … bytes behind
.pgpass, PGPASSWORD or
; the newest of each integration stays
IF NOT EXISTS found it there
Input should be
String should have
WITH SET TRUE
[USER@]HOST[:PORT] of a bastion, or a name of ~/.ssh/config
a libpq connection string or URL
a local socket
a secret variable or a file that its template includes changed
a section of pg_service.conf
a standby takes no temporary tables; probe its primary
and remove the row of version … from the ledger
and … more
and … more; …
expected a name of 1 to 63 bytes, got …
expected a name without control characters
expected a time of at most 24 days
expected a time such as '2s', '500ms' or 0
expected valid Unicode
failed; what went wrong stands in the output of this run
has type …
it failed half-way
its template changed
path of the private key for it
libpq's password; better in .pgpass, PGPASSWORD or the service file
look whether it was committed before you run it again
not run yet
pid … (application …)
prepared transaction …
connection to server
report=DIR writes a page with all of them
run ALTER ROLE … LOGIN
run ALTER TABLE … DISABLE ROW LEVEL SECURITY
run GRANT CONNECT ON DATABASE … TO …
run GRANT USAGE ON SCHEMA … TO …
run GRANT … ON TABLE … TO …
run `…`…, or deploy.apply repair_invalid_indexes=true, which does so and builds it again
run psql with the same parameters to try it by hand
run the command again later, or raise replay_wait
see README: …
the lines of each stand above
the other indexes come back
the run ended before this host was verified
unsupported startup parameter: options
variable … changed from … to …
what was committed stays, run the command again
…, ……, last replayed transaction …
…; run it again when the server answers
"""
"""The end or the middle of a sentence, or of a violation, whose beginning is in the index; what the report adds."""

NO_WORDS = r"""
(?:permission denied to set|must be member of|must be able to SET) (role|ROLE) "(.+)"
(?P<name>\w+) ON (?P<table>\w+) \((?P<columns>[\w, ]+)\)
) AS violation;
-- (?P<key>[a-z_]+|\$\d): (?P<value>.+)
(Is the server running|Either provide the file|This may indicate)\b.*$|; file must have permissions .*$
ANALYZE integration_health, integration_events;
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT datname FROM pg_database
All failures were:
Permission denied (
bad permissions|Load key
^(?:- host: (?P<host>.*?), port: .*?, hostaddr: .*?: )?(?:connection (?:failed|is bad): )?(?P<reason>.*)$
^(ssh: |channel \d+: )?
^consuming input failed: | This probably means .*$
invalid (?:connection option|URI query parameter:) "(.*)"
materialized view|foreign table|table|view|index|relation
must be owner of (…|sequence|schema|…) (.+)
permission denied for (database) "?(.+?)"?
permission denied for (language) (.+)
permission denied for (schema) (.+)
permission denied for (sequence) (.+)
permission denied for (…) (.+)
permission denied to create temporary tables in (database) "(.+)"
"""
"""SQL, and patterns for what others say."""

ALL = [line for group in (SAID, PARTS, NO_WORDS) for line in group.strip().splitlines()]
