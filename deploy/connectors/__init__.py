"""The connectors `@postgres`, `@pgservices` and `@pgdatabases`: thin, because every pyinfra run of the environment loads them."""
