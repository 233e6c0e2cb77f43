"""What the garbage collector need not go through again and again: it stops all threads meanwhile."""

import gc


def keep_what_is_loaded() -> None:
    """Have the collector leave alone what there is now: modules, settings, models.

    It comes by when new objects have become old; then it goes through all of them, which are 70,000 after a start:
    20 ms on a PC, during which no request is answered.
    """
    gc.collect()
    gc.freeze()
