"""Every choice in turn, the rule's best first."""

from __future__ import annotations

from .interface import Proposal, Search, hoped_gain, unseen


class Exhaustive(Search):
    """Measures all, as long as the budget lasts."""

    name = "exhaustive"

    def propose(self, task, space, seen, model, count, random) -> Proposal:
        options = tuple(unseen(space, seen)[:count])
        return Proposal(options, hoped_gain(task, space, seen, options, model)) if options else Proposal()
