"""{{name}}: what the trades of each token come to, over sliding windows.

An empty window gives what `write` makes of a new pane.
"""

from aggregator import Pane, integer, number, plugin


class {{type}}(Pane):
    """What a stretch of time comes to."""

    NAME = "{{name}}"
    FIELDS = [integer("trades"), number("largest_usd")]

    def __init__(self):
        self.trades = 0
        self.largest_usd = 0.0

    def add(self, trade, count):
        """Adds a trade. Trades of one stretch come in any order of time."""
        usd = trade.price * trade.amount
        self.trades += usd >= 1_000
        self.largest_usd = max(self.largest_usd, usd)

    def merge(self, later):
        """Adds what a later stretch of time holds."""
        self.trades += later.trades
        self.largest_usd = max(self.largest_usd, later.largest_usd)

    def write(self):
        """Gives the values of one window."""
        return {"trades": self.trades, "largest_usd": self.largest_usd}


Aggregator = plugin({{type}})
