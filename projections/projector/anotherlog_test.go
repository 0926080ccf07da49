package projector_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/declared"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
)

// version parses a version of the counts that is folded from the stream or from the log of the installation.
func (w *attached) version(number int, ofStream bool) projector.Version {
	w.t.Helper()
	text := strings.Replace(countsFile, "version: 1", fmt.Sprintf("version: %d", number), 1)
	var log events.Reader = w.stream
	if !ofStream {
		first, rest, _ := strings.Cut(text, "stream:")
		_, rest, _ = strings.Cut(rest, "\n")
		text, log = first+rest, w.ours
	}
	p, _, err := declared.Parse("counts.yaml", []byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	return projector.Version{Projection: p, Log: log}
}

func (w *attached) pointer() projections.Pointer {
	w.t.Helper()
	p, _, err := projections.ReadPointer(context.Background(), w.kv, "counts")
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *attached) appendOurs(counter string, n int) {
	w.t.Helper()
	e := events.Event{ID: fmt.Sprint(counter, n), Source: "urn:test", Type: "counted", Entity: events.Entity{Type: "counter", ID: counter}, Data: fmt.Appendf(nil, `{"n":%d}`, n)}
	if _, err := w.ours.Append(context.Background(), events.One(e, events.ExpectAny())); err != nil {
		w.t.Fatal(err)
	}
}

// A new version may be folded from another log than the one before. Sequences of the two say nothing about each other; the one before goes on from its own log until the new one is
// as far as its log is.
func TestAVersionOfAnotherLogIsBuiltBesideTheOneBefore(t *testing.T) {
	inAttached(t, func(w *attached) {
		w.appendOurs("a", 5)
		for n := range 40 {
			w.stream.publish("a", n)
		}
		w.start()
		w.want(w.reaches(40), "a=780/40")
		for i, c := range []struct {
			ofStream      bool
			during, after string
		}{{false, "a=880/41", "a=5/1"}, {true, "a=12/2", "a=980/42"}, {false, "a=1080/43", "a=12/2"}} {
			w.stop()
			held := make(chan struct{})
			w.store.Observe(func(call memstore.Call) {
				if call.Op == memstore.OpApply && call.Generation.Number == uint32(i+2) { //nolint:gosec // small
					<-held
				}
			})
			w.follow(w.version(i+2, c.ofStream), w.version(i+1, !c.ofStream))
			if c.ofStream {
				w.appendOurs("a", 7)
			} else {
				w.stream.publish("a", 100)
			}
			w.until("the version before goes on", func() bool { return w.documents() == c.during })
			if c.ofStream {
				w.stream.publish("a", 100)
			}
			w.store.Observe(nil)
			close(held)
			w.until("the new version is live", func() bool { return w.pointer().Version == i+2 })
			w.until("it has what its log has", func() bool { return w.documents() == c.after })
		}
		if n := w.logs.count("state=refused"); n != 0 {
			w.logs.dump(t)
			t.Errorf("refused %d times", n)
		}
	})
}
