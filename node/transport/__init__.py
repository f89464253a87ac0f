"""(I/O) Sockets of clients: everything here works on readiness watchers and plain callbacks.

    outbox    what a turn has for its sockets, written once at the end
    tcp       one connection: reads, collected writes, TLS when asked
    tls       contexts, certificates, channel bindings
    listener  accepting, with limits

No greenlet belongs to a connection (design.md §4).
"""
