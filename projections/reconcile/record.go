package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// keptFindings bounds the findings that a record keeps, and keptBytes what they take.
	keptFindings = 200
	keptBytes    = 300 << 10
)

// Pass is one examination of a read model, in few words.
type Pass struct {
	Began      time.Time `json:"began"`
	Ended      time.Time `json:"ended"`
	Generation uint32    `json:"generation"`
	Deep       bool      `json:"deep,omitempty"`
	Documents  uint64    `json:"documents"`
	Partitions int       `json:"partitions"`
	Compared   int       `json:"compared"` // partitions whose sums were compared
	Findings   int       `json:"findings"`
}

// Repaired is what became of findings.
type Repaired struct {
	At time.Time `json:"at"`
	Outcome
	// Left is how many findings there were after it.
	Left int `json:"left"`
	// Code and Message say why nothing was repaired, or not everything.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// Record is what a region's reconciler knows of one read model. It is kept in the region's KV under RecordKey.
type Record struct {
	Region     string `json:"region"`
	Projection string `json:"projection"`
	// Scrubbed is the last examination that went through all documents, Folded the last one that folded everything again; nil: there was none.
	Scrubbed *Pass `json:"scrubbed,omitempty"`
	Folded   *Pass `json:"folded,omitempty"`
	// Findings are those of the last examination that found something, as many as are kept, Found how many there were, and Since when that was.
	Findings []Finding  `json:"findings,omitempty"`
	Found    int        `json:"found"`
	Since    *time.Time `json:"since,omitempty"`
	// Began is when the examination began that these are of.
	Began *time.Time `json:"began,omitempty"`
	// Open says that they are not repaired, as far as is known.
	Open     bool      `json:"open"`
	Repaired *Repaired `json:"repaired,omitempty"`
	// TotalFound and TotalRepaired count since the read model was made.
	TotalFound    uint64 `json:"total_found"`
	TotalRepaired uint64 `json:"total_repaired"`
	// Failed says why the last examination came to nothing; empty: it did not fail.
	Failed string `json:"failed,omitempty"`
}

// RecordKey is the key of the record about a projection.
func RecordKey(projection string) string { return projections.FindingsKey(projection) }

// ReadRecord returns the record about a projection; the zero Record when there is none.
func ReadRecord(ctx context.Context, kv projections.KV, projection string) (Record, error) {
	r, _, err := projections.ReadJSON[Record](ctx, kv, RecordKey(projection))
	return r, err
}

// update changes the record about a projection.
func update(ctx context.Context, kv projections.KV, projection string, change func(*Record)) error {
	for {
		r, revision, err := projections.ReadJSON[Record](ctx, kv, RecordKey(projection))
		if err != nil {
			return err
		}
		change(&r)
		_, err = projections.WriteJSON(ctx, kv, RecordKey(projection), r, revision)
		if !errors.Is(err, projections.ErrRevision) {
			return err
		}
	}
}

// take writes an examination into the record.
func (r *Record) take(report *Report) {
	r.Region, r.Projection, r.Failed = report.Region, report.Projection, ""
	found := len(report.Findings) + report.More
	pass := &Pass{
		Began: report.Began, Ended: report.Ended, Generation: report.Generation, Deep: report.Deep, Documents: report.Documents,
		Partitions: report.Partitions, Compared: report.Compared, Findings: found,
	}
	if r.Scrubbed = pass; report.Deep {
		r.Folded = pass
	}
	if r.Open = found > 0; !r.Open {
		return
	}
	r.begin(report)                               // or some of it was said, and counted, while it went on
	r.TotalFound += uint64(max(found-r.Found, 0)) //nolint:gosec // not negative
	r.Findings, r.Found, r.Repaired = kept(report.Findings), found, nil
}

// begun writes into the record what an examination has found that goes on. Those of the one before make room.
func (r *Record) begun(report *Report) {
	r.begin(report)
	r.Region, r.Projection, r.Open = report.Region, report.Projection, true
	found := len(report.Findings) + report.More
	r.Findings, r.Found = kept(append(r.Findings, report.Findings...)), r.Found+found
	r.TotalFound += uint64(found) //nolint:gosec // not negative
}

// begin makes room for the findings of an examination, unless it is the one that is in the record.
func (r *Record) begin(report *Report) {
	if r.Began != nil && r.Began.Equal(report.Began) {
		return
	}
	began, since := report.Began, report.Ended
	r.Findings, r.Found, r.Began, r.Since, r.Repaired = nil, 0, &began, &since, nil
}

// kept returns as many findings as a record keeps. The values of those beyond are left out first, then they are.
func kept(all []Finding) []Finding {
	list := slices.Clone(all[:min(len(all), keptFindings)])
	size := 0
	for i := range list {
		text, err := json.Marshal(&list[i])
		if err != nil || size+len(text) > keptBytes {
			return list[:i]
		}
		size += len(text)
	}
	return list
}

// repaired writes into the record what became of its findings.
func (r *Record) repaired(now time.Time, out Outcome, left int, err error) {
	r.Repaired = &Repaired{At: now.UTC(), Outcome: out, Left: left}
	if err != nil {
		code, _ := events.CodeOf(err)
		r.Repaired.Code, r.Repaired.Message = string(code), err.Error()
	}
	r.Open = err != nil || left > 0
}
