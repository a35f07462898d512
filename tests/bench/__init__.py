"""How fast it is: `make bench`, or one of them with `python -m tests.bench.append`.

Each script starts what it needs on this machine, measures for about a minute, prints its figures beside the
aim, and ends what it started. Rates belong to one machine; what is said of this software are the ratios
between two things measured in the same run.
"""
