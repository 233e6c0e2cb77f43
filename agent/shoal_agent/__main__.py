"""`python -m shoal_agent` is `shoal-agent`."""

from shoal_agent.cli import main

main()
