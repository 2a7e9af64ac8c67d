// Sliding windows of every length over the panes of tokens, and their state in pieces.
//
// Not for any particular metric. A pane holds the trades of one step of the clock, a slot sixty panes. A window is the
// panes from its edge to the end of their slot, the slots behind that, and the last slot, each of which is summed once
// and kept until it changes. Invariants: the cost of a trade depends on no window, and whatever changes after the first
// page of an export carries a later generation, so that a reader misses nothing.

package sdk

import (
	"fmt"
	"slices"
	"sort"
)

const (
	panesPerSlot = 60
	// Readers of state at the same time; more than the host has. One that was given up makes room.
	mostReaders = 16
	// What an entry takes besides its bytes.
	entryBytes = 16
)

// A step of the clock that is none.
const never = int64(1) << 62

type paneAt[P any] struct {
	Step int64
	Pane P
}

// Sixty steps of a token.
type slot[P any] struct {
	number  int64
	panes   []paneAt[P]
	changed uint64
	// What the panes from each on come to, where that is known.
	tails []P
	// What the first so many panes come to.
	head   P
	summed int
}

// A token.
type track[P any] struct {
	id    uint32
	slots []*slot[P]
	// What the slots from each on come to, without the last one, where that is known.
	older []P
	dirty bool
	due   int64
}

// One window in steps, and its place in configured order.
type span struct {
	steps int64
	group int
}

type removal struct {
	generation uint64
	token      uint32
	slot       int64
}

// How far an export has come.
type reader struct {
	since, generation uint64
	// The sequence number of the next removal; below 0 when all were told.
	removal int64
	token   int
	slot    int64
}

// The windows of one shard's tokens.
type windows[P any] struct {
	merge   func(pane, later *P)
	spans   []span
	longest int64
	tracks  []*track[P]
	alive   int
	// Tokens that wait for a flush, in the order in which they changed.
	dirty []*track[P]
	// When something leaves a window of a token next.
	due   map[int64][]*track[P]
	clock int64
	ticks bool
	late  uint64
	// Rises with every export; stamps changes.
	generation uint64
	removed    []removal
	trimmed    int64
	readers    map[uint64]*reader
	nextReader uint64
}

func newWindows[P any](lengths []int64, merge func(pane, later *P)) *windows[P] {
	w := &windows[P]{merge: merge, due: map[int64][]*track[P]{}, generation: 1, readers: map[uint64]*reader{}, nextReader: 1}
	for group, steps := range lengths {
		w.spans = append(w.spans, span{steps, group})
	}
	sort.SliceStable(w.spans, func(a, b int) bool { return w.spans[a].steps < w.spans[b].steps })
	w.longest = w.spans[len(w.spans)-1].steps
	return w
}

func floorDiv(number, by int64) int64 {
	floor := number / by
	if number%by < 0 {
		floor--
	}
	return floor
}

func (w *windows[P]) track(id uint32) *track[P] {
	if int(id) < len(w.tracks) {
		return w.tracks[id]
	}
	return nil
}

// Introduces a token, as changed, so that it is forgotten in order when none of its trades is taken.
func (w *windows[P]) announce(id uint32) {
	for len(w.tracks) <= int(id) {
		w.tracks = append(w.tracks, nil)
	}
	if w.tracks[id] == nil {
		w.tracks[id] = &track[P]{id: id, due: never}
		w.alive++
		w.mark(w.tracks[id])
	}
}

// Gives whether the token was introduced, and the pane of a step, where a window can hold it.
func (w *windows[P]) pane(id uint32, step int64) (bool, *P) {
	t := w.track(id)
	if t == nil {
		return false, nil
	}
	if w.ticks && step <= w.clock-w.longest {
		w.late++
		return true, nil
	}
	w.mark(t)
	s := t.slot(floorDiv(step, panesPerSlot))
	at := len(s.panes)
	for at > 0 && s.panes[at-1].Step >= step {
		at--
	}
	if at == len(s.panes) || s.panes[at].Step != step {
		s.panes = slices.Insert(s.panes, at, paneAt[P]{Step: step})
	}
	w.changes(t, s, at)
	return true, &s.panes[at].Pane
}

// Notes that panes of a slot change, from this one on: sums with them are made anew.
func (w *windows[P]) changes(t *track[P], s *slot[P], first int) {
	s.changed, s.tails = w.generation, nil
	if first < s.summed {
		s.summed = 0
	}
	if s != t.slots[len(t.slots)-1] {
		t.older = nil
	}
}

func (t *track[P]) slot(number int64) *slot[P] {
	at := len(t.slots)
	for at > 0 && t.slots[at-1].number >= number {
		at--
	}
	if at == len(t.slots) || t.slots[at].number != number {
		t.slots = slices.Insert(t.slots, at, &slot[P]{number: number})
		t.older = nil
	}
	return t.slots[at]
}

