package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// quietEvery is how many entities there are for each that is left alone while events are written: what is damaged is chosen among these, so that what has to be found is known exactly.
const quietEvery = 50

// ledger is what this program knows of what it wrote.
type ledger struct {
	c       *config
	random  *rand.Rand
	written int // events

	mu       sync.Mutex
	accounts []account
	sequence []uint64 // of the last event of each
	before   map[int]version
	cities   map[string]string // each text once: a million of them would be work for the collector that is measured with everything else
	position string            // of a record, without its sequence
}

// version is a document as it was once.
type version struct {
	account  account
	sequence uint64
}

func newLedger(c *config) *ledger {
	return &ledger{
		c: c, random: rand.New(rand.NewPCG(7, 8)), //nolint:gosec // the same log each time
		accounts: make([]account, c.documents), sequence: make([]uint64, c.documents), before: map[int]version{}, cities: map[string]string{},
	}
}

// entity returns which entity an event of the log is about: first of each one, then of each quiet one, then of any other.
func (l *ledger) entity(i int) int {
	quiet := (l.c.documents + quietEvery - 1) / quietEvery
	switch {
	case i < l.c.documents:
		return i
	case i < l.c.documents+quiet:
		return (i - l.c.documents) * quietEvery
	}
	return l.busy()
}

// busy returns an entity that is not quiet.
func (l *ledger) busy() int {
	for {
		if n := l.random.IntN(l.c.documents); n%quietEvery != 0 {
			return n
		}
	}
}

func (l *ledger) enter(entity int, b *booking, receipt *events.Receipt) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	number := strconv.FormatUint(receipt.First, 10)
	position, ok := strings.CutSuffix(receipt.Position.String(), number)
	if !ok || l.position != "" && position != l.position {
		return fmt.Errorf("the position %s does not go on with %s", receipt.Position, l.position)
	}
	l.position = position
	if entity%quietEvery == 0 {
		l.before[entity] = version{l.accounts[entity], l.sequence[entity]}
	}
	a := fold(l.accounts[entity], b)
	if _, known := l.cities[a.City]; !known {
		l.cities[a.City] = a.City
	}
	a.City = l.cities[a.City]
	l.accounts[entity], l.sequence[entity] = a, receipt.First
	return nil
}

// at returns the version that a document is stored with.
func (l *ledger) at(sequence uint64) string { return l.position + strconv.FormatUint(sequence, 10) }

// hash returns what is stored of a document.
func (l *ledger) hash(h *projections.Hasher, key string, a *account, sequence uint64) map[string]string {
	values, at := a.values(), l.at(sequence)
	return map[string]string{
		"count": values[0], "amount": values[1], "largest": values[2], "last": values[3], "city": values[4], "_at": at, "_digest": h.Document(key, at, "", values).String(),
	}
}

// audit compares everything that is stored with the ledger, by plain commands and the documented names: every document, list of keys, index and header. Nobody may write. It returns how many
// documents it compared.
func (l *ledger) audit(ctx context.Context, client *redis.Client, def *projections.Definition, gen projections.Generation) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	parts := make([][]int, gen.Partitions)
	for entity := range l.accounts {
		n := projections.PartitionOf(l.c.key(entity), gen.Partitions)
		parts[n] = append(parts[n], entity)
	}
	documents := 0
	hasher := projections.NewHasher(def)
	for n, entities := range parts {
		if err := l.auditPartition(ctx, client, hasher, gen, n, entities); err != nil {
			return documents, err
		}
		documents += len(entities)
	}
	return documents, l.auditNames(ctx, client, gen)
}

// auditNames looks for documents that nobody made, or that are where they do not belong.
func (l *ledger) auditNames(ctx context.Context, client *redis.Client, gen projections.Generation) error {
	known := make(map[string]bool, len(l.accounts))
	tags := make([]string, gen.Partitions)
	for n := range tags {
		tags[n] = tag(gen, n) + ":doc:"
	}
	for entity := range l.accounts {
		key := l.c.key(entity)
		known[tags[projections.PartitionOf(key, gen.Partitions)]+key] = true
	}
	for cursor := uint64(0); ; {
		page, next, err := client.Scan(ctx, cursor, prefix(gen)+"*:doc:*", 10_000).Result()
		if err != nil {
			return err
		}
		for _, found := range page {
			if !known[found] {
				return fmt.Errorf("there is %q, which nobody made", found)
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func prefix(gen projections.Generation) string {
	return fmt.Sprintf("tm:{%s.%d.", gen.Projection, gen.Number)
}

// tag begins the names of a partition.
func tag(gen projections.Generation, partition int) string {
	return fmt.Sprintf("%s%02d}", prefix(gen), partition)
}

func (l *ledger) auditPartition(ctx context.Context, client *redis.Client, hasher *projections.Hasher, gen projections.Generation, n int, entities []int) error {
	names := tag(gen, n)
	keys, byCity, byAmount := make([]string, len(entities)), make([]string, len(entities)), make([]string, len(entities))
	var sum projections.Digest
	for from := 0; from < len(entities); from += 1_000 {
		chunk := entities[from:min(from+1_000, len(entities))]
		p := client.Pipeline()
		stored := make([]*redis.MapStringStringCmd, len(chunk))
		for i, entity := range chunk {
			stored[i] = p.HGetAll(ctx, names+":doc:"+l.c.key(entity))
		}
		if _, err := p.Exec(ctx); err != nil {
			return err
		}
		for i, entity := range chunk {
			a, key := &l.accounts[entity], l.c.key(entity)
			want, got := l.hash(hasher, key, a, l.sequence[entity]), stored[i].Val()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				return fmt.Errorf("the document %s in partition %d is %v, expected %v", key, n, got, want)
			}
			d, _ := projections.ParseDigest(want["_digest"])
			sum = sum.Add(d)
			keys[from+i], byCity[from+i], byAmount[from+i] = key, a.byCity()+key, a.byAmount()+key
		}
	}
	for set, want := range map[string][]string{":keys": keys, ":idx:by_city": byCity, ":idx:by_amount": byAmount, ":idx:_parked": nil, ":idx:_expires": nil} {
		got, err := client.ZRange(ctx, names+set, 0, -1).Result()
		if err != nil {
			return err
		}
		if slices.Sort(want); !slices.Equal(got, want) {
			return fmt.Errorf("%s%s has %d members, and not the %d that it should: %s", names, set, len(got), len(want), firstDifference(got, want))
		}
	}
	head, err := client.HMGet(ctx, names+":head", "docs", "digest", "parked").Result()
	if err != nil {
		return err
	}
	if want := []any{strconv.Itoa(len(entities)), sum.String(), "0"}; fmt.Sprint(head) != fmt.Sprint(want) {
		return fmt.Errorf("the header of partition %d says %v, expected %v", n, head, want)
	}
	return nil
}

func firstDifference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return fmt.Sprintf("%q, expected %q", got[i:min(i+1, len(got))], want[i:min(i+1, len(want))])
		}
	}
	return "nothing differs"
}
