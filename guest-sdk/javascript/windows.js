//! Sliding windows of every length over the panes of tokens, and their state in pieces.
//!
//! Not for any particular metric. A pane holds the trades of one step of the clock, a slot sixty panes. A window is the
//! panes from its edge to the end of their slot, the slots behind that, and the last slot, each of which is summed once
//! and kept until it changes. Invariants: the cost of a trade depends on no window, and whatever changes after the first
//! page of an export carries a later generation, so that a reader misses nothing.

const PANES_PER_SLOT = 60;
/** Readers of state at the same time; more than the host has. One that was given up makes room. */
const MOST_READERS = 16;
/** What an entry takes besides its bytes. */
const ENTRY_BYTES = 16;

/** A slot's number as the contract has it, which knows no negative ones. */
const numbered = (slot) => (slot < 0 ? -2 * slot - 1 : 2 * slot);
const slotOf = (number) => (number % 2 === 1 ? -(number + 1) / 2 : number / 2);

export class Windows {
    constructor(metric, lengths) {
        this.metric = metric;
        /** Windows by length, shortest first, with their places in configured order. */
        this.spans = lengths.map((steps, group) => ({ steps, group })).sort((one, other) => one.steps - other.steps);
        this.longest = this.spans[this.spans.length - 1].steps;
        /** By token number. */
        this.tracks = [];
        this.alive = 0;
        /** Tokens that wait for a flush, in the order in which they changed. */
        this.dirty = [];
        /** When something leaves a window of a token next: step, then tokens. */
        this.due = new Map();
        this.clock = null;
        this.late = 0;
        /** Rises with every export; stamps changes. */
        this.generation = 1;
        /** Slots that went away, in order of generations. */
        this.removed = [];
        this.trimmed = 0;
        this.readers = new Map();
        this.nextReader = 1;
    }

    /** Introduces a token. It counts as changed, so that it is forgotten in order when none of its trades is taken. */
    announce(id) {
        if (this.tracks[id] === undefined) {
            this.tracks[id] = { id, slots: [], older: null, dirty: false, due: null };
            this.alive += 1;
            this.mark(this.tracks[id]);
        }
    }

    /** Gives the pane of a step; null where nobody introduced the token, undefined where no window holds the step. */
    pane(id, step) {
        const track = this.tracks[id];
        if (track === undefined) {
            return null;
        }
        if (this.clock !== null && step <= this.clock - this.longest) {
            this.late += 1;
            return undefined;
        }
        this.mark(track);
        const slot = this.slot(track, Math.floor(step / PANES_PER_SLOT));
        const { panes } = slot;
        const isLast = panes.length > 0 && panes[panes.length - 1][0] === step;
        const at = isLast ? panes.length - 1 : place(panes, step, stepOf);
        if (at === panes.length || panes[at][0] !== step) {
            panes.splice(at, 0, [step, this.metric.empty()]);
        }
        this.changes(track, slot, at);
        return panes[at][1];
    }

    /** Notes that panes of a slot change, from this one on: sums with them are made anew. */
    changes(track, slot, from) {
        slot.changed = this.generation;
        slot.tails = null;
        if (from < slot.summed) {
            slot.summed = 0;
        }
        if (slot !== track.slots[track.slots.length - 1]) {
            track.older = null;
        }
    }

    slot(track, number) {
        const { slots } = track;
        const last = slots[slots.length - 1];
        if (last?.number === number) {
            return last;
        }
        const at = place(slots, number, (slot) => slot.number);
        if (slots[at]?.number !== number) {
            // `tails`: what the panes from each on come to. `head`: what the first `summed` panes come to.
            slots.splice(at, 0, { number, panes: [], tails: null, head: null, summed: 0, changed: this.generation });
            track.older = null;
        }
        return slots[at];
    }

    mark(track) {
        if (!track.dirty) {
            track.dirty = true;
            this.dirty.push(track);
        }
    }

    touch(ids) {
        const tracks = ids === null || ids === undefined ? this.tracks : ids.map((id) => this.tracks[id]);
        tracks.forEach((track) => track && this.mark(track));
    }

    forget(ids) {
        ids.forEach((id) => this.tracks[id] && this.drop(this.tracks[id]));
    }

    /** Drops a token; whoever still lists its track finds that it is none any more. */
    drop(track) {
        delete this.tracks[track.id];
        this.alive -= 1;
        track.slots.forEach((slot) => this.logRemoved(track.id, slot.number));
    }

    takeLate() {
        const late = this.late;
        this.late = 0;
        return late;
    }

