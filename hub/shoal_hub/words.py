"""Words that people read, where numbers change them."""


def counted(count: int, noun: str) -> str:
    """Return a number of things, by a noun whose plural ends in s: `1 device`, `2 devices`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
