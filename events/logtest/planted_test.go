package logtest_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/events/logtest"
	"tidemark.dev/events/memlog"
)

// plantedBug names, in the environment, the bug that TestASuiteWithAPlantedBug runs with.
const plantedBug = "LOGTEST_PLANTED_BUG"

// bugs are what an adapter may get wrong, and a test of the suite that must find it.
func bugs() map[string]string {
	return map[string]string{
		"expectations are ignored":                   "Append/expecting_none_creates_an_entity_once",
		"a batch is stored event by event":           "Append/one_expectation_that_does_not_hold_refuses_the_whole_batch",
		"a conflict reports the head":                "Append/expecting_an_exact_sequence_succeeds_only_there",
		"other content is a duplicate":               "Duplicate/the_same_id_with_other_content_is_an_id_conflict",
		"no duplicate is known":                      "Duplicate/the_same_event_again_is_a_duplicate_with_the_same_place",
		"a retry with a stale expectation conflicts": "Duplicate/the_same_event_again_is_a_duplicate_though_its_expectation_no_longer_holds",
		"appends overtake each other":                "Order/pipelined_appends_of_one_goroutine_keep_their_order_for_each_entity",
		"a read leaves a record out":                 "Read/a_range_is_read_in_order_from_its_first_to_its_last_sequence",
		"a read ignores its batch":                   "Read/no_step_yields_more_than_the_range's_batch",
		"a read beyond the head is empty":            "Read/reading_from_beyond_the_next_sequence_is_a_foreign_history",
		"a reader that follows ends at the head":     "Read/a_reader_that_follows_sees_what_is_stored_later",
		"an ended context is a normal end":           "Read/an_ended_context_ends_every_reading_with_its_cause",
		"a step's records are overwritten":           "Read/a_record_copied_from_a_step_stays_as_it_was",
		"a history takes wildcards":                  "Entity/every_id_round-trips_and_is_told_from_every_other",
		"a history ignores where to begin":           "Entity/a_history_begins_at_the_sequence_asked_for",
		"a malformed record is left out":             "StoreRaw/a_message_that_is_not_an_event_is_malformed,_says_why,_and_keeps_its_sequence",
		"damage is read over":                        "StoreRaw/content_that_does_not_match_its_hash_is_damaged,_wherever_it_is_read",
		"the last control record matches by prefix":  "Read/the_last_control_record_is_the_newest_of_its_own_name",
		"control records match by prefix":            "Read/the_control_records_of_a_name_come_in_order,_and_no_others",
		"control records ignore where to begin":      "Read/the_control_records_of_a_name_come_in_order,_and_no_others",
		"control records end with a page":            "Read/the_control_records_of_a_name_can_be_many,_and_be_left_early",
		"the observed position is not filled in":     "Append/an_expected_sequence_becomes_the_observed_position",
	}
}

func TestASuiteWithAPlantedBug(t *testing.T) {
	bug, planted := os.LookupEnv(plantedBug)
	if !planted {
		return // TestTheSuiteFindsPlantedBugs runs this one, in processes of its own
	}
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		l := memlog.New("us", memlog.Options{})
		t.Cleanup(l.Close)
		return logtest.Subject{Log: &buggy{Log: l, bug: bug}, ExpireDuplicates: l.ForgetDuplicates, StoreRaw: l.StoreRaw, Close: l.Close}
	})
}

