// Streaks over sliding windows: how many trades in a row bought, and how many sold. In Go.
//
// Trades are in a row by the second in which they were made, and within a second by arrival. Everything is a whole
// number, so windows never drift.

package main

import "metric/sdk"

// Streaks are the runs of a stretch of time. A run has a sign: above 0 it bought, below 0 it sold.
type Streaks struct {
	Trades int64
	// The run that the stretch begins with, and the one that it ends with; the same one where there is no other.
	Head, Tail int64
	// The longest runs of either side.
	Buys, Sells int64
}

// Add adds a trade.
func (s *Streaks) Add(trade *sdk.Trade) {
	run := int64(-1)
	if trade.Buy {
		run = 1
	}
	s.Merge(&Streaks{Trades: 1, Head: run, Tail: run, Buys: max(run, 0), Sells: max(-run, 0)})
}

// Merge adds a later stretch; where its first run goes on with our last one, the two are one.
func (s *Streaks) Merge(later *Streaks) {
	if later.Trades == 0 {
		return
	}
	if s.Trades == 0 {
		*s = *later
		return
	}
	goesOn := s.Tail > 0 == (later.Head > 0)
	joined := later.Head
	if goesOn {
		joined += s.Tail
	}
	s.Buys = max(s.Buys, later.Buys, joined)
	s.Sells = max(s.Sells, later.Sells, -joined)
	if goesOn && isAll(s.Head, s.Trades) {
		s.Head += later.Head
	}
	s.Tail = later.Tail
	if isAll(later.Tail, later.Trades) {
		s.Tail = joined
	}
	s.Trades += later.Trades
}

// Whether a run is all of a stretch.
func isAll(run, trades int64) bool { return run == trades || run == -trades }

// Write writes the values of one window.
func (s *Streaks) Write(row *sdk.Row) {
	row.Integer(s.Trades)
	row.Integer(s.Buys)
	row.Integer(s.Sells)
	row.Integer(s.Tail)
}

func init() {
	sdk.Export[Streaks](sdk.Metric{
		Name: "streaks",
		Fields: []sdk.Field{
			sdk.Integer("trades"),
			sdk.Integer("longest_buys"),
			sdk.Integer("longest_sells"),
			// The run under way: above 0 it buys, below 0 it sells.
			sdk.Integer("current"),
		},
	})
}

func main() {}
