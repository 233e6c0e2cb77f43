"""How a month's account moves when a device tells its totals. Pure.

Totals of one ledger only grow, so the larger of two is the later one: a report that comes twice, late or not at all
changes no sum. A device that has lost its ledger begins another under a later name; what the one before had said stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shoal_contract.ledger import CATEGORIES, Traffic

Categories = Mapping[str, Traffic]
_KNOWN: Final[frozenset[str]] = frozenset(CATEGORIES)


@dataclass(frozen=True)
class Account:
    """One device's month.

    Attributes:
        stream: The name of the ledger that the device has now.
        current: What that one says.
        earlier: The sum of what those before it said.
    """

    stream: int = 0
    current: Categories = field(default_factory=dict)
    earlier: Categories = field(default_factory=dict)

    def after(self, stream: int, told: Categories) -> "Account":
        """Return the account after a report; categories that this hub does not know are left out."""
        known = {name: one for name, one in told.items() if name in _KNOWN}
        if stream < self.stream:
            return self
        if stream > self.stream:
            return Account(stream, known, self.total)
        names = self.current.keys() | known.keys()
        nothing = Traffic()
        later = {name: known.get(name, nothing).at_least(self.current.get(name, nothing)) for name in names}
        return Account(stream, later, self.earlier)

    @property
    def total(self) -> dict[str, Traffic]:
        """What has passed in the month, by category."""
        nothing = Traffic()
        names: list[str] = [name for name in CATEGORIES if name in self.current or name in self.earlier]
        return {name: self.earlier.get(name, nothing).plus(self.current.get(name, nothing)) for name in names}
