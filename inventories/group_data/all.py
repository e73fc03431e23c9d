"""The defaults of every data key. They are in the package too: this file shows them, and is the place to change them."""

# Where the tables and the ledger are; becomes the search_path of each transaction, quoted.
# None: "public" for the packaged source, the role's own search_path for another one.
schema = None

# The role that new objects and a new ledger belong to (SET LOCAL ROLE). None: the connecting role.
owner = None

# Folders of SQLx migrations, of contracts and of checks. None: the packaged ones; for another source no contract and no check.
migrations = None
contract = None
checks = None

# What templates of another source may use, and which of these names must not be shown or recorded: a list, or a mapping of
# names to the environment variables that hold their values. Values of fewer than 4 characters are refused, as they can't be masked.
variables = None
secret_variables = None

# Whether rows of the ledger that the source doesn't have belong to others and are left alone.
# None: true for the packaged source, false for another one.
ignore_missing = None

# For each transaction, as in postgresql.conf. None: "2s" and "60s" for the packaged source, 0 (no limit) for another one.
lock_timeout = None
statement_timeout = None

# Drop an INVALID index that a failed `-- no-transaction` file has left, and build it again.
repair_invalid_indexes = False
private_schema = False

# How long to wait for another migrator, or to retry a busy table.
lock_wait = "60s"

# How long a standby may take to replay the migration before it is verified; then it says its lag.
replay_wait = "30s"

# Milliseconds that a named query may take; rows of the probes that measure it (0: none).
query_budget_ms = 100
probe_rows = 0

# Days that events are kept. Days that older rows of the current status are kept, the newest of each integration always: None is
# for ever. Rows that deploy.purge deletes in one transaction, at most 100,000.
retention_days = 90
health_retention_days = None
batch_rows = 10_000

# Data keys of other deploys that look like a misspelt one of these, as "schemas" does: they are left alone.
other_keys = None

# Hosts of wave 0 finish before any host of wave 1 starts.
wave = 0

# Connections that one run opens to one server (host and port) at once.
max_connections_per_server = 8

# Record who applied what in a table beside the ledger.
audit = False

# The bastion that leads to the servers, [USER@]HOST[:PORT] or a name of ~/.ssh/config, and a private key for it. None: no bastion.
postgres_ssh = None
postgres_ssh_key = None
