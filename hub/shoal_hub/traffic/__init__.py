"""Traffic: what devices have received and sent, what a transfer is going to take, and what they may take."""
