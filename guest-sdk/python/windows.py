"""Sliding windows of every length over the panes of tokens, and their state in pieces.

Not for any particular metric. A pane holds the trades of one step of the clock, a slot sixty panes. A window is the
panes from its edge to the end of their slot, the slots behind that, and the last slot, each of which is summed once and
kept until it changes. Invariants: the cost of a trade depends on no window, and whatever changes after the first page of
an export carries a later generation, so that a reader misses nothing.
"""

from bisect import bisect_left

PANES_PER_SLOT = 60
#: Readers of state at the same time; more than the host has. One that was given up makes room.
MOST_READERS = 16
#: What an entry takes besides its bytes.
ENTRY_BYTES = 16


def numbered(slot):
    """A slot's number as the contract has it, which knows no negative ones."""
    return -2 * slot - 1 if slot < 0 else 2 * slot


def slot_of(number):
    """The slot of a number."""
    return -(number + 1) // 2 if number % 2 else number // 2


class Slot:
    """Sixty steps of a token."""

    __slots__ = ("number", "panes", "changed", "tails", "head", "summed")

    def __init__(self, number):
        #: Steps and panes, in order.
        self.number, self.panes, self.changed = number, [], 0
        #: What the panes from each on come to, where that is known.
        self.tails = None
        #: What the first `summed` panes come to.
        self.head, self.summed = None, 0

    def changes(self, first, generation):
        """Notes that panes change, from this one on."""
        self.changed, self.tails = generation, None
        if first < self.summed:
            self.summed = 0



class Track:
    """A token."""

    __slots__ = ("id", "slots", "older", "dirty", "due")

    def __init__(self, token):
        self.id, self.slots, self.dirty, self.due = token, [], False, None
        #: What the slots from each on come to, without the last one, where that is known.
        self.older = None

    def slot(self, number):
        """Gives a slot, which is made where it is missing."""
        if self.slots and self.slots[-1].number == number:
            return self.slots[-1]
        at = bisect_left(self.slots, number, key=lambda slot: slot.number)
        if at == len(self.slots) or self.slots[at].number != number:
            self.slots.insert(at, Slot(number))
            self.older = None
        return self.slots[at]

    def take_slot(self, number):
        """Takes a slot out; says whether there was one."""
        kept = [slot for slot in self.slots if slot.number != number]
        taken = len(kept) < len(self.slots)
        self.slots, self.older = kept, None
        return taken

    def changes(self, slot):
        """Notes that a slot changes."""
        if slot is not self.slots[-1]:
            self.older = None


class Reader:
    """How far an export has come."""

    def __init__(self, since, generation, removal):
        self.since, self.generation, self.removal = since, generation, removal
        self.token, self.slot = 0, None


