"""What operators and scripts ask a node.

report    what this node knows of itself, as plain values
verify    do all nodes have the same rows? from the rows themselves
metrics   the same counters for Prometheus
desk      (I/O) which question may be asked, and who answers it
api       (I/O) HTTP over a unix socket, and on admin.listen for health and metrics
"""
