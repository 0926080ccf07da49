package projector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
)

// oracle folds the log a second time, plainly and with nothing of the packages under test, and keeps every version of every document. So it
// knows what a read model must hold at any sequence.
type oracle struct {
	kind    string
	version int

	terms   events.Terms
	records []events.Record
	repairs bool                  // documents were repaired: see checkChanges
	decided int                   // records[:decided] belong to transactions of which it is known whether they are whole
	spans   [][2]uint64           // first and last sequence of each whole transaction of several records
	docs    map[string][]expected // every version, in order
	strays  []stray

	folded   []*events.Record // of whole transactions, in order
	skips    []skipped        // recorded so far
	released int              // how many documents were folded again because of one
	again    int              // how many of them were parked again
	ignored  int              // records under the name of skip records that mean nothing
}

// expected is one version of a document.
type expected struct {
	seq               uint64 // of the event that made it
	exists            bool
	sum, chain, count int64
	note              string
	odd               bool
	at, parked        string // positions
}

// stray is an event whose document cannot be told.
type stray struct {
	seq  uint64
	name string // what its partition is computed from
}

func newOracle(kind string, version int) *oracle {
	return &oracle{kind: kind, version: version, docs: map[string][]expected{}}
}

// read takes over what the log holds now, faults or not. The log must not have been cut since the last time.
func (o *oracle) read(t testing.TB, log *memlog.Log) {
	t.Helper()
	ctx := context.Background()
	whole := log.Copy(math.MaxUint64)
	info, err := whole.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	o.terms = info.Terms
	for batch, err := range whole.Read(ctx, events.Range{From: uint64(len(o.records)) + 1}) {
		if err != nil {
			t.Fatal(err)
		}
		o.records = append(o.records, batch...)
	}
	o.decide()
}

// decide folds every record of which it is known whether its transaction is whole.
func (o *oracle) decide() {
	for o.decided < len(o.records) {
		r := &o.records[o.decided]
		n, i := int(r.Stamp.Tx.Count), int(r.Stamp.Tx.Index)
		if n <= 1 {
			o.apply(r)
			o.decided++
			continue
		}
		whole := i == 1
		for k := 1; whole && k < n; k++ {
			if o.decided+k == len(o.records) {
				return // still open
			}
			tx := o.records[o.decided+k].Stamp.Tx
			whole = int(tx.Count) == n && int(tx.Index) == k+1
		}
		if !whole {
			o.decided++ // void
			continue
		}
		o.spans = append(o.spans, [2]uint64{r.Sequence, r.Sequence + uint64(n) - 1})
		for k := range n {
			o.apply(&o.records[o.decided+k])
		}
		o.decided += n
	}
}

// head is the last sequence that a read model can reach.
func (o *oracle) head() uint64 { return uint64(o.decided) }

func (o *oracle) position(seq uint64) events.Position { return events.At(o.terms.Point("us", seq)) }

// boundary reports whether a checkpoint may stand at a sequence: not inside of a transaction.
func (o *oracle) boundary(seq uint64) bool {
	return seq <= o.head() && !slices.ContainsFunc(o.spans, func(s [2]uint64) bool { return s[0] <= seq && seq < s[1] })
}

func (o *oracle) apply(r *events.Record) {
	o.folded = append(o.folded, r)
	switch {
	case r.Kind == events.KindMalformed:
		o.strays = append(o.strays, stray{r.Sequence, r.Subject})
	case r.Kind == events.KindControl && r.Control.Name == "skip."+o.kind:
		o.skip(r)
	case r.Kind == events.KindEvent:
		effects, lost := o.effects(&r.Event)
		for range lost {
			o.strays = append(o.strays, stray{r.Sequence, r.Event.Entity.String()})
		}
		for _, key := range keysOf(effects) {
			o.touch(key, r)
		}
	}
}

// effect is something that an event does to a document.
type effect struct {
	key string
	few bool // only a small change can be applied
}

// effects returns what an event does, in order, and how often its document cannot be told.
func (o *oracle) effects(e *events.Event) (list []effect, lost int) {
	account := e.Entity.Type == accountType
	byTag := func(few bool) {
		if _, tag, ok := payload(e.Data); ok && tag != "" && tag != noKey {
			list = append(list, effect{tag, few})
			return
		}
		lost++
	}
	switch {
	case o.kind == "accounts" && account && (e.Type == added || e.Type == withdrawn || e.Type == closed):
		list = append(list, effect{key: e.Entity.ID})
	case o.kind == "tags" && (e.Type == added || e.Type == cleared):
		byTag(false)
	case o.kind == "both":
		if account && (e.Type == added || e.Type == closed) {
			list = append(list, effect{key: e.Entity.ID})
		}
		if e.Type == added || e.Type == cleared {
			byTag(e.Type == added)
		}
	}
	return list, lost
}