func (t *track[P]) find(number int64) int {
	return slices.IndexFunc(t.slots, func(s *slot[P]) bool { return s.number == number })
}

func (w *windows[P]) mark(t *track[P]) {
	if !t.dirty {
		t.dirty = true
		w.dirty = append(w.dirty, t)
	}
}

func (w *windows[P]) touchAll() {
	for _, t := range w.tracks {
		if t != nil {
			w.mark(t)
		}
	}
}

func (w *windows[P]) touch(ids []uint32) {
	for _, id := range ids {
		if t := w.track(id); t != nil {
			w.mark(t)
		}
	}
}

func (w *windows[P]) forget(ids []uint32) {
	for _, id := range ids {
		if t := w.track(id); t != nil {
			w.drop(t)
		}
	}
}

// Drops a token; whoever still lists its track finds that it is none any more.
func (w *windows[P]) drop(t *track[P]) {
	w.tracks[t.id] = nil
	w.alive--
	for _, s := range t.slots {
		w.logRemoved(t.id, s.number)
	}
}

// Gives the tokens whose rows changed, those that are forgotten, and whether there are more.
func (w *windows[P]) flush(clock int64, maxRows int, write func(pane *P)) (tokens, forgotten []uint32, more bool) {
	w.advance(clock)
	taken := 0
	for taken < len(w.dirty) && len(tokens) < maxRows {
		t := w.dirty[taken]
		taken++
		if w.track(t.id) != t {
			continue
		}
		tokens = append(tokens, t.id)
		t.dirty = false
		if !w.settle(t, write) {
			forgotten = append(forgotten, t.id)
			w.drop(t)
		}
	}
	w.dirty = slices.Delete(w.dirty, 0, taken)
	return tokens, forgotten, len(w.dirty) > 0
}

