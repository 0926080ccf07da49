package redisstore_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const projectionPartitions = 16

func generation(partitions int) projections.Generation {
	return projections.Generation{Projection: "flights", Number: 1, Partitions: partitions}
}

func definition() *projections.Definition {
	return &projections.Definition{
		Name: "flights", Version: 1,
		Fields: []projections.Field{
			{Name: "name", Kind: projections.KindString}, {Name: "passengers", Kind: projections.KindInt},
			{Name: "status", Kind: projections.KindString}, {Name: "delay", Kind: projections.KindInt},
			{Name: "international", Kind: projections.KindBool},
		},
		Handles: []projections.Handles{{EventType: "landed", ByEntity: true}},
	}
}

func position(seq uint64) events.Position {
	return events.At(events.Point{Origin: "us", Lineage: "7f3a", Term: 1, Sequence: seq})
}

const owner = 7

func header(partition int, seq uint64) projections.Header {
	return projections.Header{
		Partition: partition, State: projections.Live, Owner: owner, Checkpoint: position(seq), Seen: events.Hash{1, byte(seq)},
		Applied: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Definition: definition().Fingerprint(),
	}
}

func document(key string, n int, seq uint64) projections.Document {
	d := projections.Document{
		Key: key, At: position(seq).String(),
		Values: []string{fmt.Sprintf("Flight %d", n), fmt.Sprint(31 * n), "departed", fmt.Sprint(n), fmt.Sprint(n%2 == 0)},
	}
	d.Digest = projections.NewHasher(definition()).Stored(&d)
	return d
}

func commit(partition int, from, to uint64, docs ...projections.Document) projections.Commit {
	c := projections.Commit{Partition: partition, Expect: position(from), Next: header(partition, to)}
	for _, d := range docs {
		c.Writes = append(c.Writes, projections.Write{Document: d})
	}
	return c
}

func wantCode(t testing.TB, err error, code events.Code) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("error = %v, want %s", err, code)
	}
}

func wantText(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("there is no error")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error does not say %q: %v", p, err)
		}
	}
}
