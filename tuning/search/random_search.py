"""A control: any choice that was not measured yet."""

from __future__ import annotations

from .interface import Proposal, Search, hoped_gain, unseen


class RandomSearch(Search):
    """Measures choices in no order."""

    name = "random"

    def propose(self, task, space, seen, model, count, random) -> Proposal:
        left = unseen(space, seen)
        options = tuple(left[number] for number in random.permutation(len(left))[:count])
        return Proposal(options, hoped_gain(task, space, seen, options, model)) if options else Proposal()
