"""A node: holds client connections and does all XMPP work. Start reading at `exchange`.

what a node is, without sockets
  exchange        the heart: mesh, directory and lanes as one machine
  directory       who is on line where: the replicated records
  router          where a stanza goes (RFC 6121 §8)
  lanes           stanzas in order; early ones wait
  parcel          a stanza on its way
  identity        what a message is known by everywhere
  intake          what a session takes: each identity once, stored before live
  backlog         what a client was sent and has not acknowledged (XEP-0198; nothing uses it yet)
  ledger          what a client has sent, and how much of it is taken care of (nor this)
  session         one connected resource of ours
  delivery        the last step of a stanza here, and where events fan out to features
  watchers        who sees whom
  presences       presence as it is kept, and as contacts see it
  subscriptions   both sides of a subscription, as one transition
  rosters         rosters as this node knows them
  cache           what was read from the store and may be read again
  visibility      who may see whose presence
  information     what disco#info says
  inbound         what is done with a stanza of a bound session
  iqs             requests that the server answers itself
  availability    what a client says of its own presence
  contacts        changes of rosters: one transaction, then an announcement
  hooks           the extension manual: what a feature is told and asked
  bucket          token buckets for clients
  failures        failed log-ins
  registrar       accounts made before log-in (XEP-0077)
  features/       one module per XEP or RFC chapter; the list there is the order

what gives it a world
  server          (I/O) the process: builds all parts, starts and stops them in order
  cluster         (I/O) sockets, clock and store for the exchange
  clock           (I/O) the loop's turns
  connection      (I/O) one client: transport, framer, negotiation, session
  reception       (I/O) what all client connections share
  passwords       (I/O) PLAIN, in threads
  pool            (I/O) threads for work that takes long
  noise           (I/O) random bytes
  trimming        (I/O) memory given back after many have left
  calls           (I/O) questions of one node to another
  stream/         negotiation of a client's stream, without sockets
  transport/      (I/O) sockets of clients
  store/          the only durable state
  admin/          what operators ask

  socket ─▶ transport ─▶ connection ─▶ (stream) ─▶ inbound ─▶ exchange ─▶ delivery ─▶ session ─▶ socket
                                          iqs ◀──────┤           │
                                 availability ◀──────┘           ▼
                                     features ◀── events ──── cluster ─▶ bus/sockets ─▶ other nodes
"""
