"""What all of xcluster uses: words of XMPP, errors, configuration. Imports nothing of ours.

All of it is pure, but for `log`, which writes to standard error.

    bytes ──▶ framing ──▶ parsers (expat) ──▶ Stanza ──▶ stamp ──▶ bytes
                                                │
                                               tree, for what the server itself must understand

    jid        addresses, prepared (RFC 7622)
    stanza     header + raw bytes; stamp, the builders, tree
    framing    Framer: bytes of a connection become stream header, stanzas, end
    parsers    expat made strict, and the pool of parsers that framers borrow from
    ns         XML namespaces
    errors     everything raised on purpose
    config     the one TOML file
    log        event names with key=value
"""