// keysOf returns the documents of some effects, each once.
func keysOf(effects []effect) (keys []string) {
	for _, f := range effects {
		if !slices.Contains(keys, f.key) {
			keys = append(keys, f.key)
		}
	}
	return keys
}

// payload reads the fields n and tag as the events of these tests have them.
func payload(data []byte) (n int64, tag string, ok bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil {
		return 0, "", false
	}
	if raw, has := fields["n"]; has {
		var err error
		if n, err = strconv.ParseInt(string(raw), 10, 64); err != nil {
			return 0, "", false
		}
	}
	if raw, has := fields["tag"]; has && json.Unmarshal(raw, &tag) != nil {
		return 0, "", false
	}
	return n, tag, true
}

// last returns the newest version of a document.
func (o *oracle) last(key string) expected {
	if versions := o.docs[key]; len(versions) > 0 {
		return versions[len(versions)-1]
	}
	return expected{}
}

// touch adds the version of a document that an event makes.
func (o *oracle) touch(key string, r *events.Record) {
	d := o.last(key)
	if d.exists && d.parked != "" {
		return
	}
	next, ok := o.change(key, d, r)
	if !ok {
		next = o.park(d, r)
	}
	next.seq, next.at = r.Sequence, o.position(r.Sequence).String()
	o.docs[key] = append(o.docs[key], next)
}

// park returns a document that stops at an event.
func (o *oracle) park(d expected, r *events.Record) expected {
	if !d.exists {
		d = expected{exists: true}
	}
	d.parked = o.position(r.Sequence).String()
	return d
}

// change returns what all the effects of an event make of a document, and false when one of them cannot be applied.
func (o *oracle) change(key string, d expected, r *events.Record) (expected, bool) {
	n, tag, ok := payload(r.Event.Data)
	n2 := n * int64(o.version)
	effects, _ := o.effects(&r.Event)
	for _, f := range effects {
		if f.key != key {
			continue
		}
		if !d.exists {
			d = expected{}
		}
		d.exists = true
		switch typ := r.Event.Type; {
		case !ok, typ == withdrawn && d.sum < n, typ == added && tag == boom, f.few && n > most:
			return d, false
		case typ == added:
			d.sum, d.chain, d.count, d.note, d.odd = d.sum+n2, d.chain*31+n2, d.count+1, tag, !d.odd
		case typ == withdrawn:
			d.sum, d.chain = d.sum-n, d.chain*31-n
		default:
			d.exists = false
		}
	}
	return d, true
}

// get returns a document at a sequence.
func (o *oracle) get(key string, seq uint64) (expected, bool) {
	versions := o.docs[key]
	i, found := slices.BinarySearchFunc(versions, seq, func(d expected, seq uint64) int {
		switch {
		case d.seq < seq:
			return -1
		case d.seq > seq:
			return 1
		}
		return 0
	})
	if found {
		for i+1 < len(versions) && versions[i+1].seq == seq { // one event may change a document twice
			i++
		}
	} else {
		i--
	}
	if i < 0 || !versions[i].exists {
		return expected{}, false
	}
	return versions[i], true
}

// seqOf returns the sequence of a checkpoint, and false when it is not of this history.
func (o *oracle) seqOf(p events.Position) (uint64, bool) {
	point, ok := p.Point("us")
	return point.Sequence, ok && p.Equal(o.position(point.Sequence))
}

func (d *expected) values() []string {
	return []string{
		strconv.FormatInt(d.sum, 10), strconv.FormatInt(d.chain, 10), strconv.FormatInt(d.count, 10), d.note, strconv.FormatBool(d.odd),
	}
}

// differs says how a stored or answered document differs from the expected one; empty when it does not.
func (d *expected) differs(at, parked string, values []string) string {
	place := parked
	for i := range parked {
		if parked[i] == ' ' {
			place = parked[:i]
			break
		}
	}
	if d.at == at && d.parked == place && slices.Equal(d.values(), values) {
		return ""
	}
	return fmt.Sprintf("it is %q at %s parked %q, expected %q at %s parked %q", values, at, place, d.values(), d.at, d.parked)
}

// partition returns what a partition's header must say at a sequence: the sum of its documents.
func (o *oracle) partition(h *projections.Hasher, number, of int, seq uint64) projections.Header {
	want := projections.Header{Partition: number, Checkpoint: o.position(seq)}
	for key := range o.docs {
		if projections.PartitionOf(key, of) != number {
			continue
		}
		d, ok := o.get(key, seq)
		if !ok {
			continue
		}
		want.Documents++
		if d.parked != "" {
			want.Parked++
		}
		want.Digest = want.Digest.Add(h.Document(key, d.at, d.parked, d.values()))
	}
	for _, s := range o.strays {
		if s.seq <= seq && projections.PartitionOf(s.name, of) == number {
			want.Unrouted++
			want.UnroutedLast = o.position(s.seq).String()
		}
	}
	if seq > 0 {
		want.Seen, want.Applied = o.records[seq-1].Fingerprint(), o.records[seq-1].Time
	}
	return want
}
