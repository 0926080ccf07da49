package replica

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

func TestTermsAreCompared(t *testing.T) {
	info := func(lineage events.Lineage, last uint64, starts ...uint64) events.Info {
		return events.Info{Origin: "us", Last: last, Terms: events.Terms{Lineage: lineage, Starts: starts}}
	}
	for name, c := range map[string]struct {
		here, there events.Info
		text        string // empty: on the same history
	}{
		"an empty copy":            {info("", 0), info("aaaa", 10, 1), ""},
		"the same":                 {info("aaaa", 10, 1), info("aaaa", 10, 1), ""},
		"a term not copied yet":    {info("aaaa", 10, 1), info("aaaa", 20, 1, 11), ""},
		"several terms":            {info("aaaa", 20, 1, 11, 15), info("aaaa", 30, 1, 11, 15, 21), ""},
		"another lineage":          {info("aaaa", 10, 1), info("bbbb", 10, 1), "sequence 1"},
		"another beginning":        {info("aaaa", 20, 1, 11), info("aaaa", 20, 1, 12), "term 2 begins at sequence 11 here, and at sequence 12 there"},
		"a tail left behind":       {info("aaaa", 20, 1), info("aaaa", 30, 1, 15), "term 2 begins at sequence 15 there"},
		"a term left behind":       {info("aaaa", 20, 1, 11), info("aaaa", 30, 1), "the leader does not know it"},
		"a tail of the last event": {info("aaaa", 15, 1), info("aaaa", 30, 1, 15), "sequence 15"},
	} {
		err := config.compareTerms(c.here, c.there)
		if c.text == "" && err != nil || c.text != "" && (!errors.Is(err, events.ErrForeignHistory) || !strings.Contains(err.Error(), c.text)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// oneRecord is a log of which only Record works.
type oneRecord struct {
	record events.Record
	err    error
}

func (o oneRecord) Record(context.Context, uint64) (events.Record, error) { return o.record, o.err }
func (oneRecord) Origin() string                                          { return "us" }
func (oneRecord) Info(context.Context) (events.Info, error)               { return events.Info{}, nil }
func (oneRecord) Read(context.Context, events.Range) iter.Seq2[[]events.Record, error] {
	return nil
}
func (oneRecord) History(context.Context, events.Entity, uint64) iter.Seq2[events.Record, error] {
	return nil
}
func (oneRecord) LastControl(context.Context, string) (events.Record, error) {
	return events.Record{}, nil
}
func (oneRecord) Controls(context.Context, string, uint64) iter.Seq2[events.Record, error] {
	return nil
}

func TestRecordsAreCompared(t *testing.T) {
	stored := time.Date(2026, 5, 1, 12, 0, 0, 7, time.UTC)
	at := func(change func(*events.Record)) oneRecord {
		r := events.Record{Sequence: 7, Time: stored, Kind: events.KindControl, Subject: "ctl.us.mark", Control: events.Control{Name: "mark", Data: []byte("x")}}
		if change != nil {
			change(&r)
		}
		return oneRecord{record: r}
	}
	fails := func(code events.Code) oneRecord { return oneRecord{err: events.Errorf(code, "made up")} }
	for name, c := range map[string]struct {
		here, there oneRecord
		code        events.Code // empty: alike
	}{
		"alike":                      {at(nil), at(nil), ""},
		"another time":               {at(nil), at(func(r *events.Record) { r.Time = r.Time.Add(1) }), events.ErrForeignHistory},
		"another subject":            {at(nil), at(func(r *events.Record) { r.Subject = "ctl.us.term" }), events.ErrForeignHistory},
		"another content":            {at(nil), at(func(r *events.Record) { r.Control.Data = []byte("y") }), events.ErrForeignHistory},
		"missing here":               {fails(events.ErrNotFound), at(nil), events.ErrHole},
		"damaged here":               {fails(events.ErrDamaged), at(nil), events.ErrForeignHistory},
		"unreachable here":           {fails(events.ErrUnreachable), at(nil), events.ErrUnreachable},
		"missing there":              {at(nil), fails(events.ErrNotFound), events.ErrUnreachable},
		"damaged there":              {at(nil), fails(events.ErrDamaged), events.ErrDamaged},
		"of another origin there":    {at(nil), fails(events.ErrForeignHistory), events.ErrForeignHistory},
		"the right is missing there": {at(nil), fails(events.ErrUnauthorized), events.ErrUnauthorized},
	} {
		_, err := config.compareRecords(t.Context(), c.here, c.there, 7)
		if code, _ := events.CodeOf(err); code != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

func TestAnOldLookSaysNothingAboutNow(t *testing.T) {
	s := newStatus(config, newNoLog())
	if now := s.replication(); now.State != events.CopyUnknown || now.Lag != nil || now.Code == "" || now.Leader != "us" || now.Region != "eu" {
		t.Errorf("before the first look: %+v", now)
	}
	s.set(t.Context(), view{state: events.CopyFollows, lag: &events.ReplicationLag{Events: 3, Seconds: 1}})
	now := s.replication()
	if now.State != events.CopyFollows || now.Lag.Events != 3 {
		t.Errorf("%+v", now)
	}
	now.Lag.Events = 0
	if s.replication().Lag.Events != 3 {
		t.Error("the caller changed the lag")
	}
	s.at = s.at.Add(-2 * staleFor)
	if now := s.replication(); now.State != events.CopyUnknown || now.Lag != nil || now.Code != events.ErrUnreachable || !strings.Contains(now.Message, "10s") {
		t.Errorf("after a long time: %+v", now)
	}
	s.at = time.Now().Add(-2 * staleFor)
	s.now.State = events.CopyDiverged
	if now := s.replication(); now.State != events.CopyDiverged {
		t.Errorf("a copy that has diverged stays so: %+v", now)
	}
}

func TestACopyWithAHoleHasDiverged(t *testing.T) {
	for name, state := range map[string]jetstream.StreamState{
		"in the middle": {FirstSeq: 1, LastSeq: 9, Msgs: 8, NumDeleted: 1},
		"at the start":  {FirstSeq: 2, LastSeq: 9, Msgs: 8},
		"by damage":     {FirstSeq: 1, LastSeq: 9, Msgs: 9, Lost: &jetstream.LostStreamData{Msgs: []uint64{4}}},
	} {
		v := (&follower{cfg: config}).judge(t.Context(), &jetstream.StreamInfo{State: state}, "")
		if v.state != events.CopyDiverged || !errors.Is(v.err, events.ErrHole) || v.lag != nil {
			t.Errorf("%s: %+v", name, v)
		}
	}
}
