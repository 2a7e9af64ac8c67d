// Metrics for the trade aggregator in Go: what an author writes, as the contract's calls.
//
// Not the windows themselves (windows.go) nor the crossing of the boundary (abi.go). Invariant: nothing is decided here,
// so that every metric gets the same windows.

package sdk

import (
	"fmt"
	"math"
)

// A Trade is one trade.
type Trade struct {
	// Event time in unix milliseconds, and how far into its pane it lies.
	TimeMs, OffsetMs int64
	Buy              bool
	// The amount of the chain's coin in whole billionths.
	Native int64
	// The amount of the token, and its price in USD.
	Amount, Price float64
	// Where asked for with Columns.
	Wallet, TxHash string
	WalletHash     uint64
}

// Kinds of columns that cost something; a metric asks for them.
const (
	Wallet     = 1
	WalletHash = 2
	TxHash     = 4
)

// A Field is a value of a result.
type Field struct {
	name string
	kind kind
}

// Integer declares a 64-bit whole number.
func Integer(name string) Field { return Field{name, kind{tag: 0}} }

// Float declares a float; what is not finite is written as 0.
func Float(name string) Field { return Field{name, kind{tag: 2}} }

// Text declares a text.
func Text(name string) Field { return Field{name, kind{tag: 3}} }

// Clock declares the clock of the flush, which the host writes by itself.
func Clock(name string) Field { return Field{name, kind{tag: 4}} }

// A Counter is a number for /metrics that only rises.
type Counter struct {
	name, help string
	added      uint64
}

// NewCounter makes a counter, which the metric has to name.
func NewCounter(name, help string) *Counter { return &Counter{name: name, help: help} }

// Add raises a counter.
func (c *Counter) Add(by uint64) { c.added += by }

// A Metric is what a plugin says of itself.
type Metric struct {
	Name string
	// For people; "0.1.0" where not given.
	Version string
	// Raised when the exported fields of the pane change; state of another version is refused, never misread.
	StateVersion uint32
	// The last part of the Redis keys; the name, where not given.
	ResultKey string
	// What Write writes for each window, in this order.
	Fields []Field
	// Optional columns: Wallet | WalletHash | TxHash.
	Columns  uint32
	Counters []*Counter
}

// A Pane is what a stretch of time comes to. Its zero value is a stretch without a trade, and its exported fields are
// its state, as encoding/json has them.
type Pane[P any] interface {
	*P
	// Add adds a trade, which is of no meaning afterwards. Trades come in any order of time.
	Add(trade *Trade)
	// Merge adds what a later stretch holds, of which no part may be kept; it is associative, and empty stretches
	// change nothing.
	Merge(later *P)
	// Write writes the values of one window, in the order of the fields; what is left out is 0 or empty.
	Write(row *Row)
}

// A Row takes the values of one window.
type Row struct {
	columns []cells
	next    int
}

// The values of one field: one of the three is filled.
type cells struct {
	tag      uint32
	integers []int64
	floats   []float64
	texts    []string
}

func (r *Row) column(tag uint32) *cells {
	if r.next >= len(r.columns) || r.columns[r.next].tag != tag {
		panic("Write writes another field than is declared next")
	}
	r.next++
	return &r.columns[r.next-1]
}

// Integer writes the next field.
func (r *Row) Integer(value int64) {
	column := r.column(0)
	column.integers = append(column.integers, value)
}

// Float writes the next field.
func (r *Row) Float(value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		value = 0
	}
	column := r.column(2)
	column.floats = append(column.floats, value)
}

// Text writes the next field.
func (r *Row) Text(value string) {
	column := r.column(3)
	column.texts = append(column.texts, value)
}

// Writes what was left out.
func (r *Row) finish() {
	for r.next < len(r.columns) {
		switch r.columns[r.next].tag {
		case 0:
			r.Integer(0)
		case 2:
			r.Float(0)
		default:
			r.Text("")
		}
	}
	r.next = 0
}

// Log writes a line to the host's log.
func Log(words ...any) { say(1, fmt.Sprint(words...)) }

// What the host calls; the kind of pane is behind it.
type plugin interface {
	dyingRow() int
	describe() *description
	configure(text string) (*settings, error)
	process(b *batch)
	flush(clockMs int64, maxRows int) *table
	touchAll()
	touch(ids []uint32)
	exportState(since, cursor uint64, maxBytes int) page
	trim(generation uint64)
	importState(version uint32, tokens []newToken, p page) error
	forget(ids []uint32)
}

// The one instance of a component.
var exported plugin

// Export makes a plugin of a metric; called once, by an init function.
func Export[P any, T Pane[P]](metric Metric) {
	if metric.Version == "" {
		metric.Version = "0.1.0"
	}
	if metric.StateVersion == 0 {
		metric.StateVersion = 1
	}
	if metric.ResultKey == "" {
		metric.ResultKey = metric.Name
	}
	exported = &instance[P, T]{metric: metric, row: -1}
}

type instance[P any, T Pane[P]] struct {
	*windows[P]
	metric       Metric
	resolutionMs int64
	// The trade that is being added, and its row; below 0 when none is.
	trade         Trade
	row           int
	unknownTrades uint64
}

func (i *instance[P, T]) dyingRow() int { return i.row }

func (i *instance[P, T]) describe() *description {
	var fields []fieldForm
	for _, field := range i.metric.Fields {
		fields = append(fields, fieldForm{keepText(field.name), field.kind})
	}
	counters := []counterForm{
		{keepText("late_trades"), keepText("Trades that came when the longest window had passed them.")},
		{keepText("unknown_trades"), keepText("Trades of tokens that were not introduced.")},
	}
	for _, counter := range i.metric.Counters {
		counters = append(counters, counterForm{keepText(counter.name), keepText(counter.help)})
	}
	gauge := gaugeForm{keepText("tokens"), keepText("Tokens with trades in the longest window."), 0}
	return &description{
		name: keepText(i.metric.Name), version: keepText(i.metric.Version), stateVersion: i.metric.StateVersion,
		columns: i.metric.Columns, resultKey: keepText(i.metric.ResultKey), fields: keep(fields),
		gauges: keep([]gaugeForm{gauge}), counters: keep(counters),
	}
}

