"""Pairs that are judged by any threshold, without asking the database for each."""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from hseie.alert_answers import AlertPair


@dataclass(frozen=True)
class Pairs:
    """The worst pairs of a range of time below a threshold, how many there are below it, and of how many."""

    worst: Sequence[AlertPair]
    found: int
    known: int = 0


class JudgedPairs:
    """The pairs of a range of time: the worst of them whole, of all the others their efficiencies.

    What is below a threshold is where the worst begin. So these are listed right as long as nobody asks for more than
    there are here, and counted right however many there are: efficiencies have two decimals, so that they are a table
    of at most a hundred thousand numbers up to 1,000 %, however many pairs there are.
    """

    def __init__(
        self, worst: Sequence[AlertPair], efficiencies: Iterable[float], counts: Iterable[int], known: int
    ) -> None:
        """`worst`: by rising efficiency, the lowest that there are. `efficiencies`: all different ones, rising, and how
        many pairs have each. `known`: how many pairs there are, those that are not judged among them."""
        self.known = known
        self._worst = worst
        self._efficiencies = array("d", efficiencies)
        self._up_to = array("q", accumulate(counts))

    @classmethod
    def of(cls, pairs: Iterable[AlertPair], most: int) -> "JudgedPairs":
        """Return pairs in any order as judged ones; `most`: how many of them to keep whole."""
        rising = sorted(pairs, key=_efficiency)
        spread = Counter(map(_efficiency, rising))  # in the order of what it counts
        return cls(rising[:most], spread.keys(), spread.values(), len(rising))

    def below(self, threshold: float) -> Pairs:
        """Return those whose efficiency is below `threshold`, in percent."""
        place = bisect_left(self._efficiencies, threshold)
        found = self._up_to[place - 1] if place else 0
        return Pairs(self._worst[:found], found, self.known)


def _efficiency(pair: AlertPair) -> float:
    return pair.efficiency_ratio
