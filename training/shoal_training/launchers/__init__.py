"""Where training runs: in this process, in several under torchrun, on a cluster."""
