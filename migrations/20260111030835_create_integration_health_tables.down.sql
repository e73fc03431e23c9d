-- Takes back the tables of integration health, and what they hold.

DROP TABLE IF EXISTS integration_events;
DROP TABLE IF EXISTS integration_health;