func (i *instance[P, T]) configure(text string) (*settings, error) {
	resolutionMs, list, err := readSpans(text)
	if err != nil {
		return nil, err
	}
	said := &settings{stepMs: uint64(resolutionMs)}
	var lengths []int64
	names := groups{}
	for _, window := range list {
		lengths = append(lengths, window.lengthMs/resolutionMs)
		names = append(names, keepText(window.name))
		said.horizonMs = max(said.horizonMs, uint64(window.lengthMs))
	}
	said.groups = keep(names)
	i.resolutionMs = resolutionMs
	i.windows = newWindows(lengths, func(pane, later *P) { T(pane).Merge(later) })
	return said, nil
}

type groups []list

func (i *instance[P, T]) process(b *batch) {
	for _, token := range taken[newToken](b.newTokens) {
		i.announce(token.id)
	}
	timesMs, sides, natives := taken[int64](b.timesMs), taken[byte](b.sides), taken[int64](b.natives)
	amounts, prices := taken[float64](b.amounts), taken[float64](b.prices)
	wallets, hashes, txHashes := textsOf(b.wallets), taken[uint64](b.walletHashes), textsOf(b.txHashes)
	for row, token := range taken[uint32](b.tokens) {
		i.row = row
		step := floorDiv(timesMs[row], i.resolutionMs)
		known, pane := i.pane(token, step)
		if !known {
			i.unknownTrades++
		}
		if pane == nil {
			continue
		}
		i.trade = Trade{
			TimeMs: timesMs[row], OffsetMs: timesMs[row] - step*i.resolutionMs, Buy: sides[row] == 1,
			Native: natives[row], Amount: amounts[row], Price: prices[row],
			Wallet: wallets.at(row), TxHash: txHashes.at(row),
		}
		if row < len(hashes) {
			i.trade.WalletHash = hashes[row]
		}
		T(pane).Add(&i.trade)
	}
	i.row = -1
}

// A column of texts as it is read.
type texts struct {
	bytes []byte
	ends  []uint32
}

func textsOf(column textColumn) texts {
	return texts{taken[byte](column.bytes), taken[uint32](column.ends)}
}

// A copy, since the batch goes; empty where the column is not filled.
func (t texts) at(row int) string {
	if row >= len(t.ends) {
		return ""
	}
	begin := uint32(0)
	if row > 0 {
		begin = t.ends[row-1]
	}
	return string(t.bytes[begin:t.ends[row]])
}

func (i *instance[P, T]) flush(clockMs int64, maxRows int) *table {
	var row Row
	for _, field := range i.metric.Fields {
		if field.kind.tag != 4 {
			row.columns = append(row.columns, cells{tag: field.kind.tag})
		}
	}
	tokens, forgotten, more := i.windows.flush(floorDiv(clockMs, i.resolutionMs), maxRows, func(pane *P) {
		T(pane).Write(&row)
		row.finish()
	})
	var columns []columnForm
	for _, column := range row.columns {
		columns = append(columns, column.form())
	}
	counters := []uint64{i.late, i.unknownTrades}
	i.late, i.unknownTrades = 0, 0
	for _, counter := range i.metric.Counters {
		counters = append(counters, counter.added)
		counter.added = 0
	}
	flushed := &table{
		tokens: keep(tokens), columns: keep(columns), forgotten: keep(forgotten),
		gauges: keep([]float64{float64(i.alive)}), counters: keep(counters),
	}
	if more {
		flushed.more = 1
	}
	return flushed
}

func (c *cells) form() columnForm {
	switch c.tag {
	case 0:
		return columnForm{tag: 0, values: keep(c.integers)}
	case 2:
		return columnForm{tag: 2, values: keep(c.floats)}
	}
	var bytes []byte
	var ends []uint32
	for _, text := range c.texts {
		bytes = append(bytes, text...)
		ends = append(ends, uint32(len(bytes)))
	}
	return columnForm{tag: 3, values: keep(bytes), ends: keep(ends)}
}

func (i *instance[P, T]) exportState(since, cursor uint64, maxBytes int) page {
	return i.export(since, cursor, maxBytes, pack[P])
}

func (i *instance[P, T]) importState(version uint32, tokens []newToken, p page) error {
	if version != i.metric.StateVersion {
		return fmt.Errorf("%s reads state of version %d, not of version %d", i.metric.Name, i.metric.StateVersion, version)
	}
	if len(p.slots) != len(p.tokens) || len(p.ends) != len(p.tokens) || len(p.gone) != len(p.goneSlots) {
		return fmt.Errorf("the columns of the state are not equally long")
	}
	// All of it is read before any is used.
	var read [][]paneAt[P]
	begin := uint32(0)
	for _, end := range p.ends {
		if end < begin || int(end) > len(p.bytes) {
			return fmt.Errorf("an entry of the state ends outside of it")
		}
		panes, err := unpack[P](p.bytes[begin:end])
		if err != nil {
			return err
		}
		read = append(read, panes)
		begin = end
	}
	for _, token := range tokens {
		i.announce(token.id)
	}
	for at, token := range p.tokens {
		i.replace(token, int64(p.slots[at]), read[at])
	}
	for at, token := range p.gone {
		i.remove(token, int64(p.goneSlots[at]))
	}
	return nil
}
