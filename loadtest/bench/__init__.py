"""The bench: what one message, one log-in, one session costs a server (design.md §9), ours and its peers.

    command (click) -> schedule (run by run, server by server) -> rows (the table)
        |                                                          |
     output <- results (medians, spread, ratios)               messages, logins, memory, growth, machine (measures)
                                                                   |
                                                               harness (I/O: one server, load, clocks)
                       generator (I/O: builds and drives generator.c)   |   processes (I/O: /proc)
                       servers: xcluster, prosody, ejabberd (I/O: private instances on loopback)

Many clients at once: `hold`, whose map stands in hold.py.

CPU is user + system time of the server's whole process tree, buses included, per operation; memory is PSS.
A row in which anything was lost, doubled, reordered or spoilt, or a log-in failed, is void.
"""
