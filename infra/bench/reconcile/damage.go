package main

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/reconcile"
)

// damaged is how many documents are damaged in each way.
const damaged = 10

// way is one way of damaging documents behind the projector's back.
type way struct {
	what string
	do   func(ctx context.Context, d *damage) error
	// folded says that nothing but folding whole partitions again finds it. It is not among those that are timed together.
	folded bool
	// quiet says that a document is right by itself, or is not there.
	quiet bool
}

// damage is done to some documents. It notes what has to be found.
type damage struct {
	*proof

	gen      projections.Generation
	hasher   *projections.Hasher
	entities []int
	want     map[finding]bool
}

func ways() []way {
	return []way{
		{what: "a field is edited", do: one(edited)},
		{what: "a field is edited, and the digest with it", do: one(forged), folded: true},
		{what: "a document is deleted", do: one(deleted)},
		{what: "a document is deleted with all that names it", do: one(vanished), quiet: true},
		{what: "a phantom is added", do: one(phantom)},
		{what: "an old version is put back", do: one(stale), quiet: true},
		{what: "an entry of an index is removed", do: one(entryRemoved), quiet: true},
		{what: "an entry of an index is added", do: one(entryAdded), quiet: true},
		{what: "documents of two partitions are swapped", do: swapped},
		{what: "a bit of the append-only file is flipped", do: flipped},
	}
}

// damages damages documents in each way, and then in all of them at once.
func (p *proof) damages(ctx context.Context) error {
	list := ways()
	for i, way := range list {
		if !p.c.each {
			break
		}
		p.table.head(fmt.Sprintf("%d documents: %s", damaged, way.what))
		d, err := p.newDamage(ctx)
		if err != nil {
			return err
		}
		d.choose(i, damaged)
		if err := way.do(ctx, d); err != nil {
			return fmt.Errorf("%s: %w", way.what, err)
		}
		if _, err := p.mended(ctx, "damaged so", d.want); err != nil {
			return fmt.Errorf("%s: %w", way.what, err)
		}
	}
	p.table.head(fmt.Sprintf("%d documents, in all of these ways at once; a field is edited where otherwise the digest was edited with it", damaged*len(list)))
	after, err := p.together(ctx, list, len(list))
	if err != nil {
		return err
	}
	p.timely(after)
	if !p.c.memory {
		yardstick, err := p.bareLog(ctx)
		if err != nil {
			return err
		}
		p.table.line("that is, of what reading the log takes", "%.2f x, for %s", after.Seconds()/yardstick.Seconds(), seconds(yardstick))
	}
	p.table.head("The same with other documents, and with a snapshot of the read model")
	if err := p.snapshotComes(ctx); err != nil {
		return err
	}
	if after, err = p.together(ctx, list, 2*len(list)); err != nil {
		return err
	}
	p.timely(after)
	p.table.head(fmt.Sprintf("The same with other documents, by the reconciler as it runs by itself, within %.0f %% of a core", 100*reconcile.DefaultBudget))
	if err := p.served(ctx, damaged, list, 3*len(list)); err != nil {
		return err
	}
	p.table.head("One document in each way that only sums and indexes show, by the reconciler")
	if err := p.served(ctx, 1, quiet(list), 4*len(list)); err != nil {
		return err
	}
	p.kept = nil
	p.unfollow()
	return p.follow(ctx, projector.Options{})
}

// timely requires that documents were repaired soon after they were read.
func (p *proof) timely(after time.Duration) {
	p.table.prove(after <= maxMended, "judged and repaired", "%s after the last document was read (at most %s); a whole scrub takes %s", seconds(after), seconds(maxMended), seconds(p.healthy))
}

// together damages the groups from one on in all ways at once, and returns how long after the last document was read they were repaired.
func (p *proof) together(ctx context.Context, list []way, from int) (after time.Duration, err error) {
	d, err := p.newDamage(ctx)
	if err != nil {
		return 0, err
	}
	if err := d.all(ctx, damaged, list, from); err != nil {
		return 0, err
	}
	return p.mended(ctx, "damaged so", d.want)
}

func (p *proof) newDamage(ctx context.Context) (*damage, error) {
	gen, err := p.generation(ctx)
	return &damage{proof: p, gen: gen, hasher: projections.NewHasher(p.proj.Definition()), want: map[finding]bool{}}, err
}

// quiet returns those ways of which a document does not show by itself.
func quiet(list []way) (some []way) {
	for _, w := range list {
		if w.quiet {
			some = append(some, w)
		}
	}
	return some
}

// choose takes some of the n-th group of quiet entities. They are spread over all partitions.
func (d *damage) choose(n, some int) {
	d.entities = d.entities[:0]
	for i := range some {
		d.entities = append(d.entities, (n*damaged+i)*quietEvery)
	}
}

// find notes that something has to be found.
func (d *damage) find(ref projections.Ref, kind reconcile.Kind, index, entry string) {
	d.want[finding{ref.Partition, ref.Key, kind, index, entry}] = true
}

// one does something to each document.
func one(do func(ctx context.Context, d *damage, entity int, ref projections.Ref) error) func(context.Context, *damage) error {
	return func(ctx context.Context, d *damage) error {
		for _, entity := range d.entities {
			if err := do(ctx, d, entity, d.refOf(entity, d.gen)); err != nil {
				return err
			}
		}
		return nil
	}
}

func (d *damage) tag(ref projections.Ref) string { return tag(d.gen, ref.Partition) }
func (d *damage) doc(ref projections.Ref) string { return d.tag(ref) + ":doc:" + ref.Key }

