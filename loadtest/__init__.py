"""Load: a light XMPP client, locust scenarios, and a bench. Speaks XMPP to any server, ours or another.

    command  (click)           launch  (I/O: the same in a process of its own, for tools)
       |                          |
    run, web  (I/O: locust) --- scenarios: classic, chat, presence  (I/O: gevent)
       |                          |  user (I/O: options, counted log-ins)
    report (table, JSON)          |  correspondent, client  (I/O: sockets)
                                nodes, population (where, who)
                                ledger, sightings, histogram (who wrote what, who saw whom, how fast)
                                stream, scram (what a client says and hears)

Pure: histogram, ledger, population, report, scram, sightings, stream. locust patches the standard library
when it is imported, so only `run`, `web`, `user` and the scenarios import it, and those belong into a
process of their own: `python -m xcluster.loadtest`, or `launch`. `bench/` measures what a server costs.
"""
