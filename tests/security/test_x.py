from support.operator import run
from support.versions import every_version
def test_x(database, neighbour, pyinfra):
    for words in (("-y","deploy.apply"),("-y","deploy.verify","probe_rows=20"),("-y","deploy.purge"),("fact", "deploy.facts.Status"), ("-y","deploy.revert"),):
        got = run(pyinfra, {"@postgres/x": {**database.data, "audit": True}}, *words)
        print(got.out)
        assert got.code == 0
