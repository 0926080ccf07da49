package main

import (
	"context"
	"fmt"
	"time"

	"tidemark.dev/infra/natsobjects"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
)

// replays proves and measures what replays, snapshots, copies and going back do, under writes.
func (p *proof) replays(ctx context.Context) error {
	kept, err := p.snapshots(ctx)
	if err != nil {
		return err
	}
	with := projector.Options{Snapshots: kept, Keep: time.Hour, Region: origin}
	p.unfollow()
	if err := p.follow(ctx, with); err != nil {
		return err
	}
	p.table.head("A snapshot, taken under writes")
	s, err := p.snapshot(ctx, kept)
	if err != nil {
		return err
	}
	p.table.head("From empty, under writes")
	for _, how := range []struct {
		what string
		o    projector.Options
	}{{"without a snapshot", projector.Options{}}, {"with a snapshot", with}} {
		if err := p.fromEmpty(ctx, how.what, how.o); err != nil {
			return err
		}
	}
	p.table.head("Replays, under writes")
	head, err := p.head(ctx)
	if err != nil {
		return err
	}
	for _, asked := range []projections.ReplayRequest{
		{Reason: "from the start", RequireEqual: true},
		{Reason: "from the snapshot on", From: s.Sequence + 1, RequireEqual: true},
		{Reason: "from 100 records before the head", From: head - 100},
		{Reason: "back to the generation before", Kind: projections.ReplayRollback},
		{Reason: "a copy at the snapshot", Kind: projections.ReplayCopy, As: "then", To: s.Position.String()},
	} {
		if err := p.replay(ctx, asked, &s); err != nil {
			return err
		}
	}
	return p.ended
}

// snapshots opens where snapshots are kept: beside the log.
func (p *proof) snapshots(ctx context.Context) (projections.Snapshots, error) {
	if p.c.memory {
		return memstore.NewSnapshots(), nil
	}
	return natsobjects.Open(ctx, p.nc, natsobjects.Config{Bucket: "proof", Create: true})
}

// snapshot takes one, and says what that costs.
func (p *proof) snapshot(ctx context.Context, kept projections.Snapshots) (projections.Snapshot, error) {
	before, err := p.lag(ctx, 5*time.Second, nil)
	if err != nil {
		return projections.Snapshot{}, err
	}
	began := time.Now()
	asked, err := projections.RequestSnapshot(ctx, p.kv, name, began)
	if err != nil {
		return projections.Snapshot{}, err
	}
	time.Sleep(100 * time.Millisecond) // it is seen
	if _, err := p.marks.Now(ctx); err != nil {
		return projections.Snapshot{}, err
	}
	var job projections.SnapshotJob
	during, err := p.lag(ctx, patience, func() (bool, error) {
		job, _, err = projections.ReadJSON[projections.SnapshotJob](ctx, p.kv, projections.SnapshotKey(name))
		return job.ID == asked.ID && !job.Running(), err
	})
	if err != nil {
		return projections.Snapshot{}, err
	}
	took := time.Since(began)
	p.table.prove(job.State == projections.SnapshotDone, "taken", "%s %s", job.State, job.Message)
	if job.Snapshot == nil {
		return projections.Snapshot{}, fmt.Errorf("no snapshot was taken: %s", job.Message)
	}
	s := *job.Snapshot
	p.table.line("  time, size", "%s, %d documents, %d bytes, %.0f a document", seconds(took), s.Documents, s.Bytes, float64(s.Bytes)/float64(max(s.Documents, 1)))
	p.table.line("  the read model's most records behind meanwhile", "%d, and %d before", during, before)
	list, err := kept.List(ctx, name)
	p.table.prove(err == nil && len(list) == 1 && list[0].ID == s.ID, "listed", "%d", len(list))
	return s, err
}

// lag returns how many records the read model was behind at most, until something holds or a time is over.
func (p *proof) lag(ctx context.Context, most time.Duration, until func() (bool, error)) (worst uint64, err error) {
	for deadline := time.Now().Add(most); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		head, err := p.head(ctx)
		if err != nil {
			return worst, err
		}
		gen, err := p.generation(ctx)
		if err != nil {
			return worst, err
		}
		headers, err := p.store.Headers(ctx, gen)
		if err != nil {
			return worst, err
		}
		for i := range headers {
			if at := projections.SequenceOf(headers[i].Checkpoint); at < head {
				worst = max(worst, head-at)
			}
		}
		if until == nil {
			continue
		}
		if done, err := until(); done || err != nil {
			return worst, err
		}
	}
	return worst, nil
}

// fromEmpty empties Redis and measures until the read model serves everything again.
func (p *proof) fromEmpty(ctx context.Context, what string, o projector.Options) error {
	p.unfollow()
	if err := p.redis.FlushAll(ctx).Err(); err != nil {
		return err
	}
	began := time.Now()
	if err := p.follow(ctx, o); err != nil {
		return err
	}
	if err := p.reach(ctx); err != nil {
		return err
	}
	head, err := p.head(ctx)
	if err != nil {
		return err
	}
	p.table.line(what, "serves the head, %d, after %s", head, seconds(time.Since(began)))
	return p.audited(ctx, "  afterwards")
}

// replay has a replay executed, and says how it went, and how far the live read model was behind meanwhile.
func (p *proof) replay(ctx context.Context, asked projections.ReplayRequest, s *projections.Snapshot) error {
	began := time.Now()
	job, err := projections.AskReplay(ctx, p.kv, name, asked, began)
	if err != nil {
		return err
	}
	worst, err := p.lag(ctx, patience, func() (bool, error) {
		var err error
		job, _, err = projections.ReadJSON[projections.Replay](ctx, p.kv, projections.ReplayKey(name))
		return !job.Running(), err
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	proof, plan := projections.Proof{}, projections.ReplayPlan{}
	if job.Proof != nil {
		proof = *job.Proof
	}
	if job.Plan != nil {
		plan = *job.Plan
	}
	right := job.State == projections.ReplayDone && len(job.Back) == 0 && (!asked.RequireEqual || proof.Result == projections.ProofEqual)
	if asked.Kind == projections.ReplayCopy {
		right = right && job.Digest == s.Digest && job.Documents == s.Documents
	}
	p.table.prove(right, asked.Reason, "%s in %s, planned %.1f s, %s %s %s", plan.Strategy, seconds(took), plan.Seconds, job.State, proof.Result, job.Message)
	p.table.line("  the live read model's most records behind", "%d", worst)
	return p.audited(ctx, "  afterwards")
}
