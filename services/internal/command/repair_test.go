package command_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/infra/redistest"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/reconcile"
)

// looked is what verify --deep and repair write of one read model.
type looked struct {
	Region, Projection string
	Report             *struct {
		Documents            uint64
		Partitions, Compared int
		Findings             []reconcile.Finding
	}
	Unknown, Failed *struct{ Code string }
	Plan            *struct {
		ID                  string
		Digest              string `json:"findings_digest"`
		Findings, Documents int
		Rebuild             string
	}
	Outcome *reconcile.Outcome
	Left    []reconcile.Finding
}

// deepLook is what verify --deep -o json writes.
type deepLook struct {
	Result string
	Deep   struct {
		Findings int
		Complete bool
		Hidden   bool `json:"values_hidden"`
		Examined []looked
	}
}

// mending is what repair -o json writes.
type mending struct {
	DryRun bool     `json:"dry_run"`
	Hidden bool     `json:"values_hidden"`
	Models []looked `json:"read_models"`
}

// planned returns the only read model with a plan.
func (m mending) planned(t *testing.T) looked {
	t.Helper()
	i := slices.IndexFunc(m.Models, func(l looked) bool { return l.Plan != nil })
	if i < 0 {
		t.Fatalf("there is no plan in %+v", m)
	}
	return m.Models[i]
}

// vandal changes what a region stores, as a person with redis-cli can.
type vandal struct {
	t     *testing.T
	redis *redistest.Console
	gen   projections.Generation
}

const sixteen = 16 // partitions of a read model

