package redisstore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// sweepStep bounds the keys that one step removes, so that it holds the server up for less than a millisecond.
	sweepStep = 1_000
	// scanStep is how many keys the server looks at in one step of a walk through all of them.
	scanStep = 1_000
	// createTries bounds how often Create sweeps again because something appeared meanwhile.
	createTries = 3
	// sweptFor is how long Create relies on a walk through all keys that it made for another partition of the generation.
	sweptFor = time.Minute
)

// Create makes an absent partition, after it has removed what is left over of an earlier one. The documents that the list of keys names go first; then, once
// for all partitions of a generation, a walk through all keys of the server finds documents that it does not name, and indexes.
func (s *Store) Create(ctx context.Context, g projections.Generation, h projections.Header) error {
	const op = "create a partition"
	names := s.names.of(g).at(h.Partition)
	values := appendHeader(make([]string, 0, headerFields+1), &h)
	if h.State == projections.Live {
		values = append(values, changeBegin(&h))
	}
	for range createTries {
		if err := s.removeLeftovers(ctx, g, h.Partition); err != nil {
			return failure(ctx, op, err)
		}
		a, err := s.run(ctx, s.scripts.create, []string{names.head, names.keys, names.changes}, values...)
		switch {
		case err != nil:
			return failure(ctx, op, err)
		case a.code == 0:
			return nil
		case a.code == codeOwner:
			return exists(g, h.Partition, a)
		}
	}
	return events.Errorf(projections.ErrFenced, "partition %d of %s generation %d: somebody else writes into it; it was not created",
		h.Partition, g.Projection, g.Number).Hint("See who else uses this prefix, with CLIENT LIST.")
}

func exists(g projections.Generation, partition int, a answer) error {
	return events.Errorf(projections.ErrFenced, "partition %d of %s generation %d exists already, owned by %s; it was not touched",
		partition, g.Projection, g.Number, a.text())
}

func (s *Store) removeLeftovers(ctx context.Context, g projections.Generation, partition int) error {
	if err := s.sweepListed(ctx, g, partition); err != nil {
		return err
	}
	if s.swept.use(g, partition) {
		return nil
	}
	began := time.Now()
	occupied, err := s.sweepUnlisted(ctx, g, false)
	if err == nil {
		s.swept.add(g, partition, occupied, began)
	}
	return err
}

// Drop removes a generation in bounded steps: each partition's header first, so that nobody takes the rest for a read model, then what its
// list of keys names, then whatever else a walk through all keys finds. It can be repeated after an interruption.
func (s *Store) Drop(ctx context.Context, g projections.Generation) error {
	const op = "drop a generation"
	s.swept.forget(g)
	names := s.names.of(g)
	for i := range g.Partitions {
		if err := s.unlink(ctx, names.at(i).head); err != nil {
			return failure(ctx, op, err)
		}
		if err := s.sweepListed(ctx, g, i); err != nil {
			return failure(ctx, op, err)
		}
	}
	_, err := s.sweepUnlisted(ctx, g, true)
	return failure(ctx, op, err)
}

func (s *Store) unlink(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.client.Unlink(ctx, key).Err()
}

// sweepListed removes the documents that a partition without a header lists, the list, the change log, and the indexes that every read model has.
func (s *Store) sweepListed(ctx context.Context, g projections.Generation, partition int) error {
	names := s.names.of(g).at(partition)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		members, err := s.client.ZRange(ctx, names.keys, 0, sweepStep-1).Result()
		if err != nil && redis.HasErrorPrefix(err, "WRONGTYPE") {
			members, err = nil, nil // then it lists nothing, and goes
		}
		if err != nil {
			return err
		}
		if len(members) == 0 {
			return s.sweepOthers(ctx, g, partition, names.changes, names.marks, names.index+projections.ParkedIndexName, names.index+projections.ExpiryIndexName)
		}
		if err := s.sweepDocuments(ctx, g, partition, members); err != nil {
			return err
		}
	}
}

// sweepDocuments removes documents and their entries in the list of keys.
func (s *Store) sweepDocuments(ctx context.Context, g projections.Generation, partition int, members []string) error {
	names := s.names.of(g).at(partition)
	keys := append(make([]string, 0, 2+len(members)), names.head, names.keys)
	for _, m := range members {
		keys = append(keys, names.doc+m)
	}
	return s.sweep(ctx, g, partition, keys, members)
}

