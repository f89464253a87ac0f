"""The command line: start processes, look after them, talk to them. All of it is I/O.

main              the `xcluster` command: groups, and what becomes of errors
options           --data, --config, --set, --json: which cluster, which settings
serve             xcluster bus, xcluster start-node
up                xcluster up: a whole cluster on this machine
  cluster_dir       the folder of a local cluster: xcluster.toml, run folder, lock, cluster.json
  ports             listening ports that are kept for the nodes
  child             one process: start, output, readiness
  pulse             whether its loop turns
  supervisor        all of them: restart what died, end in order
  console           what a person sees of it: prefixed lines, a status line
user, provision   accounts, many accounts
status, verify    what the nodes say about themselves; whether they agree
session, node     who is connected; which nodes there are
config, cert, keys, store
quickstart        the first command of the README, behind tools/quickstart

admin_client      HTTP over a node's unix socket: how commands ask a running cluster
accounts          the store, opened for a command; keys from passwords
certificate       self-signed certificates
progress          a bar on a terminal, lines elsewhere
report            answers as tables
toml              settings as text

  up ──▶ supervisor ──▶ child ══ `xcluster bus`, `xcluster start-node`
                          │ GET /live
  status, session ... ──▶ admin_client ──▶ RUN_DIR/NAME.sock
  user, provision ──▶ accounts ──▶ the store ──▶ (notices) ──▶ nodes
"""
