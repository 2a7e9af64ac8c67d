"""How far buying outweighs selling, in USD, in trades and in the chain's coin, over sliding windows: in Python.

Exact where it counts: Python's whole numbers have any size, so native volumes never drift.
"""

from aggregator import Pane, decimal, integer, number, plugin

# Places of the chain's coin.
PLACES = 9


class Imbalance(Pane):
    """What was bought and sold in a stretch of time."""

    NAME = "imbalance"
    FIELDS = [
        integer("buys"),
        integer("sells"),
        decimal("net_native", PLACES),
        number("net_usd"),
        number("imbalance"),
    ]

    def __init__(self):
        self.buys = self.sells = 0
        self.net_native = 0
        self.bought_usd = self.sold_usd = 0.0

    def add(self, trade, count):
        usd = trade.price * trade.amount
        if trade.side == "buy":
            self.buys += 1
            self.net_native += trade.native
            self.bought_usd += usd
        else:
            self.sells += 1
            self.net_native -= trade.native
            self.sold_usd += usd

    def merge(self, later):
        self.buys += later.buys
        self.sells += later.sells
        self.net_native += later.net_native
        self.bought_usd += later.bought_usd
        self.sold_usd += later.sold_usd

    def write(self):
        usd = self.bought_usd + self.sold_usd
        net_usd = self.bought_usd - self.sold_usd
        return {
            "buys": self.buys,
            "sells": self.sells,
            "net_native": self.net_native,
            "net_usd": net_usd,
            # From -1, only sold, to 1, only bought.
            "imbalance": net_usd / usd if usd else 0.0,
        }


Aggregator = plugin(Imbalance)