// sweepOthers removes other keys of a partition, and its list of keys.
func (s *Store) sweepOthers(ctx context.Context, g projections.Generation, partition int, others ...string) error {
	names := s.names.of(g).at(partition)
	return s.sweep(ctx, g, partition, append([]string{names.head, names.keys}, others...), nil)
}

func (s *Store) sweep(ctx context.Context, g projections.Generation, partition int, keys, members []string) error {
	a, err := s.run(ctx, s.scripts.sweep, keys, members...)
	if err == nil && a.code == codeOwner {
		err = exists(g, partition, a)
	}
	return err
}

// sweepUnlisted walks through all keys of every server and removes those of the generation. Partitions that have a header are left alone
// and returned, unless headers are to go too.
func (s *Store) sweepUnlisted(ctx context.Context, g projections.Generation, headers bool) (map[int]bool, error) {
	w := &walk{store: s, g: g, tag: s.names.of(g).tag, headers: headers, occupied: make(map[int]bool)}
	if s.cluster == nil {
		return w.occupied, w.node(ctx, s.client)
	}
	var mu sync.Mutex // one node after the other: a drop is not worth loading all of them
	err := s.cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		return w.node(ctx, node)
	})
	return w.occupied, err
}

// walk goes through all keys.
type walk struct {
	store    *Store
	g        projections.Generation
	tag      string
	headers  bool
	occupied map[int]bool
}

func (w *walk) node(ctx context.Context, node redis.Cmdable) error {
	for page, err := range scan(ctx, node, globEscape(w.tag)+"*") {
		if err == nil {
			err = w.remove(ctx, page)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leftovers are what a step of the walk found of one partition.
type leftovers struct {
	documents []string // their keys
	others    []string // names of keys
}

// remove removes what belongs to the generation among names.
func (w *walk) remove(ctx context.Context, names []string) error {
	found := make(map[int]*leftovers)
	for _, name := range names {
		partition, suffix, ok := cutName(w.tag, name)
		if !ok {
			continue
		}
		if found[partition] == nil {
			found[partition] = new(leftovers)
		}
		here := found[partition]
		member, isDoc := strings.CutPrefix(suffix, docInfix)
		switch {
		case isDoc:
			here.documents = append(here.documents, member)
		case suffix == keysSuffix, suffix == changesSuffix, suffix == marksSuffix, strings.HasPrefix(suffix, indexInfix):
			here.others = append(here.others, name)
		case suffix == headSuffix && w.headers:
			if err := w.store.unlink(ctx, name); err != nil {
				return err
			}
		case suffix == headSuffix:
			w.occupied[partition] = true
		}
	}
	for partition, here := range found {
		if err := w.sweep(ctx, partition, here); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what was found of a partition, unless it has a header.
func (w *walk) sweep(ctx context.Context, partition int, here *leftovers) error {
	var err error
	for list := here.documents; len(list) > 0 && err == nil; {
		step := list[:min(len(list), sweepStep)]
		err = w.store.sweepDocuments(ctx, w.g, partition, step)
		list = list[len(step):]
	}
	for list := here.others; len(list) > 0 && err == nil; {
		step := list[:min(len(list), sweepStep)]
		err = w.store.sweepOthers(ctx, w.g, partition, step...)
		list = list[len(step):]
	}
	if errors.Is(err, projections.ErrFenced) {
		w.occupied[partition] = true
		return nil
	}
	return err
}

// sweptPartitions remembers for which absent partitions a walk through all keys was made a moment ago, so that creating the partitions of
// a generation one after the other takes one walk, not one each.
type sweptPartitions struct {
	mu sync.Mutex
	at map[sweptPartition]time.Time
}

type sweptPartition struct {
	g         projections.Generation
	partition int
}

// use reports whether the partition was swept a moment ago. It says so once.
func (s *sweptPartitions) use(g projections.Generation, partition int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := sweptPartition{g: g, partition: partition}
	at, ok := s.at[p]
	delete(s.at, p)
	return ok && time.Since(at) < sweptFor
}

// add remembers a walk that began at a time and found some partitions occupied.
func (s *sweptPartitions) add(g projections.Generation, used int, occupied map[int]bool, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = make(map[sweptPartition]time.Time)
	}
	for p, at := range s.at {
		if time.Since(at) >= sweptFor {
			delete(s.at, p)
		}
	}
	for i := range g.Partitions {
		if i != used && !occupied[i] {
			s.at[sweptPartition{g: g, partition: i}] = began
		}
	}
}

func (s *sweptPartitions) forget(g projections.Generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.at {
		if p.g == g {
			delete(s.at, p)
		}
	}
}
