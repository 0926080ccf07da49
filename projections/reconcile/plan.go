package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// DefaultShare is the share of a read model's documents up to which repairing them one by one is offered; beyond it the read model is better built anew.
	DefaultShare = 0.1
	// fewDocuments are repaired one by one whatever the share: a read model of ten documents with two wrong ones needs no rebuild.
	fewDocuments = 100
	// repairPoll is how often a repair's progress is looked at.
	repairPoll = 50 * time.Millisecond
)

// ErrRebuild says that so much of a read model is wrong that it should be built anew; nothing was changed.
const ErrRebuild = events.Code("rebuild-needed")

// Codes lists every code of this package that errors have.
func Codes() []events.Code { return []events.Code{ErrRebuild, ErrUnknownPlan} }

// Plan is what is to be done about a report: at most one of Repairs and Rebuild.
type Plan struct {
	Region     string `json:"region"`
	Projection string `json:"projection"`
	Generation uint32 `json:"generation"`
	// Findings is how many there are, and Documents how many documents are to be looked at.
	Findings  int `json:"findings"`
	Documents int `json:"documents"`
	// Repairs are carried out one after the other by the owner of the read model.
	Repairs []projections.Repair `json:"repairs,omitempty"`
	// Rebuild says why the read model should be built anew; empty: it need not be.
	Rebuild string `json:"rebuild,omitempty"`
	// Blocked are names and entries of indexes that a person has to remove, because there can be no document of that key, or because what is there is none.
	Blocked []string `json:"blocked,omitempty"`
}

// Plan makes the plan to put right what was found. share is that of the documents beyond which a rebuild is asked for; 0 means DefaultShare.
func (r *Report) Plan(share float64) Plan {
	if share == 0 {
		share = DefaultShare
	}
	p := Plan{Region: r.Region, Projection: r.Projection, Generation: r.Generation, Findings: len(r.Findings) + r.More}
	named := make(map[projections.Ref]int)
	var list []projections.RepairDocument
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Member != "" {
			p.Blocked = append(p.Blocked, fmt.Sprintf("partition %d, %s: %q", f.Partition, cmp.Or(f.Index, "documents"), f.Member))
		}
		if f.Key == "" {
			continue
		}
		if f.Foreign {
			p.Blocked = append(p.Blocked, fmt.Sprintf("partition %d, documents: %q", f.Partition, f.Key))
			continue
		}
		at := projections.Ref{Partition: f.Partition, Key: f.Key}
		n, known := named[at]
		if !known {
			n = len(list)
			named[at] = n
			list = append(list, projections.RepairDocument{Partition: f.Partition, Key: f.Key})
		}
		for _, e := range f.unindex {
			list[n].Unindex = append(list[n].Unindex, projections.RepairEntry{Index: e.Index, Value: []byte(e.Value)})
		}
	}
	p.Documents = len(list) + r.More
	if p.Documents > fewDocuments && !within(p.Documents, r.Documents, share) {
		p.Rebuild = fmt.Sprintf("%d of %d documents are wrong", p.Documents, r.Documents)
		return p
	}
	for len(list) > 0 {
		n := projections.RepairFits(list)
		p.Repairs = append(p.Repairs, projections.Repair{Projection: r.Projection, Generation: r.Generation, Reason: "reconcile", Documents: list[:n]})
		list = list[n:]
	}
	if len(r.Recount) > 0 {
		if len(p.Repairs) == 0 {
			p.Repairs = []projections.Repair{{Projection: r.Projection, Generation: r.Generation, Reason: "reconcile"}}
		}
		p.Repairs[len(p.Repairs)-1].Recount = r.Recount // once all documents are right
	}
	return p
}

// within reports whether some documents are at most a share of all.
func within(some int, all uint64, share float64) bool {
	return float64(some) <= cmp.Or(share, DefaultShare)*float64(all)
}

// Refusal returns ErrRebuild for a plan that asks for that, and says how; nil: it can be carried out.
func (p *Plan) Refusal() error {
	if p.Rebuild == "" {
		return nil
	}
	return events.Errorf(ErrRebuild, "%s of %s in %s; nothing was changed", p.Rebuild, p.Projection, p.Region).
		Hint("Build it anew, beside the one that answers: tidemark replay %s --from-start --region %s", p.Projection, p.Region)
}

// Outcome is what the execution of a plan came to.
type Outcome struct {
	Repaired  int      `json:"repaired"`  // documents that were written
	Right     int      `json:"right"`     // that were right by then
	Recounted int      `json:"recounted"` // partitions
	Jobs      []string `json:"jobs,omitempty"`
}

func (o *Outcome) add(more Outcome) {
	o.Repaired, o.Right, o.Recounted, o.Jobs = o.Repaired+more.Repaired, o.Right+more.Right, o.Recounted+more.Recounted, append(o.Jobs, more.Jobs...)
}

// Execute has the owner of the read model carry out a plan, and waits. It returns ErrRebuild for a plan that asks for that, projections.ErrRepairRunning, and what a repair failed with. What was
// carried out before an error is in the outcome; a plan can be executed again.
func Execute(ctx context.Context, kv projections.KV, p *Plan, progress func(done, total int)) (out Outcome, err error) {
	if err := p.Refusal(); err != nil {
		return out, err
	}
	done := 0
	for _, job := range p.Repairs {
		asked, err := projections.RequestRepair(ctx, kv, job, time.Now())
		if err != nil {
			return out, err
		}
		ended, err := Await(ctx, kv, asked.Projection, asked.ID)
		if err != nil {
			return out, err
		}
		out.Repaired, out.Right, out.Recounted = out.Repaired+ended.Repaired, out.Right+ended.Right, out.Recounted+ended.Recounted
		out.Jobs = append(out.Jobs, asked.ID)
		if done += len(job.Documents); progress != nil {
			progress(done, p.Documents)
		}
	}
	return out, nil
}

// Await waits until a repair has ended, and returns it, or the error that it failed with. One that was followed by another is over too.
func Await(ctx context.Context, kv projections.KV, projection, id string) (projections.Repair, error) {
	tick := time.NewTicker(repairPoll)
	defer tick.Stop()
	for {
		job, _, err := projections.ReadJSON[projections.Repair](ctx, kv, projections.RepairKey(projection))
		switch {
		case err != nil:
			return job, err
		case job.ID != id:
			return job, events.Errorf(events.ErrConflict, "the repair %s of %s was followed by another one (%s)", id, projection, job.ID)
		case job.State == projections.RepairFailed:
			return job, events.Errorf(events.Code(job.Code), "the repair %s of %s failed: %s", id, projection, job.Message)
		case !job.Running():
			return job, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return job, events.Errorf(events.ErrUnreachable, "the repair %s of %s has not ended, and goes on: %w", id, projection, context.Cause(ctx)).
				Hint("Is a projector running? tidemark status tells.")
		}
	}
}
