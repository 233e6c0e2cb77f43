"""Write golden wire files on purpose: `python -m tests.contract.write_golden NAME... [--replace]`.

A new message gets its example in `golden_messages.py` and then its file from here. To replace a file is to change
the wire: agents in the field still send and read the old form, so it needs a reason in the changelog.
"""

import argparse
import sys
from pathlib import Path

from tests.contract.golden_messages import ENVELOPES, MESSAGES, wire_bytes

GOLDEN = Path(__file__).parent / "golden"


def main() -> int:
    """Write the named files; an existing one is kept unless `--replace` is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=sorted([*MESSAGES, *ENVELOPES]), metavar="NAME")
    parser.add_argument("--replace", action="store_true", help="overwrite a file that exists: the wire form changes")
    arguments = parser.parse_args()
    for name in arguments.names:
        path = GOLDEN / f"{name}.json"
        if path.exists() and not arguments.replace:
            sys.stderr.write(f"{path} exists: the wire form is pinned; give --replace if it really has to change\n")
            return 1
        path.write_bytes(wire_bytes(name))
        sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
