"""The store: everything that must outlive a process.

    protocol      the rows, and Store: the verbs. Start here
    memory        MemoryStore: the double that ships, for tests and the simulation
    changes       what a change of a roster means for its rows; shared by all stores
    sql           SqlStore: Store over an engine (I/O)
    engine        the threads of a process, and their queues (I/O)
    worker        one thread: batches, group commit, retries (I/O)
    mailbox       answers on their way home to the loop (I/O)
    gather        questions of one moment, asked together (I/O)
    connection    what a verb may ask of a database; what a verb is
    sql_accounts  sql_rosters  sql_offline  sql_cluster  sql_bulk: the verbs in SQL, written once
    schema        migrations/*.sql, applied at start
    sqlite        postgres: the two databases (I/O)
    stores        open_store, migrate: which store a URL means (I/O)

A call's way:

    greenlet ─ SqlStore.roster ─▶ queue ─▶ Worker: takes all that wait, merges like ones ─▶ verb ─▶ SQL
        ▲                                     │ commit
        └── Mailbox: one async watcher ◀──────┘

What every log-in asks (account, roster, whether something is stored) needs no greenlet: `ask_` methods collect
in a Gatherer, go to the threads as one group, and are called back.
"""
