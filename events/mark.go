package events

import (
	"encoding/json"
	"time"
)

// ControlMark is a mark: a control record at which every read model does what time asks of it. Data: Mark as JSON.
const ControlMark = "mark"

// Mark is the content of a mark. Only the log changes a read model, so time passes for it at marks and nowhere else.
type Mark struct {
	// Time is when it was written, by its writer's clock.
	Time time.Time `json:"time"`
}

// MarkTime returns the time that a mark stands for, or false for any other record and for one whose data cannot be read: that is a
// record like any other, in every region. It is the earlier one of the writer's time and the broker's, so that one clock that is
// ahead lets nothing expire early.
func MarkTime(r *Record) (time.Time, bool) {
	if r.Kind != KindControl || r.Control.Name != ControlMark {
		return time.Time{}, false
	}
	var m Mark
	if err := json.Unmarshal(r.Control.Data, &m); err != nil || m.Time.IsZero() {
		return time.Time{}, false
	}
	if r.Time.Before(m.Time) {
		return r.Time, true
	}
	return m.Time, true
}
