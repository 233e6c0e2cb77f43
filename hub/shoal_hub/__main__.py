"""`python -m shoal_hub` is `shoal`."""

from shoal_hub.cli import main

if __name__ == "__main__":
    main()