func TestTheSuiteFindsPlantedBugs(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	suite := func(bug, pattern string) (string, error) {
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestASuiteWithAPlantedBug$/"+pattern, "-test.v") //nolint:gosec // ourselves
		cmd.Env = append(os.Environ(), plantedBug+"="+bug)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := suite("none", ""); err != nil || !strings.Contains(out, "--- PASS: TestASuiteWithAPlantedBug/Close/") {
		t.Fatalf("without a bug the suite must pass: %v\n%s", err, out)
	}
	for bug, finder := range bugs() {
		t.Run(bug, func(t *testing.T) {
			group, _, _ := strings.Cut(finder, "/")
			out, err := suite(bug, "^"+group+"$")
			if _, failed := errors.AsType[*exec.ExitError](err); !failed {
				t.Fatalf("the suite did not fail: %v\n%s", err, out)
			}
			if want := "--- FAIL: TestASuiteWithAPlantedBug/" + finder + " "; !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		})
	}
}

// buggy is a good log with one planted bug.
type buggy struct {
	*memlog.Log
	bug       string
	submitted atomic.Uint64
}

func (b *buggy) Append(ctx context.Context, batch events.Batch) (events.Receipt, error) {
	p, err := b.Submit(ctx, batch)
	if err != nil {
		return events.Receipt{}, err
	}
	return p.Wait(ctx)
}

func (b *buggy) Submit(ctx context.Context, batch events.Batch) (*events.Pending, error) {
	switch b.bug {
	case "expectations are ignored":
		batch.Expect = nil
	case "no duplicate is known":
		batch.Events = slices.Clone(batch.Events)
		for i := range batch.Events {
			batch.Events[i].ID = events.NewID()
		}
	case "appends overtake each other":
		return b.overtake(ctx, batch)
	case "a batch is stored event by event":
		if len(batch.Events) > 1 && len(batch.Controls) == 0 {
			return b.oneByOne(ctx, batch)
		}
	case "the observed position is not filled in":
		batch.Events = slices.Clone(batch.Events)
		for i := range batch.Events {
			if batch.Events[i].Observed.IsZero() {
				batch.Events[i].Observed = events.At(events.Point{Origin: "none", Lineage: "00000000", Term: 1})
			}
		}
	case "a conflict reports the head", "other content is a duplicate", "a retry with a stale expectation conflicts":
		return b.answer(ctx, batch)
	}
	return b.Log.Submit(ctx, batch)
}

// answer changes what is told of an append.
func (b *buggy) answer(ctx context.Context, batch events.Batch) (*events.Pending, error) {
	inner, err := b.Log.Submit(ctx, batch)
	if err != nil {
		return nil, err
	}
	r, err := inner.Wait(ctx)
	conflict, isConflict := errors.AsType[*events.ConflictError](err)
	switch {
	case b.bug == "a conflict reports the head" && isConflict:
		info, _ := b.Info(ctx)
		conflict.Actual = info.Last
	case b.bug == "other content is a duplicate" && errors.Is(err, events.ErrIDConflict):
		r, err = events.Receipt{Duplicate: true}, nil
	case b.bug == "a retry with a stale expectation conflicts" && r.Duplicate && len(batch.Expect) > 0:
		r, err = events.Receipt{}, &events.ConflictError{Entity: batch.Events[0].Entity, Actual: r.Last}
	}
	p, finish := events.NewPending()
	finish(r, err)
	return p, nil
}

func (b *buggy) oneByOne(ctx context.Context, batch events.Batch) (*events.Pending, error) {
	p, finish := events.NewPending()
	var all events.Receipt
	for i, e := range batch.Events {
		r, err := b.Log.Append(ctx, events.One(e, batch.Expect[e.Entity]))
		if err != nil {
			finish(events.Receipt{}, err)
			return p, nil
		}
		if i == 0 {
			all = r
		}
		all.Last, all.Position = r.Last, r.Position
	}
	finish(all, nil)
	return p, nil
}

// overtake gives every append a goroutine of its own.
func (b *buggy) overtake(ctx context.Context, batch events.Batch) (*events.Pending, error) {
	if err := batch.Validate(); err != nil {
		return nil, err
	}
	p, finish := events.NewPending()
	late := b.submitted.Add(1)%2 == 0
	go func() {
		if late {
			runtime.Gosched()
		}
		finish(b.Log.Append(context.WithoutCancel(ctx), batch))
	}()
	return p, nil
}

func (b *buggy) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	head, _ := b.Info(ctx)
	switch {
	case b.bug == "a read ignores its batch":
		r.Batch = 0
	case b.bug == "a reader that follows ends at the head":
		r.Follow = false
	case b.bug == "a read beyond the head is empty" && r.From > head.Last:
		return func(func([]events.Record, error) bool) {}
	}
	return func(yield func([]events.Record, error) bool) {
		var reused []events.Record
		var data []byte
		for records, err := range b.Log.Read(ctx, r) {
			switch {
			case b.bug == "an ended context is a normal end" && ctx.Err() != nil, b.bug == "damage is read over" && errors.Is(err, events.ErrDamaged):
				return
			case b.bug == "a read leaves a record out":
				records = slices.DeleteFunc(records, func(r events.Record) bool { return r.Sequence == 5 })
			case b.bug == "a malformed record is left out":
				records = slices.DeleteFunc(records, func(r events.Record) bool { return r.Kind == events.KindMalformed })
			case b.bug == "a step's records are overwritten":
				reused, data = append(reused[:0], records...), data[:0]
				for i := range reused {
					from := len(data)
					data = append(data, reused[i].Event.Data...)
					reused[i].Event.Data = data[from:]
				}
				records = reused
			}
			if !yield(records, err) {
				return
			}
		}
	}
}

func (b *buggy) History(ctx context.Context, e events.Entity, from uint64) iter.Seq2[events.Record, error] {
	if b.bug == "a history ignores where to begin" {
		from = 0
	}
	if b.bug != "a history takes wildcards" || e.ID != "*" {
		return b.Log.History(ctx, e, from)
	}
	return func(yield func(events.Record, error) bool) {
		for records, err := range b.Read(ctx, events.Range{From: from}) {
			for _, r := range records {
				if r.Event.Entity.Type == e.Type && !yield(r, err) {
					return
				}
			}
		}
	}
}

func (b *buggy) LastControl(ctx context.Context, name string) (events.Record, error) {
	if b.bug != "the last control record matches by prefix" {
		return b.Log.LastControl(ctx, name)
	}
	var last events.Record
	for records, err := range b.Log.Read(ctx, events.Range{}) {
		if err != nil {
			return last, err
		}
		for _, r := range records {
			if r.Kind == events.KindControl && strings.HasPrefix(r.Control.Name, name) {
				last = r
			}
		}
	}
	return last, nil
}

func (b *buggy) Controls(ctx context.Context, name string, from uint64) iter.Seq2[events.Record, error] {
	if b.bug == "control records ignore where to begin" {
		from = 0
	}
	if b.bug != "control records match by prefix" && b.bug != "control records end with a page" {
		return b.Log.Controls(ctx, name, from)
	}
	return func(yield func(events.Record, error) bool) {
		left := 512
		for records, err := range b.Log.Read(ctx, events.Range{From: from}) {
			for _, r := range records {
				matches := r.Control.Name == name || b.bug == "control records match by prefix" && strings.HasPrefix(r.Control.Name, name)
				if r.Kind != events.KindControl || !matches {
					continue
				}
				if left--; left < 0 && b.bug == "control records end with a page" || !yield(r, err) {
					return
				}
			}
			if err != nil {
				yield(events.Record{}, err)
				return
			}
		}
	}
}
