"""One host: an embedded PostgreSQL under `.local/` of the working directory. It prints how to stop and remove it."""

from deploy.embedded import start

hosts = [("@postgres/local", {**start(), "probe_rows": 10_000})]
