"""Metrics for the trade aggregator in Python: what an author writes, as the contract's exports.

Not the windows themselves (`windows.py`). Invariant: whatever an author's code raises reaches the host's log with its
traceback before it becomes a trap, and the trade that it choked on is named.
"""

import sys
import traceback
from functools import wraps

from componentize_py_types import Err
from wit_world.imports import host, types

from forms import pack, spans, texts, unpack
from windows import Windows

COLUMNS = {"wallet": types.OptionalColumns.WALLET, "tx-hash": types.OptionalColumns.TX_HASH}
WORD = (1 << 64) - 1
#: Rows in a flush, whatever the host asks for: so many are through long before its deadline.
MOST_ROWS = 32


def integer(name):
    """Declares a 64-bit whole number."""
    return types.Field(name, types.Kind_Integer())


def decimal(name, places):
    """Declares an exact decimal, given as a whole number of units of 10^-places."""
    return types.Field(name, types.Kind_Decimal(places))


def number(name):
    """Declares a float; what is not finite is written as 0."""
    return types.Field(name, types.Kind_Float())


def text(name):
    """Declares a text."""
    return types.Field(name, types.Kind_Text())


def clock(name):
    """Declares the clock of the flush, which the host writes by itself."""
    return types.Field(name, types.Kind_Clock())


def log(words, level="info"):
    """Writes a line to the host's log; levels are debug, info, warn and error."""
    host.log(host.Level[level.upper()], str(words))


class Trade:
    """One trade: `native` in whole billionths of the chain's coin, `side` is buy or sell."""

    __slots__ = ("time_ms", "offset_ms", "side", "native", "amount", "price", "wallet", "tx_hash")


class Pane:
    """What a stretch of time comes to; an author's metric is a class of this kind.

    A new one is a stretch without a trade. Its attributes are its state: whole numbers of any size, floats, texts,
    lists, and dictionaries with texts as keys.
    """

    NAME = None
    VERSION = "0.1.0"
    #: The last part of the Redis keys; the name, where not given.
    RESULT_KEY = None
    #: Raised when the attributes change; state of another version is refused, never misread.
    STATE_VERSION = 1
    #: What `write` gives for each window, in this order.
    FIELDS = []
    #: Optional columns, of `wallet` and `tx-hash`.
    COLUMNS = []
    #: Numbers for /metrics that only rise: names and explanations.
    COUNTERS = {}

    def add(self, trade, count):
        """Adds a trade. Trades come in any order of time; `offset_ms` says where in the pane one lies.

        `count(name, by=1)` raises a counter.
        """
        raise NotImplementedError

    def merge(self, later):
        """Adds what a later stretch holds, of which no part may be kept; associative, and empty ones change nothing."""
        raise NotImplementedError

    def write(self):
        """Gives the values of one window, by field; what is left out is 0 or empty."""
        raise NotImplementedError


class Output:
    """Where `print` leads: to the host's log, a line at a time."""

    def __init__(self):
        self.line = ""

    def write(self, words):
        *lines, self.line = (self.line + words).split("\n")
        for line in lines:
            log(line)

    def flush(self):
        """Nothing waits but a line without its end."""


def told(error):
    """Writes a traceback without the lines of the source, which would be read from files that are not there."""
    frames = traceback.walk_tb(error.__traceback__)
    places = [f'  File "{f.f_code.co_filename}", line {line}, in {f.f_code.co_name}' for f, line in frames]
    return "\n".join(["Traceback (most recent call last):", *places, f"{type(error).__name__}: {error}"])


def reported(call):
    """Says what a call raises, and at which trade, before it becomes a trap."""

    @wraps(call)
    def wrapper(self, *values):
        try:
            return call(self, *values)
        except Err:
            raise
        except BaseException as error:
            log(f"{call.__name__}: {told(error)}", "error")
            if self.row is not None:
                host.fault_at(self.row)
            raise

    return wrapper


def plugin(pane):
    """Makes a plugin of a metric; the module names it `Aggregator`."""
    one = Plugin(pane)
    # Every call of the host makes an object of this class, and all of them are the same one.
    return type("Aggregator", (), {"__new__": lambda _: one})


