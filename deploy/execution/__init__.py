"""SQL that changes a host: files under the lock, each with its ledger row."""
