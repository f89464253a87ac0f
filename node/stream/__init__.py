"""Stream negotiation of clients (RFC 6120 §4 to §7), sans I/O: all of it is pure.

StreamHeader, Stanza ──▶ negotiation ──▶ steps ──▶ who owns the connection
                             │  ▲                   (writes, does TLS, looks accounts up, binds)
                             ▼  └──── looked_up, derived, secured, bound
                           scram

negotiation  what to answer to a header or an element until a resource is bound
steps        what a negotiation wants done
management   the elements of XEP-0198 (nothing uses it yet)
scram        SCRAM, server side (RFC 5802, RFC 7677), and the keys it needs
errors       stream errors and SASL failures as bytes
"""