func edited(ctx context.Context, d *damage, _ int, ref projections.Ref) error {
	d.find(ref, reconcile.KindAltered, "", "")
	return d.redis.HIncrBy(ctx, d.doc(ref), "amount", 1).Err()
}

func forged(ctx context.Context, d *damage, entity int, ref projections.Ref) error {
	d.find(ref, reconcile.KindAltered, "", "")
	a := d.ledger.accounts[entity]
	a.Largest++
	return d.redis.HSet(ctx, d.doc(ref), d.ledger.hash(d.hasher, ref.Key, &a, d.ledger.sequence[entity])).Err()
}

func deleted(ctx context.Context, d *damage, _ int, ref projections.Ref) error {
	d.find(ref, reconcile.KindMissing, "", "")
	return only(d.redis.Del(ctx, d.doc(ref)))
}

func vanished(ctx context.Context, d *damage, entity int, ref projections.Ref) error {
	d.find(ref, reconcile.KindMissing, "", "")
	a := &d.ledger.accounts[entity]
	_, err := d.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, d.doc(ref))
		p.ZRem(ctx, d.tag(ref)+":keys", ref.Key)
		p.ZRem(ctx, d.tag(ref)+":idx:by_city", a.byCity()+ref.Key)
		p.ZRem(ctx, d.tag(ref)+":idx:by_amount", a.byAmount()+ref.Key)
		return nil
	})
	return err
}

// phantom adds a document that looks right. Every second one is in no list of keys and in no index.
func phantom(ctx context.Context, d *damage, entity int, _ projections.Ref) error {
	key := "phantom-" + strconv.Itoa(entity)
	ref := projections.Ref{Partition: projections.PartitionOf(key, d.gen.Partitions), Key: key}
	d.find(ref, reconcile.KindExtra, "", "")
	a := &d.ledger.accounts[entity]
	_, err := d.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, d.doc(ref), d.ledger.hash(d.hasher, key, a, d.ledger.sequence[entity]))
		if entity/quietEvery%2 == 0 {
			p.ZAdd(ctx, d.tag(ref)+":keys", redis.Z{Member: key})
			p.ZAdd(ctx, d.tag(ref)+":idx:by_city", redis.Z{Member: a.byCity() + key})
			p.ZAdd(ctx, d.tag(ref)+":idx:by_amount", redis.Z{Member: a.byAmount() + key})
		}
		return nil
	})
	return err
}

func stale(ctx context.Context, d *damage, entity int, ref projections.Ref) error {
	d.find(ref, reconcile.KindStale, "", "")
	was := d.ledger.before[entity]
	return d.redis.HSet(ctx, d.doc(ref), d.ledger.hash(d.hasher, ref.Key, &was.account, was.sequence)).Err()
}

func entryRemoved(ctx context.Context, d *damage, entity int, ref projections.Ref) error {
	a := &d.ledger.accounts[entity]
	index, member := "by_city", a.byCity()
	if entity/quietEvery%2 == 0 {
		index, member = "by_amount", a.byAmount()
	}
	d.find(ref, reconcile.KindIndex, index, reconcile.EntryMissing)
	return only(d.redis.ZRem(ctx, d.tag(ref)+":idx:"+index, member+ref.Key))
}

func entryAdded(ctx context.Context, d *damage, entity int, ref projections.Ref) error {
	a := d.ledger.accounts[entity]
	a.Amount, a.City = a.Amount+1, a.City+"x"
	index, member := "by_city", a.byCity()
	if entity/quietEvery%2 == 0 {
		index, member = "by_amount", a.byAmount()
	}
	d.find(ref, reconcile.KindIndex, index, reconcile.EntryExtra)
	return only(d.redis.ZAdd(ctx, d.tag(ref)+":idx:"+index, redis.Z{Member: member + ref.Key}))
}

// only requires that a command did what it should to one thing.
func only(c *redis.IntCmd) error {
	if n, err := c.Result(); err != nil || n != 1 {
		return fmt.Errorf("%s: it was done to %d (%w)", c, n, err)
	}
	return nil
}

// swapped puts documents of two partitions into each other's place, listed there, two by two.
func swapped(ctx context.Context, d *damage) error {
	for i := 0; i+1 < len(d.entities); i += 2 {
		a, b := d.refOf(d.entities[i], d.gen), d.refOf(d.entities[i+1], d.gen)
		if a.Partition == b.Partition { // there they would be where they belong: their contents change places
			if err := d.exchanged(ctx, a, b); err != nil {
				return err
			}
			continue
		}
		for _, move := range [][2]projections.Ref{{a, {Partition: b.Partition, Key: a.Key}}, {b, {Partition: a.Partition, Key: b.Key}}} {
			from, to := move[0], move[1]
			d.find(from, reconcile.KindMissing, "", "")
			d.find(to, reconcile.KindExtra, "", "")
			_, err := d.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.Rename(ctx, d.doc(from), d.doc(to))
				p.ZRem(ctx, d.tag(from)+":keys", from.Key)
				p.ZAdd(ctx, d.tag(to)+":keys", redis.Z{Member: to.Key})
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *damage) exchanged(ctx context.Context, a, b projections.Ref) error {
	d.find(a, reconcile.KindAltered, "", "")
	d.find(b, reconcile.KindAltered, "", "")
	first, err := d.redis.HGetAll(ctx, d.doc(a)).Result()
	if err != nil {
		return err
	}
	second, err := d.redis.HGetAll(ctx, d.doc(b)).Result()
	if err != nil {
		return err
	}
	for to, fields := range maps.All(map[string]map[string]string{d.doc(a): second, d.doc(b): first}) {
		if err := d.redis.HSet(ctx, to, fields).Err(); err != nil {
			return err
		}
	}
	return nil
}
