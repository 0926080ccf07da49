package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// unattended is after how long a requested replay that nobody began is remarked upon.
const unattended = 10 * time.Second

// attend watches a replay and prints its result.
func (p *program) attend(ctx context.Context, kv projections.KV, job projections.Replay) error {
	job, err := p.follow(ctx, kv, job)
	switch {
	case ctx.Err() != nil:
		return p.unwatched(&job)
	case err != nil:
		return err
	}
	return p.concluded(&job)
}

// unwatched says that only watching a replay ended.
func (p *program) unwatched(job *projections.Replay) error {
	return events.Errorf(failure.ErrInterrupted, "the replay %s of %s goes on; only watching it ended", job.ID, job.Projection).
		Hint("Watch it again: %[1]s replay %[2]s --resume %[3]s%[4]s. Give it up: %[1]s replay %[2]s --cancel %[3]s%[4]s.", p.self, job.Projection, job.ID, p.inRegion())
}

// inRegion is the flag that names the region, as it was given.
func (p *program) inRegion() string {
	if p.region == "" {
		return ""
	}
	return " --region " + p.region
}

// concluded prints what came of a replay, and returns an error when it is not done.
func (p *program) concluded(job *projections.Replay) error {
	err := p.outcome(job)
	if err == nil || p.output == outputJSON || job.Difference != nil {
		if err := p.result(job); err != nil {
			return err
		}
	}
	return err
}

// outcome returns why a replay is not done; nil when it is. A failure has the code that it had.
func (p *program) outcome(job *projections.Replay) error {
	switch job.State {
	case projections.ReplayFailed:
		code := events.Code(job.Code)
		if _, known := failure.ClassOf(code); !known {
			code = failure.ErrReplayFailed
		}
		return events.Errorf(code, "the replay %s of %s failed, and what is live goes on: %s", job.ID, job.Projection, strings.TrimPrefix(job.Message, job.Code+": ")).
			Hint("All of it: %s replay show %s%s.", p.self, job.ID, p.inRegion())
	case projections.ReplayCancelled:
		return events.Errorf(projections.ErrReplayCancelled, "the replay %s of %s was given up, as somebody asked; nothing was switched", job.ID, job.Projection).
			Hint("Ask for it again: %s replay %s --resume %s%s.", p.self, job.Projection, job.ID, p.inRegion())
	}
	return nil
}

// result prints a replay that has ended. Values of documents are hidden; replay show --reveal has them.
func (p *program) result(job *projections.Replay) error {
	hideSamples(job)
	return p.print(job, func(w io.Writer) error { return replayed(w, job) })
}

// follow watches a replay on the terminal until it has ended.
func (p *program) follow(ctx context.Context, kv projections.KV, job projections.Replay) (projections.Replay, error) {
	w := replayWatch{progress: display.NewPaced(p.progressWriter(), "replay "+job.Projection), back: len(job.Back)}
	defer w.progress.End()
	patience := time.AfterFunc(unattended, func() {
		p.note("no projector has begun the replay yet; it begins as soon as one runs")
	})
	defer patience.Stop()
	return follow(ctx, kv, job, func(now *projections.Replay) {
		if now.State != projections.ReplayRequested {
			patience.Stop()
		}
		w.see(now)
	})
}

// follow watches a replay until it has ended, and shows what it is meanwhile.
func follow(ctx context.Context, kv projections.KV, job projections.Replay, see func(*projections.Replay)) (projections.Replay, error) {
	for e, err := range kv.Watch(ctx, projections.ReplayKey(job.Projection)) {
		if err != nil {
			return job, err
		}
		if e.Value == nil {
			return job, events.Errorf(failure.ErrReplayFailed, "the replay %s is over: %s was removed", job.ID, job.Projection)
		}
		var now projections.Replay
		if err := json.Unmarshal(e.Value, &now); err != nil {
			return job, events.Errorf(projections.ErrUnavailable, "the record of the replay cannot be read: %w", err)
		}
		if now.ID != job.ID {
			return succeeded(ctx, kv, job, now.ID)
		}
		job = now
		see(&job)
		if !job.Running() {
			return job, nil
		}
	}
	if ctx.Err() != nil {
		return job, context.Cause(ctx)
	}
	return job, errors.New("watching the replay ended by itself")
}