class Windows:
    """The windows of one shard's tokens."""

    def __init__(self, pane, lengths):
        self.new = pane
        #: Windows by length, shortest first, with their places in configured order.
        self.spans = sorted((steps, group) for group, steps in enumerate(lengths))
        self.longest = self.spans[-1][0]
        #: By token number.
        self.tracks = {}
        #: Tokens that wait for a flush, in the order in which they changed.
        self.dirty = []
        #: When something leaves a window of a token next: step, then tokens.
        self.due = {}
        self.clock = None
        #: Trades that no window could hold.
        self.late = 0
        #: Rises with every export; stamps changes.
        self.generation = 1
        #: Slots that went away, in order of generations: generation, token, slot.
        self.removed = []
        self.trimmed = 0
        self.readers = {}
        self.next_reader = 1

    @property
    def alive(self):
        """How many tokens have state."""
        return len(self.tracks)

    def announce(self, token):
        """Introduces a token, as changed, so that it is forgotten in order when none of its trades is taken."""
        if token not in self.tracks:
            self.tracks[token] = Track(token)
            self.mark(self.tracks[token])

    def pane(self, token, step):
        """Gives whether the token was introduced, and the pane of a step, where a window can hold it."""
        track = self.tracks.get(token)
        if track is None:
            return False, None
        if self.clock is not None and step <= self.clock - self.longest:
            self.late += 1
            return True, None
        self.mark(track)
        slot = track.slot(step // PANES_PER_SLOT)
        panes = slot.panes
        if panes and panes[-1][0] == step:
            at = len(panes) - 1
        else:
            at = bisect_left(panes, step, key=lambda pane: pane[0])
            if at == len(panes) or panes[at][0] != step:
                panes.insert(at, (step, self.new()))
        slot.changes(at, self.generation)
        track.changes(slot)
        return True, panes[at][1]

    def mark(self, track):
        """Counts a token as changed."""
        if not track.dirty:
            track.dirty = True
            self.dirty.append(track)

    def touch(self, tokens):
        """Counts these tokens as changed, or all."""
        for token in list(self.tracks) if tokens is None else tokens:
            if token in self.tracks:
                self.mark(self.tracks[token])

    def forget(self, tokens):
        """Drops all state of these tokens."""
        for token in tokens:
            if token in self.tracks:
                self.drop(self.tracks[token])

    def drop(self, track):
        """Drops a token; whoever still lists its track finds that it is none any more."""
        del self.tracks[track.id]
        for slot in track.slots:
            self.log_removed(track.id, slot.number)

    def flush(self, clock, max_rows, write):
        """Gives the tokens whose rows changed, those that are forgotten, and whether there are more."""
        self.advance(clock if self.clock is None else max(clock, self.clock))
        tokens, forgotten, taken = [], [], 0
        for track in self.dirty:
            if len(tokens) == max_rows:
                break
            taken += 1
            if self.tracks.get(track.id) is not track:
                continue
            tokens.append(track.id)
            track.dirty = False
            if not self.settle(track, write):
                forgotten.append(track.id)
                self.drop(track)
        del self.dirty[:taken]
        return tokens, forgotten, bool(self.dirty)

    def advance(self, clock):
        """Moves the clock, and marks the tokens whose windows moved."""
        if clock == self.clock:
            return
        self.clock = clock
        for step in sorted(step for step in self.due if step <= clock):
            for track in self.due.pop(step):
                if track.due == step and self.tracks.get(track.id) is track:
                    track.due = None
                    self.mark(track)

    def settle(self, track, write):
        """Writes all windows of a token; says whether it lives on."""
        slots = track.slots
        written, due, at = [None] * len(self.spans), None, len(slots)
        for steps, group in self.spans:
            edge = self.clock - steps
            while at and slots[at - 1].panes[-1][0] > edge:
                at -= 1
            if at == len(slots):
                written[group] = self.new()
                continue
            panes = slots[at].panes
            first = bisect_left(panes, edge + 1, key=lambda pane: pane[0])
            leaves = panes[first][0] + steps
            due = leaves if due is None else min(due, leaves)
            written[group] = self.since(track, at, first)
        for pane in written:
            write(pane)
        if due is None:
            return False
        if track.due != due:
            track.due = due
            self.due.setdefault(due, []).append(track)
        self.expire(track)
        return True

    def since(self, track, at, first):
        """What the panes of a token come to, from one of them on."""
        slot, last = track.slots[at], track.slots[-1]
        total = self.new()
        if slot is not last:
            total.merge(self.tails(slot)[first])
            total.merge(self.older(track)[at + 1])
        elif first:
            for _, pane in last.panes[first:]:
                total.merge(pane)
            return total
        total.merge(self.head(last))
        total.merge(last.panes[-1][1])
        return total

    def older(self, track):
        """What the slots from each on come to, without the last one."""
        if track.older is None:
            track.older = self.sums([*(self.tails(slot)[0] for slot in track.slots[:-1]), self.new()])
        return track.older

    def tails(self, slot):
        """What the panes of a slot from each on come to."""
        if slot.tails is None:
            slot.tails = self.sums([pane for _, pane in slot.panes])
        return slot.tails

    def sums(self, panes):
        """What these from each on come to."""
        sums, total = [], self.new()
        for pane in reversed(panes):
            both = self.new()
            both.merge(pane)
            both.merge(total)
            sums.append(both)
            total = both
        return sums[::-1]

    def head(self, slot):
        """What all panes of a slot but the last one come to, which changes with every trade."""
        if slot.summed == 0:
            slot.head = self.new()
        for _, pane in slot.panes[slot.summed : -1]:
            slot.head.merge(pane)
        slot.summed = len(slot.panes) - 1
        return slot.head

    def expire(self, track):
        """Drops the slots that no window reaches."""
        while (track.slots[0].number + 1) * PANES_PER_SLOT <= self.clock - self.longest + 1:
            self.log_removed(track.id, track.slots.pop(0).number)
            track.older = None

    def log_removed(self, token, slot):
        """Remembers a removal; before the first export nobody can miss the slot."""
        if self.generation > 1:
            self.removed.append((self.generation, token, slot))

    def trim(self, generation):
        """Forgets what was removed up to a generation."""
        gone = bisect_left(self.removed, generation + 1, key=lambda removal: removal[0])
        del self.removed[:gone]
        self.trimmed += gone

    def export(self, since, cursor, max_bytes, pack):
        """Gives a page of the state that changed after a generation: entries, removals, cursor, generation."""
        number = cursor or self.read(since)
        reader = self.readers.get(number)
        if reader is None:
            raise ValueError(f"nobody reads on from {cursor}")
        most = max(max_bytes, 1)
        entries = [], [], [], bytearray()
        removed = self.removed_page(reader, most)
        more = reader.removal is not None or self.slots_page(reader, most, entries, pack)
        if not more:
            del self.readers[number]
        tokens, slots, ends, pieces = entries
        return (tokens, slots, ends, bytes(pieces)), removed, number if more else None, reader.generation

    def read(self, since):
        """Begins an export, which closes a generation."""
        first = bisect_left(self.removed, since + 1, key=lambda removal: removal[0])
        removal = self.trimmed + first if since and first < len(self.removed) else None
        number = self.next_reader
        self.next_reader += 1
        self.readers[number] = Reader(since, self.generation, removal)
        self.generation += 1
        if len(self.readers) > MOST_READERS:
            del self.readers[next(iter(self.readers))]
        return number

    def removed_page(self, reader, most):
        """Gives removals."""
        tokens, slots = [], []
        while reader.removal is not None and len(tokens) * ENTRY_BYTES < most:
            reader.removal = max(reader.removal, self.trimmed)
            if reader.removal - self.trimmed >= len(self.removed):
                reader.removal = None
                break
            _, token, number = self.removed[reader.removal - self.trimmed]
            track = self.tracks.get(token)
            # What came back is an entry; reporting it as removed too would delete it.
            if track is None or all(slot.number != number for slot in track.slots):
                tokens.append(token)
                slots.append(numbered(number))
            reader.removal += 1
        return tokens, slots

    def slots_page(self, reader, most, page, pack):
        """Fills a page with slots; says whether there are more."""
        tokens, slots, ends, pieces = page
        for token in sorted(token for token in self.tracks if token >= reader.token):
            if token != reader.token:
                reader.token, reader.slot = token, None
            for slot in self.tracks[token].slots:
                passed = reader.slot is not None and slot.number <= reader.slot
                if passed or slot.changed <= reader.since:
                    continue
                if len(pieces) + len(tokens) * ENTRY_BYTES >= most:
                    return True
                pieces += pack(slot.panes)
                tokens.append(token)
                slots.append(numbered(slot.number))
                ends.append(len(pieces))
                reader.slot = slot.number
        return False

    def take(self, new_tokens, pieces, removed):
        """Replaces slots by these, then deletes the removed ones; all these tokens count as changed."""
        for token in new_tokens:
            self.announce(token)
        for token, number, panes in pieces:
            self.announce(token)
            track = self.tracks[token]
            slot = track.slot(slot_of(number))
            slot.panes = panes
            slot.changes(0, self.generation)
            track.changes(slot)
            self.mark(track)
        for token, number in removed:
            track = self.tracks.get(token)
            if track is not None and track.take_slot(slot_of(number)):
                self.log_removed(token, slot_of(number))
                self.mark(track)
