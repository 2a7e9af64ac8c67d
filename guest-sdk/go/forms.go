// Texts and bytes that a metric meets: its configuration, and the pieces of its state.
//
// Not for what they mean. Invariant: a text that is accepted means what it means to the Rust SDK, and what was packed is
// read back as it was, to the last bit.

package sdk

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const longestMs = 24 * 3_600_000

// One configured window.
type window struct {
	name     string
	lengthMs int64
}

// Reads a duration like 90s, 4h or 1m30s in whole milliseconds; 0 where it is none.
func durationMs(text string) int64 {
	for _, unit := range []struct{ ours, theirs string }{{"min", "m"}, {"hour", "h"}} {
		if digits, found := strings.CutSuffix(text, unit.ours); found && strings.Trim(digits, "0123456789") == "" {
			text = digits + unit.theirs
		}
	}
	duration, err := time.ParseDuration(text)
	if err != nil || duration%time.Millisecond != 0 || duration.Milliseconds() > longestMs {
		return 0
	}
	return max(duration.Milliseconds(), 0)
}

// Reads {"windows": ["1min", "4h"], "resolution": "1s"}, where both may be absent.
func readSpans(text string) (int64, []window, error) {
	config := struct {
		Windows    json.RawMessage `json:"windows"`
		Resolution string          `json:"resolution"`
	}{json.RawMessage(`"1min,5min,15min,30min,1hour"`), "1s"}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	var names []string
	if err := decoder.Decode(&config); err != nil || json.Unmarshal(config.Windows, &names) != nil {
		var joined string
		if err != nil || json.Unmarshal(config.Windows, &joined) != nil {
			return 0, nil, fmt.Errorf(`the configuration looks like {"windows": ["1min", "1hour"], "resolution": "1s"}`)
		}
		names = strings.Split(joined, ",")
	}
	resolutionMs := durationMs(config.Resolution)
	if resolutionMs == 0 {
		return 0, nil, fmt.Errorf("the resolution %q is not between 1ms and 24h", config.Resolution)
	}
	if len(names) == 0 {
		return 0, nil, fmt.Errorf("the list of windows is empty")
	}
	var list []window
	for _, name := range names {
		name = strings.TrimSpace(name)
		lengthMs := durationMs(name)
		if lengthMs == 0 {
			return 0, nil, fmt.Errorf("the window %q is not like 10min, 90s or 1m30s, up to 24h", name)
		}
		if lengthMs%resolutionMs != 0 {
			return 0, nil, fmt.Errorf("the window %q is no multiple of the resolution, %d ms", name, resolutionMs)
		}
		for _, other := range list {
			if other.lengthMs == lengthMs {
				return 0, nil, fmt.Errorf("the window %q is as long as another", name)
			}
		}
		list = append(list, window{name, lengthMs})
	}
	return resolutionMs, list, nil
}

// Packs the panes of a slot as JSON, which keeps whole numbers and floats as they are.
func pack[P any](panes []paneAt[P]) []byte {
	bytes, err := json.Marshal(panes)
	if err != nil {
		panic(fmt.Sprintf("a pane cannot be packed as JSON: %v", err))
	}
	return bytes
}

// Reads the panes of a slot.
func unpack[P any](bytes []byte) ([]paneAt[P], error) {
	var panes []paneAt[P]
	if err := json.Unmarshal(bytes, &panes); err != nil {
		return nil, fmt.Errorf("this is no packed state: %w", err)
	}
	if len(panes) == 0 {
		return nil, fmt.Errorf("this is no packed state: a slot is empty")
	}
	return panes, nil
}