// Moves the clock, which never goes back, and marks the tokens whose windows moved.
func (w *windows[P]) advance(clock int64) {
	if w.ticks && clock <= w.clock {
		return
	}
	w.clock, w.ticks = clock, true
	var steps []int64
	for step := range w.due {
		if step <= clock {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	for _, step := range steps {
		for _, t := range w.due[step] {
			if t.due == step && w.track(t.id) == t {
				t.due = never
				w.mark(t)
			}
		}
		delete(w.due, step)
	}
}

// Writes all windows of a token; says whether it lives on.
func (w *windows[P]) settle(t *track[P], write func(pane *P)) bool {
	written := make([]P, len(w.spans))
	due, at := never, len(t.slots)
	for _, span := range w.spans {
		edge := w.clock - span.steps
		for at > 0 && t.slots[at-1].lastStep() > edge {
			at--
		}
		if at == len(t.slots) {
			continue
		}
		panes := t.slots[at].panes
		first := sort.Search(len(panes), func(at int) bool { return panes[at].Step > edge })
		due = min(due, panes[first].Step+span.steps)
		w.since(t, at, first, &written[span.group])
	}
	for group := range written {
		write(&written[group])
	}
	if due == never {
		return false
	}
	if t.due != due {
		t.due = due
		w.due[due] = append(w.due[due], t)
	}
	// Slots that no window reaches.
	for (t.slots[0].number+1)*panesPerSlot <= w.clock-w.longest+1 {
		w.logRemoved(t.id, t.slots[0].number)
		t.slots, t.older = slices.Delete(t.slots, 0, 1), nil
	}
	return true
}

func (s *slot[P]) lastStep() int64 { return s.panes[len(s.panes)-1].Step }

// What the panes of a token come to, from one of them on.
func (w *windows[P]) since(t *track[P], at, first int, total *P) {
	s, last := t.slots[at], t.slots[len(t.slots)-1]
	if s != last {
		w.merge(total, &w.tails(s)[first])
		w.merge(total, &w.older(t)[at+1])
	} else if first > 0 {
		for from := first; from < len(last.panes); from++ {
			w.merge(total, &last.panes[from].Pane)
		}
		return
	}
	w.merge(total, w.head(last))
	w.merge(total, &last.panes[len(last.panes)-1].Pane)
}

// What the slots from each on come to, without the last one.
func (w *windows[P]) older(t *track[P]) []P {
	if t.older == nil {
		count := len(t.slots) - 1
		t.older = w.sums(count+1, func(at int) *P {
			if at == count {
				return new(P)
			}
			return &w.tails(t.slots[at])[0]
		})
	}
	return t.older
}

// What the panes of a slot from each on come to.
func (w *windows[P]) tails(s *slot[P]) []P {
	if s.tails == nil {
		s.tails = w.sums(len(s.panes), func(at int) *P { return &s.panes[at].Pane })
	}
	return s.tails
}

// What these from each on come to.
func (w *windows[P]) sums(count int, pane func(at int) *P) []P {
	sums := make([]P, count)
	for at := count - 1; at >= 0; at-- {
		w.merge(&sums[at], pane(at))
		if at+1 < count {
			w.merge(&sums[at], &sums[at+1])
		}
	}
	return sums
}

// What all panes of a slot but the last one come to, which changes with every trade.
func (w *windows[P]) head(s *slot[P]) *P {
	if s.summed == 0 {
		s.head = *new(P)
	}
	for ; s.summed < len(s.panes)-1; s.summed++ {
		w.merge(&s.head, &s.panes[s.summed].Pane)
	}
	return &s.head
}

// Remembers a removal; before the first export nobody can miss the slot.
func (w *windows[P]) logRemoved(token uint32, slot int64) {
	if w.generation > 1 {
		w.removed = append(w.removed, removal{w.generation, token, slot})
	}
}

// The place of the first removal after a generation.
func (w *windows[P]) firstAfter(generation uint64) int {
	return sort.Search(len(w.removed), func(at int) bool { return w.removed[at].generation > generation })
}

func (w *windows[P]) trim(generation uint64) {
	gone := w.firstAfter(generation)
	w.removed = slices.Delete(w.removed, 0, gone)
	w.trimmed += int64(gone)
}

// A page of an export.
type page struct {
	tokens     []uint32
	slots      []uint64
	ends       []uint32
	bytes      []byte
	gone       []uint32
	goneSlots  []uint64
	next       uint64
	more       bool
	generation uint64
}

// Gives a page of the state that changed after a generation.
func (w *windows[P]) export(since, cursor uint64, maxBytes int, pack func([]paneAt[P]) []byte) page {
	if cursor == 0 {
		cursor = w.read(since)
	}
	r := w.readers[cursor]
	if r == nil {
		panic(fmt.Sprintf("nobody reads on from %d", cursor))
	}
	p := page{next: cursor, generation: r.generation}
	most := max(maxBytes, 1)
	w.removedPage(r, most, &p)
	p.more = r.removal >= 0 || w.slotsPage(r, most, &p, pack)
	if !p.more {
		delete(w.readers, cursor)
	}
	return p
}

// Begins an export, which closes a generation.
func (w *windows[P]) read(since uint64) uint64 {
	number := w.nextReader
	w.nextReader++
	r := &reader{since: since, generation: w.generation, removal: -1, slot: -never}
	if first := w.firstAfter(since); since > 0 && first < len(w.removed) {
		r.removal = w.trimmed + int64(first)
	}
	w.readers[number] = r
	w.generation++
	if len(w.readers) > mostReaders {
		oldest := number
		for other := range w.readers {
			oldest = min(oldest, other)
		}
		delete(w.readers, oldest)
	}
	return number
}

func (w *windows[P]) removedPage(r *reader, most int, p *page) {
	for r.removal >= 0 && len(p.gone)*entryBytes < most {
		r.removal = max(r.removal, w.trimmed)
		at := int(r.removal - w.trimmed)
		if at >= len(w.removed) {
			r.removal = -1
			return
		}
		gone := w.removed[at]
		// What came back is an entry; reporting it as removed too would delete it.
		if t := w.track(gone.token); t == nil || t.find(gone.slot) < 0 {
			p.gone = append(p.gone, gone.token)
			p.goneSlots = append(p.goneSlots, uint64(gone.slot))
		}
		r.removal++
	}
}

// Fills a page with slots; says whether there are more.
func (w *windows[P]) slotsPage(r *reader, most int, p *page, pack func([]paneAt[P]) []byte) bool {
	for ; r.token < len(w.tracks); r.token, r.slot = r.token+1, -never {
		if w.tracks[r.token] == nil {
			continue
		}
		for _, s := range w.tracks[r.token].slots {
			if s.number <= r.slot || s.changed <= r.since {
				continue
			}
			if len(p.bytes)+len(p.tokens)*entryBytes >= most {
				return true
			}
			p.bytes = append(p.bytes, pack(s.panes)...)
			p.tokens = append(p.tokens, uint32(r.token))
			p.slots = append(p.slots, uint64(s.number))
			p.ends = append(p.ends, uint32(len(p.bytes)))
			r.slot = s.number
		}
	}
	return false
}

// Replaces a slot; its token counts as changed.
func (w *windows[P]) replace(id uint32, number int64, panes []paneAt[P]) {
	w.announce(id)
	t := w.tracks[id]
	s := t.slot(number)
	s.panes = panes
	w.changes(t, s, 0)
	w.mark(t)
}

// Deletes a slot, where there is one; its token counts as changed.
func (w *windows[P]) remove(id uint32, number int64) {
	t := w.track(id)
	if t == nil {
		return
	}
	if at := t.find(number); at >= 0 {
		t.slots, t.older = slices.Delete(t.slots, at, at+1), nil
		w.logRemoved(id, number)
		w.mark(t)
	}
}
