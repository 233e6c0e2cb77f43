"""Asks one server as fast as it answers, over one keep-alive connection. Usage: client.py PORT PATH BODY END_FILE.

Writes one line a request when END_FILE is there: seconds at which it began and ended, and whether it was answered 200.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from serving_parts.client import Connection


def main() -> None:
    """Ask until the file is there."""
    port, path, body, end = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes(), Path(sys.argv[4])
    connection = Connection(port, path, body)
    lines, asked = [], 0
    while asked % 100 or not end.exists():
        began_s = time.monotonic()
        try:
            connection.ask()
            is_good = 1
        except (RuntimeError, OSError):
            is_good = 0
            connection.close()
            connection = Connection(port, path, body)
        lines.append(f"{began_s:.6f} {time.monotonic():.6f} {is_good}")
        asked += 1
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
