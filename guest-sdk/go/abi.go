// The contract's functions as the component model calls them: addresses and lengths in linear memory.
//
// Not for what the calls do (aggregator.go). Layouts are those of the canonical ABI for wit/plugin.wit. Invariants: what
// the host has written stays until its call is through, what is returned stays until the next call, and a panic reaches
// the host's log with its stack before it becomes a trap.

package sdk

import (
	"fmt"
	"runtime/debug"
	"unsafe"
)

type list struct{ at, length uint32 }

type textColumn struct{ bytes, ends list }

// The columns of a batch.
type batch struct {
	newTokens, tokens, timesMs, sides, natives, amounts, prices list
	wallets                                                     textColumn
	walletHashes                                                list
	txHashes                                                    textColumn
}

type newToken struct {
	id   uint32
	text list
}

type kind struct{ tag, places uint32 }

type fieldForm struct {
	name list
	kind kind
}

type gaugeForm struct {
	name, help list
	fold       uint32
}

type counterForm struct{ name, help list }

type description struct {
	name, version    list
	stateVersion     uint32
	columns          uint32
	resultKey        list
	fields           list
	gauges, counters list
}

type settings struct {
	groups            list
	horizonMs, stepMs uint64
}

// Either settings, or words at the place of the groups.
type configured struct {
	refused uint64
	settings
}

type columnForm struct {
	tag    uint32
	values list
	ends   list
}

type table struct {
	tokens, columns, forgotten list
	more                       uint32
	gauges, counters           list
}

type pageForm struct {
	tokens, slots, ends, bytes list
	gone, goneSlots            list
	more                       uint64
	next, generation           uint64
}

type imported struct {
	refused uint32
	words   list
}

var (
	// What the host has written for the call under way.
	given [][]uint64
	// What was returned last.
	kept []any
)

//go:wasmimport aggregator:plugin/host@0.1.0 log
func hostLog(level, at, length uint32)

//go:wasmimport aggregator:plugin/host@0.1.0 fault-at
func hostFaultAt(row uint32)

// Gives the host memory for what it passes.
//
//go:wasmexport cabi_realloc
func realloc(old, oldSize, align, size uint32) uint32 {
	words := make([]uint64, (size+7)/8+1)
	given = append(given, words)
	fresh := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), size)
	if old != 0 {
		copy(fresh, taken[byte](list{old, min(oldSize, size)}))
	}
	return address(unsafe.Pointer(unsafe.SliceData(words)))
}

func address(at unsafe.Pointer) uint32 { return uint32(uintptr(at)) }

// Reads a list that the host has written.
func taken[T any](l list) []T {
	if l.length == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(uintptr(l.at))), l.length)
}

func takenText(l list) string { return string(taken[byte](l)) }

// Hands a list over.
func keep[T any](values []T) list {
	if len(values) == 0 {
		return list{}
	}
	kept = append(kept, values)
	return list{address(unsafe.Pointer(unsafe.SliceData(values))), uint32(len(values))}
}

func keepText(text string) list { return keep([]byte(text)) }

// Hands a result over.
func give[T any](result *T) uint32 {
	kept = append(kept, result)
	return address(unsafe.Pointer(result))
}

func say(level uint32, words string) {
	bytes := []byte(words)
	hostLog(level, address(unsafe.Pointer(unsafe.SliceData(bytes))), uint32(len(bytes)))
}

// Runs a call: says what it panics with, and at which trade, before that becomes a trap.
func call[R any](name string, body func() R) R {
	kept = kept[:0]
	defer func() {
		given = given[:0]
		if died := recover(); died != nil {
			say(3, fmt.Sprintf("%s: %v\n%s", name, died, debug.Stack()))
			if row := exported.dyingRow(); row >= 0 {
				hostFaultAt(uint32(row))
			}
			panic(died)
		}
	}()
	return body()
}

type none struct{}

//go:wasmexport aggregator:plugin/aggregator@0.1.0#describe
func exportDescribe() uint32 {
	return call("describe", func() uint32 { return give(exported.describe()) })
}

//go:wasmexport aggregator:plugin/aggregator@0.1.0#configure
func exportConfigure(at, length uint32) uint32 {
	return call("configure", func() uint32 {
		said, err := exported.configure(takenText(list{at, length}))
		if err != nil {
			return give(&configured{refused: 1, settings: settings{groups: keepText(err.Error())}})
		}
		return give(&configured{settings: *said})
	})
}

//go:wasmexport aggregator:plugin/aggregator@0.1.0#process
func exportProcess(at uint32) {
	call("process", func() none {
		exported.process((*batch)(unsafe.Pointer(uintptr(at))))
		return none{}
	})
}

//go:wasmexport aggregator:plugin/aggregator@0.1.0#flush
func exportFlush(clockMs int64, maxRows uint32) uint32 {
	return call("flush", func() uint32 { return give(exported.flush(clockMs, int(maxRows))) })
}

//go:wasmexport aggregator:plugin/aggregator@0.1.0#touch
func exportTouch(some, at, length uint32) {
	call("touch", func() none {
		if some == 0 {
			exported.touchAll()
		} else {
			exported.touch(taken[uint32](list{at, length}))
		}
		return none{}
	})
}

//go:wasmexport aggregator:plugin/aggregator@0.1.0#export-state
func exportExportState(since, cursor int64, maxBytes uint32) uint32 {
	return call("export-state", func() uint32 {
		p := exported.exportState(uint64(since), uint64(cursor), int(maxBytes))
		form := pageForm{
			tokens: keep(p.tokens), slots: keep(p.slots), ends: keep(p.ends), bytes: keep(p.bytes),
			gone: keep(p.gone), goneSlots: keep(p.goneSlots), generation: p.generation,
		}
		if p.more {
			form.more, form.next = 1, p.next
		}
		return give(&form)
	})
}

//go:wasmexport aggregator:plugin/aggregator@0.1.0#trim
func exportTrim(generation int64) {
	call("trim", func() none {
		exported.trim(uint64(generation))
		return none{}
	})
}

//go:wasmexport aggregator:plugin/aggregator@0.1.0#import-state
func exportImportState(version, newAt, newLength, tokensAt, tokensLength, slotsAt, slotsLength, endsAt, endsLength,
	bytesAt, bytesLength, goneAt, goneLength, goneSlotsAt, goneSlotsLength uint32) uint32 {
	return call("import-state", func() uint32 {
		p := page{
			tokens: taken[uint32](list{tokensAt, tokensLength}), slots: taken[uint64](list{slotsAt, slotsLength}),
			ends: taken[uint32](list{endsAt, endsLength}), bytes: taken[byte](list{bytesAt, bytesLength}),
			gone: taken[uint32](list{goneAt, goneLength}), goneSlots: taken[uint64](list{goneSlotsAt, goneSlotsLength}),
		}
		if err := exported.importState(version, taken[newToken](list{newAt, newLength}), p); err != nil {
			return give(&imported{refused: 1, words: keepText(err.Error())})
		}
		return give(&imported{})
	})
}

//go:wasmexport aggregator:plugin/aggregator@0.1.0#forget
func exportForget(at, length uint32) {
	call("forget", func() none {
		exported.forget(taken[uint32](list{at, length}))
		return none{}
	})
}