class Plugin:
    """The one instance of a component."""

    def __init__(self, pane):
        self.pane = pane
        self.windows = None
        self.resolution_ms = 1
        #: The trade that is being added.
        self.row = None
        self.unknown_trades = 0
        self.counted = dict.fromkeys(self.pane.COUNTERS, 0)

    def count(self, name, by=1):
        self.counted[name] += by

    @reported
    def describe(self):
        sys.stdout = sys.stderr = Output()
        pane = self.pane
        columns = types.OptionalColumns(0)
        for column in pane.COLUMNS:
            columns |= COLUMNS[column]
        counters = {
            "late_trades": "Trades that came when the longest window had passed them.",
            "unknown_trades": "Trades of tokens that were not introduced.",
            **pane.COUNTERS,
        }
        return types.Description(
            name=pane.NAME,
            version=pane.VERSION,
            state_version=pane.STATE_VERSION,
            columns=columns,
            result_key=pane.RESULT_KEY or pane.NAME,
            fields=pane.FIELDS,
            gauges=[types.Gauge("tokens", "Tokens with trades in the longest window.", types.Fold.SUM)],
            counters=[types.Counter(name, words) for name, words in counters.items()],
        )

    @reported
    def configure(self, json):
        try:
            self.resolution_ms, listed = spans(json)
        except ValueError as error:
            raise Err(str(error)) from error
        self.windows = Windows(self.pane, [length_ms // self.resolution_ms for _, length_ms in listed])
        return types.Settings(
            groups=[name for name, _ in listed],
            horizon_ms=max(length_ms for _, length_ms in listed),
            step_ms=self.resolution_ms,
        )

    @reported
    def process(self, batch):
        for token in batch.new_tokens:
            self.windows.announce(token.id)
        wallets, tx_hashes = texts(batch.wallets), texts(batch.tx_hashes)
        place = known = pane = None
        for row, token in enumerate(batch.tokens):
            self.row = row
            time_ms = batch.times_ms[row]
            step, offset_ms = divmod(time_ms, self.resolution_ms)
            # Trades of one token stand together, and mostly in one step.
            if pane is None or (token, step) != place:
                place = token, step
                known, pane = self.windows.pane(token, step)
            if not known:
                self.unknown_trades += 1
            elif pane is not None:
                trade = Trade()
                trade.time_ms, trade.offset_ms = time_ms, offset_ms
                trade.side = "buy" if batch.sides[row] else "sell"
                trade.native = batch.natives[row]
                trade.amount, trade.price = batch.amounts[row], batch.prices[row]
                trade.wallet = wallets[row] if wallets else ""
                trade.tx_hash = tx_hashes[row] if tx_hashes else ""
                pane.add(trade, self.count)
        self.row = None

    @reported
    def flush(self, clock_ms, max_rows):
        fields = [field for field in self.pane.FIELDS if not isinstance(field.kind, types.Kind_Clock)]
        values = [[] for _ in fields]

        def write(pane):
            written = pane.write()
            for field, column in zip(fields, values):
                column.append(written.get(field.name))

        most = min(max_rows, MOST_ROWS)
        tokens, forgotten, more = self.windows.flush(clock_ms // self.resolution_ms, most, write)
        table = types.Table(
            tokens=tokens,
            columns=[column_of(field, column) for field, column in zip(fields, values)],
            forgotten=forgotten,
            more=more,
            gauges=[float(self.windows.alive)],
            counters=[self.windows.late, self.unknown_trades, *self.counted.values()],
        )
        self.windows.late = self.unknown_trades = 0
        self.counted = dict.fromkeys(self.counted, 0)
        return table

    @reported
    def touch(self, tokens):
        self.windows.touch(tokens)

    @reported
    def export_state(self, since, cursor, max_bytes):
        page = self.windows.export(since, cursor, max_bytes, pack)
        (tokens, slots, ends, pieces), (gone, gone_slots), following, generation = page
        return types.Page(
            entries=types.Entries(tokens, slots, ends, pieces),
            removed=types.Removals(gone, gone_slots),
            next=following,
            generation=generation,
        )

    @reported
    def trim(self, generation):
        self.windows.trim(generation)

    @reported
    def import_state(self, state_version, new_tokens, entries, removed):
        own = self.pane.STATE_VERSION
        if state_version != own:
            raise Err(f"{self.pane.NAME} reads state of version {own}, not of version {state_version}")
        try:
            pieces = unpack(self.pane, entries)
        except (ValueError, TypeError) as error:
            raise Err(f"this is no packed state: {error}") from error
        ids = [token.id for token in new_tokens]
        self.windows.take(ids, pieces, zip(removed.tokens, removed.slots))

    @reported
    def forget(self, tokens):
        self.windows.forget(tokens)


def column_of(field, values):
    """Turns the values of a field into a column."""
    if isinstance(field.kind, types.Kind_Integer):
        return types.Column_Integers([int(value or 0) for value in values])
    if isinstance(field.kind, types.Kind_Float):
        return types.Column_Floats([float(value or 0) for value in values])
    if isinstance(field.kind, types.Kind_Decimal):
        whole = [int(value or 0) for value in values]
        return types.Column_Decimals([word & WORD for value in whole for word in (value, value >> 64)])
    column = types.TextColumn(b"", [])
    for value in values:
        column.bytes += (value or "").encode()
        column.ends.append(len(column.bytes))
    return types.Column_Texts(column)