// succeeded finds what came of a replay when another took its place before that was seen.
func succeeded(ctx context.Context, kv projections.KV, job projections.Replay, by string) (projections.Replay, error) {
	list, err := projections.Replays(ctx, kv, job.Projection)
	if err != nil {
		return job, err
	}
	for i := range list {
		if list[i].ID == job.ID && !list[i].Running() {
			return list[i], nil
		}
	}
	return job, events.Errorf(failure.ErrReplayFailed, "the replay %s is over and %s took its place before its result was seen", job.ID, by).
		Hint("tidemark replay show %s %s shows the newer one.", job.Projection, by)
}

// progressWriter is where progress goes: nowhere, when machines read stderr.
func (p *program) progressWriter() io.Writer {
	if p.output == outputJSON {
		return io.Discard
	}
	return p.err
}

// replayWatch shows how a replay goes.
type replayWatch struct {
	progress *display.Progress
	region   string // what remarks begin with
	yields   string // what was said last of why it stands still
	back     int    // how many reasons were said of why it went back
}

func (w *replayWatch) see(job *projections.Replay) {
	w.notes(job)
	if job.Running() {
		s := stageOf(job)
		w.progress.Tell(s.done, s.total, s.Pace)
	}
}

// notes writes what is new about why it goes back, or stands still.
func (w *replayWatch) notes(job *projections.Replay) {
	for ; w.back < len(job.Back); w.back++ {
		w.progress.Note(display.Text(w.region + "it goes further back: " + job.Back[w.back]))
	}
	if job.Yields == w.yields {
		return
	}
	if w.yields = job.Yields; w.yields != "" {
		w.progress.Note(display.Text(w.region + "it stands still: " + w.yields))
	} else if job.Running() {
		w.progress.Note(w.region + "it goes on")
	}
}

// replayStage is what a replay does now, and how far it is with that.
type replayStage struct {
	display.Pace
	done, total uint64
}

// stageOf returns how far a running replay is.
func stageOf(job *projections.Replay) replayStage {
	s := replayStage{Pace: display.Pace{Unit: "records", PerSecond: job.PerSecond, Remaining: time.Duration(job.Remaining * float64(time.Second))}}
	plan := job.Plan
	documents := func(stage string) replayStage {
		s.Stage, s.Unit, s.done, s.total = stage, "documents", job.Documents, plan.Documents
		return s
	}
	before := uint64(0) // what need not be read
	if plan != nil && plan.First > 0 {
		before = plan.First - 1
	}
	s.done, s.total = max(job.Sequence, before)-before, max(job.Head, before)-before
	switch {
	case job.State == projections.ReplayRequested:
		s.Stage = "requested"
	case plan == nil && job.State == projections.ReplayBuilding:
		s.Stage = "building"
	case plan == nil:
		s.Stage = "planning"
	case plan.Strategy == projections.StrategyRefold:
		if s.total > 0 && s.done >= s.total {
			return documents("comparing")
		}
		return documents("folding again")
	case job.State == projections.ReplaySwitching:
		s.Stage = "switching"
	case plan.Strategy == projections.StrategySnapshot && job.Sequence < before:
		return documents("loading the snapshot")
	case job.Head > 0 && job.Sequence >= job.Head && job.Kind == projections.ReplayModel:
		s.Stage = "comparing"
	default:
		s.Stage = "building"
	}
	return s
}

// percent returns the share that is done, of a hundred.
func (s *replayStage) percent() uint64 {
	if s.total == 0 {
		return 0
	}
	return 100 * min(s.done, s.total) / s.total
}

// String says on one line how far it is.
func (s *replayStage) String() string {
	if s.total == 0 {
		return s.Stage
	}
	return fmt.Sprintf("%s, %s of %s %s (%d %%)%s", s.Stage, display.Number(s.done), display.Number(s.total), s.Unit, s.percent(), s.Pace.String())
}
