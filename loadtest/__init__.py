"""Load: a light XMPP client, locust scenarios, and a bench. Speaks XMPP to any server, ours or another.

    command  (click)          launch  (the same in a process of its own, for tools)
       |                         |
      run  (I/O: locust) ---- scenarios: classic, chat, presence  (I/O: gevent)
       |                         |  user (a locust User), client (I/O: sockets)
    report (table, JSON)         |
                              stream, scram (what the client says and hears)
                              ledger, sightings, population, histogram (who wrote what, who saw whom)

Pure: histogram, ledger, population, report, scram, sightings, stream. locust patches the standard library
when it is imported, so only `run`, `user` and the scenarios import it, and `run` belongs into a process of
its own: `python -m xcluster.loadtest`, or `launch`. `bench/` measures what a server costs.
"""
