"""The bus: relays tasks by node name, fans out deltas, keeps nothing that matters.

relay      what to do with a message from a node (pure)
forwarder  (I/O) XSUB to XPUB, in a thread of libzmq's
server     (I/O) the process: sockets, keys, liveness

nodes ── DEALER ──▶ ROUTER ─ relay ─▶ ROUTER ──▶ nodes
nodes ── PUB ─────▶ XSUB ─ forwarder ─▶ XPUB ──▶ nodes
"""
