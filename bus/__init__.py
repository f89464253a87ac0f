"""What processes say to each other.

    messages     every message that crosses a process boundary; read it first
    wire         messages <-> bytes: versioned, additive
    link         numbered, ordered, acknowledged tasks between two incarnations
    replication  one ordered log of deltas an origin: positions, gaps, ranges, snapshots, digests
    membership   alive, suspect, unreachable, dead; the fence
    mesh         the three together: one node's end of the cluster, without sockets
    zeromq       (I/O) what nodes and buses share of ZeroMQ: addresses, options, keys, frames
    sockets      (I/O) ZeroMQ in a node's loop

          node/cluster ── now, bytes ──▶ mesh ──▶ membership
               ▲                          │ ├───▶ link (one a peer)
               └── bytes to send, events ─┘ └───▶ replication (one log of ours, one replica a peer)

All but the last two is pure: bytes and `now` (seconds of a monotonic clock) come in, values go out.
"""