    /** Gives the rows that changed by trades or by the clock, at most so many; `write` is given a pane per window. */
    flush(clock, maxRows, write) {
        this.advance(Math.max(clock, this.clock ?? clock));
        const tokens = [];
        const forgotten = [];
        let at = 0;
        for (; at < this.dirty.length && tokens.length < maxRows; at += 1) {
            const track = this.dirty[at];
            if (this.tracks[track.id] !== track) {
                continue;
            }
            tokens.push(track.id);
            track.dirty = false;
            if (!this.settle(track, write)) {
                forgotten.push(track.id);
                this.drop(track);
            }
        }
        this.dirty.splice(0, at);
        return { tokens, forgotten, more: this.dirty.length > 0 };
    }

    /** Moves the clock, and marks the tokens whose windows moved. */
    advance(clock) {
        if (clock === this.clock) {
            return;
        }
        this.clock = clock;
        const steps = [...this.due.keys()].filter((step) => step <= clock).sort((one, other) => one - other);
        for (const step of steps) {
            for (const track of this.due.get(step)) {
                if (track.due === step && this.tracks[track.id] === track) {
                    track.due = null;
                    this.mark(track);
                }
            }
            this.due.delete(step);
        }
    }

    /** Writes all windows of a token; says whether it lives on. */
    settle(track, write) {
        const { slots } = track;
        const written = [];
        let due = Infinity;
        let at = slots.length;
        for (const span of this.spans) {
            const edge = this.clock - span.steps;
            while (at > 0 && lastStep(slots[at - 1]) > edge) {
                at -= 1;
            }
            if (at === slots.length) {
                written[span.group] = this.metric.empty();
                continue;
            }
            const { panes } = slots[at];
            const first = panes[0][0] > edge ? 0 : panes.findIndex(([step]) => step > edge);
            due = Math.min(due, panes[first][0] + span.steps);
            written[span.group] = this.from(track, at, first);
        }
        written.forEach((pane) => write(pane));
        if (due === Infinity) {
            return false;
        }
        this.expect(track, due);
        this.expire(track);
        return true;
    }

    /** What the panes of a token come to, from one of them on. */
    from(track, at, first) {
        const { merge, empty } = this.metric;
        const { slots } = track;
        const last = slots[slots.length - 1];
        const sum = empty();
        if (slots[at] !== last) {
            merge(sum, this.tails(slots[at])[first]);
            merge(sum, this.older(track)[at + 1]);
        }
        if (slots[at] !== last || first === 0) {
            merge(sum, this.head(last));
            merge(sum, last.panes[last.panes.length - 1][1]);
        } else {
            last.panes.slice(first).forEach(([, pane]) => merge(sum, pane));
        }
        return sum;
    }

    /** What the slots from each on come to, without the last one. */
    older(track) {
        if (track.older === null) {
            const sums = track.slots.slice(0, -1).map((slot) => this.tails(slot)[0]);
            track.older = this.sums([...sums, this.metric.empty()]);
        }
        return track.older;
    }

    tails(slot) {
        slot.tails ??= this.sums(slot.panes.map(([, pane]) => pane));
        return slot.tails;
    }

    /** What the panes from each on come to. */
    sums(panes) {
        const sums = [];
        let sum = this.metric.empty();
        for (let at = panes.length - 1; at >= 0; at -= 1) {
            const both = this.metric.empty();
            this.metric.merge(both, panes[at]);
            this.metric.merge(both, sum);
            sums[at] = both;
            sum = both;
        }
        return sums;
    }

    /** What all panes of a slot but the last one come to, which changes with every trade. */
    head(slot) {
        if (slot.summed === 0) {
            slot.head = this.metric.empty();
        }
        for (; slot.summed < slot.panes.length - 1; slot.summed += 1) {
            this.metric.merge(slot.head, slot.panes[slot.summed][1]);
        }
        return slot.head;
    }

    expect(track, due) {
        if (track.due !== due) {
            track.due = due;
            const tracks = this.due.get(due);
            if (tracks === undefined) {
                this.due.set(due, [track]);
            } else {
                tracks.push(track);
            }
        }
    }

    /** Drops the slots that no window reaches. */
    expire(track) {
        const reached = track.slots.findIndex((slot) => (slot.number + 1) * PANES_PER_SLOT > this.clock - this.longest + 1);
        if (reached > 0) {
            track.older = null;
            track.slots.splice(0, reached).forEach((slot) => this.logRemoved(track.id, slot.number));
        }
    }

