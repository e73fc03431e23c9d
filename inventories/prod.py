"""Production. Each `postgres_service` is a section of pg_service.conf (PGSERVICEFILE); passwords come from .pgpass (PGPASSFILE).

Hosts of wave 0 are migrated and verified before any host of wave 1 is touched.
"""

hosts = (
    [
        ("@postgres/eu-1", {"postgres_service": "integration-health-eu-1", "wave": 0}),
        ("@postgres/eu-2", {"postgres_service": "integration-health-eu-2", "wave": 1}),
        ("@postgres/us-1", {"postgres_service": "integration-health-us-1", "wave": 1}),
    ],
    {"postgres_sslmode": "verify-full", "postgres_conninfo": "require_auth=scram-sha-256 channel_binding=require"},
)
