"""Where the project's own files are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
VERSION = 20260111030835
MIGRATION = ROOT / "migrations" / "20260111030835_create_integration_health_tables.sql"