    /** Remembers a removal; before the first export nobody can miss the slot. */
    logRemoved(token, slot) {
        if (this.generation > 1) {
            this.removed.push({ generation: this.generation, token, slot });
        }
    }

    trim(generation) {
        const kept = this.removed.findIndex((removal) => removal.generation > generation);
        const gone = kept < 0 ? this.removed.length : kept;
        this.removed.splice(0, gone);
        this.trimmed += gone;
    }

    /** Gives a page of the state that changed after a generation. */
    export(since, cursor, maxBytes, pack) {
        const number = cursor === 0 ? this.read(since) : cursor;
        const reader = this.readers.get(number);
        if (reader === undefined) {
            throw new Error(`nobody reads on from ${cursor}`);
        }
        const page = { tokens: [], slots: [], ends: [], pieces: [], length: 0 };
        const removed = this.removedPage(reader, maxBytes);
        const more = reader.removal !== null || this.slotsPage(reader, maxBytes, page, pack);
        if (!more) {
            this.readers.delete(number);
        }
        const bytes = new Uint8Array(page.length);
        page.pieces.reduce((at, piece) => (bytes.set(piece, at), at + piece.length), 0);
        const { tokens, slots, ends } = page;
        return {
            entries: { tokens, slots, ends, bytes },
            removed,
            next: more ? number : null,
            generation: reader.generation,
        };
    }

    /** Begins an export, which closes a generation. */
    read(since) {
        const first = this.removed.findIndex((removal) => removal.generation > since);
        const removal = since === 0 || first < 0 ? null : this.trimmed + first;
        const number = this.nextReader;
        this.nextReader += 1;
        this.readers.set(number, { since, generation: this.generation, removal, token: 0, slot: -Infinity });
        this.generation += 1;
        if (this.readers.size > MOST_READERS) {
            this.readers.delete(this.readers.keys().next().value);
        }
        return number;
    }

    removedPage(reader, maxBytes) {
        const page = { tokens: [], slots: [] };
        while (reader.removal !== null) {
            if (page.tokens.length * ENTRY_BYTES >= Math.max(maxBytes, 1)) {
                return page;
            }
            reader.removal = Math.max(reader.removal, this.trimmed);
            const removal = this.removed[reader.removal - this.trimmed];
            // What came back is an entry; reporting it as removed too would delete it.
            if (removal && !this.tracks[removal.token]?.slots.some((slot) => slot.number === removal.slot)) {
                page.tokens.push(removal.token);
                page.slots.push(numbered(removal.slot));
            }
            reader.removal = removal ? reader.removal + 1 : null;
        }
        return page;
    }

    /** Fills a page with slots; says whether there are more. */
    slotsPage(reader, maxBytes, page, pack) {
        for (; reader.token < this.tracks.length; reader.token += 1, reader.slot = -Infinity) {
            for (const slot of this.tracks[reader.token]?.slots ?? []) {
                if (slot.number <= reader.slot || slot.changed <= reader.since) {
                    continue;
                }
                if (page.length + page.tokens.length * ENTRY_BYTES >= Math.max(maxBytes, 1)) {
                    return true;
                }
                const piece = pack(slot.panes);
                page.pieces.push(piece);
                page.length += piece.length;
                page.tokens.push(reader.token);
                page.slots.push(numbered(slot.number));
                page.ends.push(page.length);
                reader.slot = slot.number;
            }
        }
        return false;
    }

    /** Replaces slots by these, then deletes the removed ones. All these tokens count as changed. */
    import(newTokens, pieces, removed) {
        newTokens.forEach(({ id }) => this.announce(id));
        for (const { token, slot, panes } of pieces) {
            this.announce(token);
            const track = this.tracks[token];
            const replaced = this.slot(track, slotOf(slot));
            replaced.panes = panes;
            this.changes(track, replaced, 0);
            this.mark(track);
        }
        removed.tokens.forEach((token, at) => {
            const track = this.tracks[token];
            const found = track?.slots.findIndex((slot) => slot.number === slotOf(removed.slots[at])) ?? -1;
            if (found >= 0) {
                track.slots.splice(found, 1);
                track.older = null;
                this.logRemoved(token, slotOf(removed.slots[at]));
                this.mark(track);
            }
        });
    }
}

const stepOf = (pane) => pane[0];
const lastStep = (slot) => slot.panes[slot.panes.length - 1][0];

/** Where a number is in an ordered list, or belongs; near the end as a rule, since time goes on. */
function place(list, number, of) {
    let at = list.length;
    while (at > 0 && of(list[at - 1]) >= number) {
        at -= 1;
    }
    return at;
}
