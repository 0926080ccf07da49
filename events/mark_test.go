package events

import (
	"encoding/json"
	"testing"
	"time"
)

func markRecord(t *testing.T, seq uint64, m any) *Record {
	t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &Record{Sequence: seq, Kind: KindControl, Control: Control{Name: ControlMark, Data: data}}
}

func TestWhatAMarkSaysIsRead(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	chain := sumOf(chained())
	want := Mark{Time: at, Number: 7, After: 3, Upto: 6, Chain: chain.String()}
	got, ok := MarkOf(markRecord(t, 8, want))
	if !ok || got != want {
		t.Errorf("%+v, %t", got, ok)
	}
	if h, ok := got.Covers(8); !ok || h != chain {
		t.Errorf("it covers %s, %t", h, ok)
	}
}

func TestAMarkCoversRecordsBeforeItOnly(t *testing.T) {
	chain := Hash{1}.String()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		mark   Mark
		at     uint64
		covers bool
	}{
		"the records right before it":       {Mark{Number: 1, After: 0, Upto: 9, Chain: chain}, 10, true},
		"itself":                            {Mark{Number: 1, After: 0, Upto: 10, Chain: chain}, 10, false},
		"what comes later":                  {Mark{Number: 1, After: 0, Upto: 11, Chain: chain}, 10, false},
		"nothing, as an empty log has":      {Mark{Number: 1, Chain: chain}, 1, true},
		"no record":                         {Mark{Number: 2, After: 9, Upto: 9, Chain: chain}, 10, true},
		"less than no record":               {Mark{Number: 2, After: 9, Upto: 8, Chain: chain}, 10, false},
		"as many as may be":                 {Mark{Number: 2, After: 5, Upto: 5 + MaxMarkRange, Chain: chain}, 10 + MaxMarkRange, true},
		"more than may be":                  {Mark{Number: 2, After: 5, Upto: 6 + MaxMarkRange, Chain: chain}, 10 + MaxMarkRange, false},
		"without a number":                  {Mark{Upto: 9, Chain: chain}, 10, false},
		"without a chain":                   {Mark{Number: 1, Upto: 9}, 10, false},
		"with a chain that is too short":    {Mark{Number: 1, Upto: 9, Chain: chain[1:]}, 10, false},
		"with a chain in another alphabet":  {Mark{Number: 1, Upto: 9, Chain: "+" + chain[1:]}, 10, false},
		"with a second text of the chain":   {Mark{Number: 1, Upto: 9, Chain: chain[:21] + "B"}, 10, false},
		"of a log before chains were there": {Mark{}, 10, false},
	} {
		c.mark.Time = at
		m, ok := MarkOf(markRecord(t, c.at, c.mark))
		if !ok {
			t.Errorf("%s: it is no mark", name)
		}
		h, ok := m.Covers(c.at)
		if ok != c.covers || ok && h != (Hash{1}) {
			t.Errorf("%s: it covers %s, %t", name, h, ok)
		}
	}
}

// TestAMarkOfBeforeIsWrittenAsItWas: a mark that says nothing of records is the text that was written before marks could.
func TestAMarkOfBeforeIsWrittenAsItWas(t *testing.T) {
	data, err := json.Marshal(Mark{Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil || string(data) != `{"time":"2026-01-01T00:00:00Z"}` {
		t.Errorf("%s, %v", data, err)
	}
}
