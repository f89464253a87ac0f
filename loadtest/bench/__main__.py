"""`python -m xcluster.loadtest.bench`."""

from xcluster.loadtest.bench.command import main

main(prog_name="python -m xcluster.loadtest.bench")
