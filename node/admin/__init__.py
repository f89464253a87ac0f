"""What operators and scripts ask a node.

report    what this node knows of itself, as plain values
memory    what its memory is spent on, by kind
weight    how many bytes objects take, from samples
verify    do all nodes have the same rows? from the rows themselves
metrics   the same counters for Prometheus
process   (I/O) the memory of the process as the kernel and the C library see it
desk      (I/O) which question may be asked, and who answers it
api       (I/O) HTTP over a unix socket, and on admin.listen for health and metrics
"""
