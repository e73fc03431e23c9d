"""The storage proof on copies as they are, and on copies that were made worse: each discrepancy is a row."""

from __future__ import annotations

import pytest
from support.servers import Database
from support.sqlx import DEPLOYED
from support.versions import two_versions

from deploy.execution import probe
from deploy.plan.target import Targets

pytestmark = pytest.mark.usefixtures("password")

TRIGGER = """
CREATE FUNCTION pg_temp.spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {}; RETURN NEW; END $$;
CREATE TRIGGER spoil BEFORE INSERT ON integration_events FOR EACH ROW EXECUTE FUNCTION pg_temp.spoil();
"""


def found(database: Database, sabotage: str = "") -> list[str]:
    """The rows of the storage proof after `sabotage` of the temporary copies, without the words `storage|`."""
    database.psql(DEPLOYED)
    begin = "BEGIN;\n" + probe.make_tables(Targets().resolve("@postgres/h", {}))
    rows = database.psql(f"{begin}\n{sabotage};\n{probe.storage()}\nROLLBACK;").splitlines()
    return [row.removeprefix("storage|") for row in rows if row.startswith("storage|")]


@two_versions
def test_everything_that_the_story_names_comes_back_as_it_went_in(database: Database) -> None:
    assert found(database) == []


@pytest.mark.parametrize(
    ("sabotage", "want"),
    [
        (TRIGGER.format("NEW.message := left(NEW.message, 500000)"), "integration_events.message|"),
        (TRIGGER.format("NEW.message := convert_from(convert_to(NEW.message, 'UTF8'), 'LATIN1')"), "integration_events.message|"),
        (TRIGGER.format("NEW.metadata := NEW.metadata - 'null'"), "integration_events.metadata|"),
        (TRIGGER.format("NEW.severity := upper(NEW.severity)"), "integration_events.severity|"),
        ("ALTER TABLE integration_events ALTER occurred_at TYPE timestamptz(3)", "integration_events.occurred_at|"),
        ("ALTER TABLE integration_events ALTER created_at DROP DEFAULT", "integration_events.created_at|"),
        ("ALTER TABLE integration_events ALTER message TYPE varchar(100)", "integration_events|an event of type type_ßß"),
        (
            "ALTER TABLE integration_events ALTER event_type TYPE varchar(10)",
            "integration_events|an event of type booking_loss and",
        ),
        (
            "ALTER TABLE integration_events ADD CHECK (severity <> 'critical')",
            "integration_events|an event of type pricing_sync_error and",
        ),
        (
            "ALTER TABLE integration_health ALTER booking_loss_rate TYPE numeric(5,3)",
            "integration_health.booking_loss_rate|0.1235|0.123",
        ),
        ("ALTER TABLE integration_health ALTER error_rate TYPE float8", "integration_health.error_rate|0.0000|0"),
        (
            "ALTER TABLE integration_health ALTER error_rate TYPE numeric(4,4)",
            "integration_health|rates of 1.0000 to be stored|22003: ",
        ),
        (
            "ALTER TABLE integration_health ALTER booking_loss_rate TYPE numeric(6,4)",
            "integration_health.booking_loss_rate|a rate of 10 to be refused|it was stored",
        ),
        (
            "ALTER TABLE integration_health DROP CONSTRAINT integration_health_integration_id_last_checked_key",
            "integration_health_integration_id_last_checked_key|a second row of one integration and time to be refused|",
        ),
    ],
)
def test_a_discrepancy_is_a_violation_of_its_field(database: Database, sabotage: str, want: str) -> None:
    rows = found(database, sabotage)
    assert [row for row in rows if row.startswith(want)], rows
