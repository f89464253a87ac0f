"""The bench: what one message, one log-in, one session costs a server (design.md §9), ours and its peers.

    command (click) -> rows (each a measurement) -> generator (I/O: builds and drives generator.c)
        |                  |                        processes (I/O: CPU and memory from /proc)
     output                servers: xcluster, prosody, ejabberd (I/O: private instances on loopback)

CPU is user + system time of the server's whole process tree, buses included, per operation; memory is PSS.
A row in which anything was lost, doubled, reordered or spoilt, or a log-in failed, is void.
"""
