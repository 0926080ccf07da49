package demo

import (
	"context"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/projections/runner"
)

// damagedAirport is the one whose document is changed by hand, and damagedField what of it.
const (
	damagedAirport = "ORD"
	damagedField   = "departures"
)

// mend changes a document in the Redis of eu behind its projector's back, has it found, judged by the log and repaired, and compares the regions at a mark.
func (d *demo) mend(ctx context.Context) error {
	p := d.places[1]
	step := d.say.step("Changing a document in the Redis of %s", p.Name())
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pointer, _, err := projections.ReadPointer(ctx, p.KV(), "airports")
	if err != nil {
		return err
	}
	if err := p.Deface(ctx, pointer.Live("airports"), damagedAirport, damagedField, "1"); err != nil {
		return err
	}
	report, err := d.examine(ctx, p)
	if err != nil {
		return err
	}
	if len(report.Findings) != 1 {
		return failed("of one document that was changed in %s, %d findings were made: %+v", p.Name(), len(report.Findings), report.Findings)
	}
	f := report.Findings[0]
	if f.Key != damagedAirport || f.Kind != reconcile.KindAltered || !f.Outside || len(f.Fields) != 1 || f.Fields[0].Expected == nil || f.Fields[0].Found == nil {
		return failed("the document that was changed in %s is said to be %+v", p.Name(), f)
	}
	plan := report.Plan(0)
	out, err := reconcile.Execute(ctx, p.KV(), &plan, nil)
	if err != nil {
		return err
	}
	after, err := d.examine(ctx, p)
	if err != nil {
		return err
	}
	if out.Repaired != 1 || len(after.Findings) != 0 {
		return failed("%d documents were repaired, expected 1, and %d findings are left", out.Repaired, len(after.Findings))
	}
	d.summary.Found, d.summary.Repaired = len(report.Findings), out.Repaired
	number, err := d.equalAtAMark(ctx)
	if err != nil {
		return err
	}
	step.done("found: airports %s, %s: %s is %s and should be %s, changed outside of the log; repaired; at mark %d all regions are equal",
		f.Key, f.Kind, f.Fields[0].Field, *f.Fields[0].Found, *f.Fields[0].Expected, number)
	return nil
}

// examine compares everything that a region stores of the airports with what the log says.
func (d *demo) examine(ctx context.Context, p *place) (*reconcile.Report, error) {
	v, err := runner.NewVersions(p.own, p.Log(), p.KV(), nil).Live(ctx, "airports")
	if err != nil {
		return nil, err
	}
	return reconcile.Examine(ctx, p.Name(), v, p.Store(), p.KV(), reconcile.Options{Budget: 1})
}

// equalAtAMark writes a mark, and waits until all regions have passed it and were compared there.
func (d *demo) equalAtAMark(ctx context.Context) (number uint64, err error) {
	position, err := marks.New(d.leader().Log(), marks.Options{}).Now(ctx)
	if err != nil {
		return 0, err
	}
	for _, name := range []string{"airports", "routes"} {
		v := reconcile.Verdict{}
		for v.Sequence < projections.SequenceOf(position) {
			var standings []reconcile.Standing
			for _, p := range d.places {
				m, err := p.reader.Marks(ctx, name, query.MarksOptions{Options: query.Options{AtLeast: position, Wait: patience}})
				if err != nil {
					return 0, err
				}
				standings = append(standings, m.Standing)
			}
			if v = reconcile.Compare(standings); v.Result == reconcile.Different {
				return 0, failed("%s differs between regions at mark %d", name, v.Number)
			}
			if v.Sequence < projections.SequenceOf(position) {
				if err := rest(ctx, 20*time.Millisecond); err != nil {
					return 0, err
				}
			}
		}
		if v.Result != reconcile.Equal {
			return 0, failed("%s is %s at mark %d: %v", name, v.Result, v.Number, v.Reasons)
		}
		number = v.Number
	}
	d.summary.MarkEqual = true
	return number, nil
}
