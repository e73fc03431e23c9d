"""One run, from its first host to its exit code, and what it leaves: lines on the console, and with `report=DIR` files.

run, host_run   what a run knows of itself and of each host
files           the report's files: verify.json, verify.xml and verify.html, or purge.json
fleet           the run as one value: every host, what was found there, and what that makes of it; verify.json is this value
as_junit, as_html, advice, plot     the other forms; the same fleet gives the same bytes
console         what the console says of violations and, at the end, of the fleet
"""
