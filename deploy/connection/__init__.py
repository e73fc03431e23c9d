"""One connection to one server. psycopg is imported here and nowhere else."""