func newVandal(t *testing.T, dir, name, projection string) *vandal {
	t.Helper()
	a, err := region.LoadAddress(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return &vandal{t: t, redis: redistest.Dial(t, a.Redis), gen: projections.Generation{Projection: projection, Number: 1, Partitions: sixteen}}
}

// tag begins the keys of the partition of a document.
func (v *vandal) tag(key string) string {
	return fmt.Sprintf("tm:{%s.%d.%02d}:", v.gen.Projection, v.gen.Number, projections.PartitionOf(key, v.gen.Partitions))
}

func (v *vandal) doc(key string) string { return v.tag(key) + "doc:" + key }

// do executes a command of redis-cli that has to change something.
func (v *vandal) do(args ...any) {
	v.t.Helper()
	if n, err := v.redis.Do(context.Background(), args...).Result(); err != nil || n == int64(0) {
		v.t.Fatalf("%v came to %v, %v", args, n, err)
	}
}

func (v *vandal) fields(key string) map[string]string {
	v.t.Helper()
	fields, err := v.redis.HGetAll(context.Background(), v.doc(key)).Result()
	if err != nil || len(fields) == 0 {
		v.t.Fatalf("the document %s is %v, %v", key, fields, err)
	}
	return fields
}

func (v *vandal) putBack(key string, fields map[string]string) {
	v.t.Helper()
	v.redis.Del(context.Background(), v.doc(key))
	args := []any{"HSET", v.doc(key)}
	for name, value := range fields {
		args = append(args, name, value)
	}
	v.do(args...)
}

// stored returns everything that a read model stores but headers, marks and change logs, which go on by themselves.
func (v *vandal) stored() map[string]string {
	v.t.Helper()
	all := map[string]string{}
	ctx := context.Background()
	scan := v.redis.Scan(ctx, 0, "tm:{"+v.gen.Projection+".*", 1000).Iterator()
	for scan.Next(ctx) {
		key := scan.Val()
		if _, kind, _ := strings.Cut(key, "}:"); kind == "head" || kind == "marks" || kind == "changes" {
			continue
		}
		if strings.Contains(key, "}:doc:") {
			all[key] = fmt.Sprint(v.redis.HGetAll(ctx, key).Val()) // printed in order of its names
		} else {
			all[key] = fmt.Sprint(v.redis.ZRange(ctx, key, 0, -1).Val())
		}
	}
	if err := scan.Err(); err != nil || len(all) == 0 {
		v.t.Fatalf("nothing is stored: %v", err)
	}
	return all
}

// indexedFile is a projection with an index.
const indexedFile = `projection: delays
version: 1
fields: {n: int, total: int}
on: [{event: FlightDeparted, entity: airport, do: [{count: n}, {add: {total: data.delay}}]}]
indexes: {by_total: total}
`

// TestWhatAPersonDoesToDocumentsIsFoundAndPutRight: every kind of damage that redis-cli can do is found in its region and named; a dry run changes nothing, a repair puts all of it right, a second one writes nothing.
func TestWhatAPersonDoesToDocumentsIsFoundAndPutRight(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "regions")
	startAll(t, dir, "--regions", "us,eu", "--keep-wrong")
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, "", args...)
	}
	publish := func(ids ...string) (position string) {
		t.Helper()
		for _, id := range ids {
			position = strings.TrimSpace(do(0, "publish", "airport/"+id, "FlightDeparted", "--data", flight).out)
		}
		for _, name := range []string{"us", "eu"} {
			do(0, "list", "delays", "--at-least", position, "--wait", "30s", "--region", name)
		}
		return position
	}
	do(0, "projection", "apply", projectionFile(t, "delays.yaml", indexedFile), "--wait", "--timeout", "60s")
	publish("A", "B", "C", "D", "E", "F", "G", "H")
	v := newVandal(t, dir, "eu", "delays")
	old := v.fields("H")
	position := publish("H")
	do(0, "verify", "--mark", "now")
	look := func(code int, args ...string) deepLook {
		t.Helper()
		return decode[deepLook](t, do(code, append([]string{"verify", "--deep", "-o", "json"}, args...)...).out)
	}

	t.Log("nothing is found that is right")
	if d := look(0); d.Deep.Findings != 0 || !d.Deep.Complete || !d.Deep.Hidden || len(d.Deep.Examined) != 6 {
		t.Fatalf("of healthy regions it says %+v", d)
	}
	healthy := v.stored()

	const p66 = "p0000000000000000066"
	v.do("HINCRBY", v.doc("A"), "total", 1)
	v.do("DEL", v.doc("B"))
	v.putBack("X", v.fields("C")) // a document that there never was
	v.do("ZADD", v.tag("X")+"keys", 0, "X")
	v.do("ZREM", v.tag("D")+"keys", "D")
	v.do("ZREM", v.tag("E")+"idx:by_total", p66+"E")
	v.do("ZADD", v.tag("F")+"idx:by_total", 0, "p0000000000000000007F")
	v.putBack("H", old)
	wanted := map[string]reconcile.Kind{
		"A": reconcile.KindAltered, "B": reconcile.KindMissing, "X": reconcile.KindExtra, "D": reconcile.KindIndex, "E": reconcile.KindIndex, "F": reconcile.KindIndex, "H": reconcile.KindStale,
	}
	damaged := v.stored()

	t.Log("all of it is found, where it is, and nothing else")
	kinds := func(list []reconcile.Finding) map[string]reconcile.Kind {
		found := map[string]reconcile.Kind{}
		for i := range list {
			f := &list[i]
			if found[f.Key] = f.Kind; f.Region != "eu" || f.Projection != "delays" || !f.Outside {
				t.Errorf("the finding is %+v", f)
			}
			if f.Kind == reconcile.KindStale && f.FirstBad != sequence(t, position) {
				t.Errorf("the old version is wrong since %d, and it was %s", f.FirstBad, position)
			}
			for _, d := range f.Fields {
				if d.Expected != nil && *d.Expected != "<int>" || d.Found != nil && *d.Found != "<int>" {
					t.Errorf("it shows a value: %+v", d)
				}
			}
		}
		return found
	}
	d := look(1)
	if d.Result != "equal" || d.Deep.Findings != len(wanted) || len(d.Deep.Examined) != 6 || !maps.Equal(kinds(d.Deep.Examined[1].Report.Findings), wanted) {
		t.Errorf("found is %+v", d)
	}
	if d := look(0, "--region", "us"); len(d.Deep.Examined) != 3 || d.Deep.Findings != 0 {
		t.Errorf("of the other region it says %+v", d)
	}
	r := do(1, "verify", "delays", "--deep", "--region", "eu")
	for _, text := range []string{"altered", "total", "changed outside the log", "not in the list of keys", "not in the index by_total", "in the index by_total where it is not", "sequence " + fmt.Sprint(sequence(t, position))} {
		if !strings.Contains(r.out, text) {
			t.Errorf("it does not say %q:\n%s", text, r.out)
		}
	}
	if !strings.Contains(r.err, "read-model-damaged") || strings.Contains(r.out, "67") && strings.Contains(r.out, "total is") {
		t.Errorf("it says %+v", r)
	}
	if out := do(1, "verify", "delays", "--deep", "--reveal").out; !strings.Contains(out, "total is 67, should be 66") {
		t.Errorf("revealed is %s", out)
	}

	t.Log("what would be done, which changes nothing")
	var dry mending
	for range 2 {
		before := dry
		dry = decode[mending](t, do(0, "repair", "--dry-run", "-o", "json").out)
		if one := dry.planned(t); !dry.DryRun || !dry.Hidden || len(dry.Models) != 6 || one.Region != "eu" || one.Plan.Documents != len(wanted) || one.Plan.Findings != len(wanted) || one.Outcome != nil || !maps.Equal(kinds(one.Report.Findings), wanted) {
			t.Fatalf("the dry run is %+v", dry)
		}
		if before.DryRun && before.planned(t).Plan.Digest != dry.planned(t).Plan.Digest {
			t.Errorf("the same findings have the digests %+v and %+v", before.planned(t).Plan, dry.planned(t).Plan)
		}
	}
	if r := do(0, "repair", "delays", "--dry-run"); !strings.Contains(r.out, "nothing was changed") || !strings.Contains(r.err, "repair --resume") {
		t.Errorf("the dry run is %+v", r)
	}
	if r := do(2, "repair", "--region", "eu"); !strings.Contains(r.err, "7 documents of delays in eu") || !strings.Contains(r.err, "--yes") || !strings.Contains(r.out, "fold again") {
		t.Errorf("without a terminal it said %+v", r)
	}
	if !maps.Equal(v.stored(), damaged) {
		t.Error("something was changed")
	}

	t.Log("a paused projection has nobody to put it right")
	state := func(command, want string) {
		t.Helper()
		do(0, "projection", command, "delays")
		eventually(t, "eu knows", func() (bool, string) {
			for _, p := range decode[listed](t, do(0, "projection", "list", "--region", "eu", "-o", "json").out).Projections {
				if p.Name == "delays" {
					return p.State == want, p.State
				}
			}
			return false, "no such projection"
		})
	}
	state("pause", "paused")
	if p := do(1, "repair", "delays", "--yes", "-o", "json").problem(t); p.Error.Code != "projection-paused" {
		t.Errorf("the error is %+v", p)
	}
	state("resume", "active")

	t.Log("the plan is carried out, from whatever region it is")
	last := decode[mending](t, do(0, "repair", "--dry-run", "-o", "json").out).planned(t).Plan.ID
	if p := do(2, "repair", "--resume", dry.planned(t).Plan.ID, "--yes", "-o", "json").problem(t); p.Error.Code != "unknown-plan" { // a later one took its place
		t.Errorf("the error is %+v", p)
	}
	if p := do(2, "repair", "airports", "--resume", last, "--yes", "-o", "json").problem(t); p.Error.Code != "usage" {
		t.Errorf("the error is %+v", p)
	}
	if r := do(0, "repair", "--resume", last, "--dry-run"); !strings.Contains(r.out, last) || !strings.Contains(r.out, "nothing was changed") {
		t.Errorf("the dry run is %+v", r)
	}
	done := decode[mending](t, do(0, "repair", "--resume", last, "--yes", "-o", "json").out)
	if one := done.planned(t); len(done.Models) != 1 || one.Region != "eu" || one.Outcome == nil || one.Outcome.Repaired != len(wanted) || one.Left == nil || len(one.Left) != 0 {
		t.Fatalf("the repair is %+v", done)
	}
	if !maps.Equal(v.stored(), healthy) {
		t.Errorf("it is not as it was:\n%v\n%v", v.stored(), healthy)
	}
	again := decode[mending](t, do(0, "repair", "--resume", last, "--yes", "-o", "json").out).planned(t)
	if again.Outcome.Repaired+again.Outcome.Recounted != 0 || again.Outcome.Right != len(wanted) {
		t.Errorf("the same plan once more came to %+v", again.Outcome)
	}
	if r := do(0, "repair", "--yes"); !strings.Contains(r.out, "there is nothing to repair; nothing was changed") {
		t.Errorf("a second repair said %+v", r)
	}
	look(0)

	t.Log("in words")
	v.do("HINCRBY", v.doc("A"), "total", 1)
	if r := do(0, "repair", "delays", "--yes", "--deep", "--region", "eu"); !strings.Contains(r.out, "REPAIRED") || strings.Contains(r.err, "tidemark: ") {
		t.Errorf("the repair said %+v", r)
	}

	t.Log("what is no document has to be removed by a person; the rest is put right, and found, all the same")
	v.do("HINCRBY", v.doc("A"), "total", 1)
	v.do("DEL", v.doc("B"))
	v.do("SET", v.doc("B"), "x")
	v.do("SET", v.doc("Y"), "x")
	if d := look(1, "delays", "--region", "eu"); d.Deep.Findings != 3 || !d.Deep.Complete {
		t.Errorf("found is %+v", d)
	}
	if r := do(1, "repair", "delays", "--yes"); !strings.Contains(r.out, fmt.Sprintf("no document: partition %d, documents: %q; partition %d, documents: %q\n", projections.PartitionOf("Y", sixteen), "Y", projections.PartitionOf("B", sixteen), "B")) || !strings.Contains(r.out, "something that is no document") || !strings.Contains(r.err, "read-model-damaged") || !strings.Contains(r.err, "DEL") {
		t.Errorf("the repair said %+v", r)
	}
	if r := do(1, "repair", "delays", "--dry-run"); !strings.Contains(r.err, "2 names of delays in eu") || !strings.Contains(r.err, "DEL") {
		t.Errorf("with nothing but that the repair said %+v", r)
	}
	v.do("DEL", v.doc("B"), v.doc("Y"))
	if m := decode[mending](t, do(0, "repair", "--yes", "-o", "json").out); m.planned(t).Outcome.Repaired != 1 {
		t.Errorf("the repair is %+v", m)
	}
	if !maps.Equal(v.stored(), healthy) {
		t.Error("it is not as it was")
	}

	t.Log("a region that does not answer is not examined, and what is known to be wrong is worse")
	gone := region.Address{Region: "sa", Leader: "us", Origin: "us", NATS: "nats://127.0.0.1:1", Redis: "redis://127.0.0.1:1"}
	if err := os.Mkdir(filepath.Join(dir, "sa"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := gone.Save(filepath.Join(dir, "sa")); err != nil {
		t.Fatal(err)
	}
	if d := look(3, "delays"); d.Deep.Complete || len(d.Deep.Examined) != 3 || d.Deep.Examined[1].Unknown == nil || d.Deep.Examined[1].Unknown.Code != "unreachable" {
		t.Errorf("it says %+v", d)
	}
	if r := do(3, "repair", "--yes"); !strings.Contains(r.out, "there is nothing to repair") || !strings.Contains(r.err, "not-verified") {
		t.Errorf("the repair said %+v", r)
	}
	v.do("HINCRBY", v.doc("A"), "total", 1)
	look(1, "delays")
	if m := decode[mending](t, do(3, "repair", "delays", "--yes", "-o", "json").out); m.planned(t).Outcome.Repaired != 1 {
		t.Errorf("the repair is %+v", m)
	}
}

// TestWhereTooMuchIsWrongAReadModelIsToBeBuiltAnew: beyond the share nothing is changed, and the command is named.
func TestWhereTooMuchIsWrongAReadModelIsToBeBuiltAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "regions")
	startAll(t, dir, "--regions", "us", "--keep-wrong")
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, "", args...)
	}
	position := decode[struct{ Position string }](t, want(t, cli(t, "", importFlights(t, dir)...), 0).out).Position
	do(0, "list", "routes", "--at-least", position, "--wait", "60s")
	v := newVandal(t, dir, "us", "routes")
	healthy := v.stored()
	const bad = 120
	n := 0
	for _, key := range slices.Sorted(maps.Keys(healthy)) {
		if strings.Contains(key, "}:doc:") && n < bad {
			v.do("HINCRBY", key, "flights", 1)
			n++
		}
	}
	if n < bad {
		t.Fatalf("there are only %d documents", n)
	}
	damaged := v.stored()
	r := do(1, "repair", "--yes", "--share", "1%", "--region", "us")
	if !strings.Contains(r.err, "rebuild-needed") || !strings.Contains(r.err, "tidemark replay routes --from-start --region us") || !strings.Contains(r.out, "BUILD ANEW") || !strings.Contains(r.out, "and 70 findings more") {
		t.Errorf("it said %+v", r)
	}
	m := decode[mending](t, do(1, "repair", "--dry-run", "--share", "1%", "-o", "json").out)
	one := m.planned(t)
	if one.Plan.Rebuild == "" || one.Failed == nil || one.Failed.Code != "rebuild-needed" {
		t.Errorf("the plan is %+v", m)
	}
	if p := do(1, "repair", "--resume", one.Plan.ID, "--yes", "-o", "json").problem(t); p.Error.Code != "rebuild-needed" {
		t.Errorf("the error is %+v", p)
	}
	if !maps.Equal(v.stored(), damaged) {
		t.Error("something was changed")
	}
	if m := decode[mending](t, do(0, "repair", "--share", "100%", "--yes", "-o", "json").out); m.planned(t).Outcome.Repaired != bad {
		t.Errorf("the repair is %+v", m)
	}
	if !maps.Equal(v.stored(), healthy) {
		t.Error("it is not as it was")
	}
}
