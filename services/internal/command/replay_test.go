package command

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/services/internal/failure"
)

// requested returns a store that holds a live projection and a requested replay of it.
func requested(t *testing.T) (*memstore.KV, projections.Replay) {
	t.Helper()
	kv := memstore.NewKV()
	if _, err := projections.WriteJSON(t.Context(), kv, projections.PointerKey("airports"), projections.Pointer{Generation: 1, Partitions: 1}, 0); err != nil {
		t.Fatal(err)
	}
	job, err := projections.RequestReplay(t.Context(), kv, "airports", "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return kv, job
}

func write(t *testing.T, kv *memstore.KV, job projections.Replay) {
	t.Helper()
	_, revision, err := projections.ReadJSON[projections.Replay](t.Context(), kv, projections.ReplayKey("airports"))
	if err == nil {
		_, err = projections.WriteJSON(t.Context(), kv, projections.ReplayKey("airports"), job, revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchingAReplayCanEndWithoutEndingIt(t *testing.T) {
	kv, job := requested(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := &program{out: &bytes.Buffer{}, err: &bytes.Buffer{}, self: "tidemark"}
	err := p.attend(ctx, kv, job)
	if !errors.Is(err, failure.ErrInterrupted) || !strings.Contains(err.Error(), job.ID+" of airports goes on") ||
		!strings.Contains(err.Error(), "tidemark replay airports --resume "+job.ID+".") || !strings.Contains(err.Error(), "tidemark replay airports --cancel "+job.ID+".") {
		t.Errorf("the error is %v", err)
	}
	now, _, err := projections.ReadJSON[projections.Replay](t.Context(), kv, projections.ReplayKey("airports"))
	if err != nil || now.State != projections.ReplayRequested {
		t.Errorf("the replay is %+v, %v", now, err)
	}
}

func TestAReplayOfWhatIsRemovedIsOver(t *testing.T) {
	kv, job := requested(t)
	_, revision, err := projections.ReadJSON[projections.Replay](t.Context(), kv, projections.ReplayKey("airports"))
	if err == nil {
		err = kv.Delete(t.Context(), projections.ReplayKey("airports"), revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &program{out: &bytes.Buffer{}, err: &bytes.Buffer{}, self: "tidemark"}
	if err := p.attend(t.Context(), kv, job); !errors.Is(err, failure.ErrReplayFailed) || !strings.Contains(err.Error(), "airports was removed") {
		t.Errorf("the error is %v", err)
	}
}

func TestTheEndOfAReplayIsTold(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		change func(*projections.Replay)
		code   error
		says   string
	}{
		"equal":     {func(r *projections.Replay) { r.State, r.Compared, r.Equal = projections.ReplayDone, true, true }, nil, "equal to the generation before"},
		"different": {func(r *projections.Replay) { r.State, r.Compared = projections.ReplayDone, true }, nil, "DIFFERENT"},
		"unknown":   {func(r *projections.Replay) { r.State = projections.ReplayDone }, nil, "not compared"},
		"full": {func(r *projections.Replay) {
			r.State, r.Code, r.Message = projections.ReplayFailed, "store-full", "store-full: the store uses 9 of 9 bytes"
		}, projections.ErrStoreFull, "what is live goes on: the store uses 9"},
		"unproven": {func(r *projections.Replay) {
			r.State, r.Code, r.Message = projections.ReplayFailed, "not-proven", "not-proven: x"
		}, projections.ErrNotProven, "replay show "},
		"unheard": {func(r *projections.Replay) {
			r.State, r.Code, r.Message = projections.ReplayFailed, "no-such-code", "x"
		}, failure.ErrReplayFailed, "x"},
		"cancelled": {func(r *projections.Replay) { r.State = projections.ReplayCancelled }, projections.ErrReplayCancelled, "nothing was switched"},
		"failed":    {func(r *projections.Replay) { r.State, r.Message = projections.ReplayFailed, "a hole" }, failure.ErrReplayFailed, "a hole"},
		"replaced":  {func(r *projections.Replay) { r.ID = "another" }, failure.ErrReplayFailed, "another took its place"},
	} {
		t.Run(name, func(t *testing.T) {
			kv, job := requested(t)
			after := job
			after.Finished = &at
			c.change(&after)
			write(t, kv, after)
			var out bytes.Buffer
			p := &program{out: &out, err: &bytes.Buffer{}, self: "tidemark"}
			err := p.attend(t.Context(), kv, job)
			text := out.String()
			if err != nil {
				text = err.Error()
			}
			if !errors.Is(err, c.code) || !strings.Contains(text, c.says) {
				t.Errorf("it told %q and %v", text, err)
			}
		})
	}
}
