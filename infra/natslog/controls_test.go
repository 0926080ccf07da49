package natslog

import (
	"fmt"
	"testing"

	"tidemark.dev/events"
)

func TestControlNamesAndTheLastRecordsOfEach(t *testing.T) {
	t.Parallel()
	nc := dial(t, startServer(t, nil).ClientURL())
	if err := Setup(t.Context(), nc, Config{Origin: "us"}); err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), nc, Config{Origin: "us"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	last := map[string]uint64{} // up to 20
	for i := range 40 {
		name := fmt.Sprint("import.", i%15)
		r, err := l.Append(t.Context(), events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: name, Data: []byte(`{}`)}}}})
		if err != nil {
			t.Fatal(err)
		}
		if r.Last <= 20 {
			last[name] = r.Last
		}
	}
	names, err := l.ControlNames(t.Context())
	if err != nil || len(names) != 16 || names[0] != events.ControlGenesis {
		t.Fatalf("%v, %v", names, err)
	}
	last[events.ControlGenesis] = 1
	for _, replicated := range []bool{false, true} {
		if replicated {
			l.id.mu.Lock()
			l.id.replicas = 3
			l.id.mu.Unlock()
		}
		list, err := l.LastControls(t.Context(), append(names, "none", "no name"), 20)
		if err != nil || len(list) != len(last) {
			t.Fatalf("%d of %d, %v", len(list), len(last), err)
		}
		for i := range list {
			name, _ := events.ParseControlSubject("us", list[i].Subject)
			if last[name] != list[i].Sequence || i > 0 && list[i].Sequence <= list[i-1].Sequence {
				t.Errorf("the last %s is %d, want %d", name, list[i].Sequence, last[name])
			}
		}
	}
}
