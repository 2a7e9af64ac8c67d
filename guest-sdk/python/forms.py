"""Texts and bytes that a metric meets: its configuration, and the pieces of its state.

Not for what they mean. Invariant: a text that is accepted means what it means to the Rust SDK, and what was packed is
read back as it was, to the last bit.
"""

import json
import re
from fractions import Fraction

LONGEST_MS = 24 * 3_600_000
UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "hour": 3_600_000}
PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|min|m|hour|h)")


def duration_ms(text):
    """Reads a duration like `90s`, `4h` or `1m30s` in whole milliseconds; gives None where it is none."""
    if not isinstance(text, str) or not re.fullmatch(f"(?:{PART.pattern})+", text):
        return None
    length = sum(Fraction(part[1]) * UNITS[part[2]] for part in PART.finditer(text))
    return int(length) if length.denominator == 1 and 1 <= length <= LONGEST_MS else None


def spans(text):
    """Reads `{"windows": ["1min", "4h"], "resolution": "1s"}`, where both may be absent."""
    config = json.loads(text)
    if not isinstance(config, dict) or not config.keys() <= {"windows", "resolution"}:
        raise ValueError('the configuration looks like {"windows": ["1min", "1hour"], "resolution": "1s"}')
    resolution_ms = duration_ms(config.get("resolution", "1s"))
    if resolution_ms is None:
        raise ValueError(f"the resolution {config['resolution']!r} is not between 1ms and 24h")
    windows = config.get("windows", "1min,5min,15min,30min,1hour")
    names = windows.split(",") if isinstance(windows, str) else windows
    if not isinstance(names, list) or not names:
        raise ValueError("the list of windows is empty")
    listed = []
    for name in names:
        name = name.strip() if isinstance(name, str) else name
        length_ms = duration_ms(name)
        if length_ms is None:
            raise ValueError(f"the window {name!r} is not like 10min, 90s or 1m30s, up to 24h")
        if length_ms % resolution_ms:
            raise ValueError(f"the window {name!r} is no multiple of the resolution, {resolution_ms} ms")
        if any(length_ms == other for _, other in listed):
            raise ValueError(f"the window {name!r} is as long as another")
        listed.append((name, length_ms))
    return resolution_ms, listed


def texts(column):
    """Reads a column of texts; empty where it is not filled."""
    begins = [0, *column.ends]
    return [column.bytes[begin:end].decode() for begin, end in zip(begins, column.ends)]


def pack(panes):
    """Packs the panes of a slot as JSON, which keeps whole numbers and floats as they are."""
    return json.dumps([[step, vars(pane)] for step, pane in panes], separators=(",", ":")).encode()


def unpack(kind, entries):
    """Reads all pieces of a page before any is used."""
    if not len(entries.tokens) == len(entries.slots) == len(entries.ends):
        raise ValueError("the columns of the entries are not equally long")
    pieces = []
    begins = [0, *entries.ends]
    for token, slot, begin, end in zip(entries.tokens, entries.slots, begins, entries.ends):
        panes = []
        for step, attributes in json.loads(entries.bytes[begin:end]):
            pane = kind()
            vars(pane).update(attributes)
            panes.append((step, pane))
        if not panes:
            raise ValueError(f"slot {slot} of token {token} is empty")
        pieces.append((token, slot, panes))
    return pieces
