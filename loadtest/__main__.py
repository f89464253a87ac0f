"""`python -m xcluster.loadtest`."""

from xcluster.loadtest.command import main

main(prog_name="python -m xcluster.loadtest")
