"""Staging. Each `postgres_service` is a section of pg_service.conf (PGSERVICEFILE); passwords come from .pgpass (PGPASSFILE)."""

hosts = (
    [
        ("@postgres/staging-a", {"postgres_service": "integration-health-staging-a", "wave": 0}),
        ("@postgres/staging-b", {"postgres_service": "integration-health-staging-b", "wave": 1}),
    ],
    {"postgres_sslmode": "verify-full", "postgres_conninfo": "require_auth=scram-sha-256 channel_binding=require"},
)
