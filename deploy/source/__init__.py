"""What is on disk: migrations, sqlx.toml, checks and named queries, by the rules of SQLx. No database."""
