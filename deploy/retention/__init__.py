"""deploy.purge: which rows are past retention, and their deletion in batches."""
