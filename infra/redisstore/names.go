package redisstore

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"tidemark.dev/projections"
)

// The endings of a partition's keys. The braces before them are a hash tag: a Redis Cluster keeps a partition in one slot.
const (
	headSuffix    = ":head"
	keysSuffix    = ":keys"
	changesSuffix = ":changes"
	marksSuffix   = ":marks"
	indexInfix    = ":idx:"
	docInfix      = ":doc:"
)

// partitionNames are the keys of one partition.
type partitionNames struct {
	head    string // a hash: the header
	keys    string // a sorted set with score 0: the keys of the documents
	changes string // a list: the change log
	marks   string // a sorted set with score 0: the recorded marks
	index   string // the name of an index goes behind it; a sorted set with score 0: its entries, each a value and a document's key
	doc     string // a document's key goes behind it
}

// generationTag begins all keys of a generation.
func generationTag(prefix string, g projections.Generation) string {
	return prefix + "{" + g.Projection + "." + strconv.FormatUint(uint64(g.Number), 10) + "."
}

func namePartition(tag string, partition int) partitionNames {
	n := strconv.Itoa(partition)
	if len(n) < 2 {
		n = "0" + n
	}
	base := tag + n + "}"
	return partitionNames{
		head: base + headSuffix, keys: base + keysSuffix, changes: base + changesSuffix, marks: base + marksSuffix, index: base + indexInfix, doc: base + docInfix,
	}
}

// cutName takes a key of the generation apart: its partition, and what follows.
func cutName(tag, name string) (partition int, suffix string, ok bool) {
	rest, ok := strings.CutPrefix(name, tag)
	if !ok {
		return 0, "", false
	}
	number, suffix, ok := strings.Cut(rest, "}")
	partition, err := strconv.Atoi(number)
	return partition, suffix, ok && err == nil && partition >= 0 && partition < projections.MaxPartitions
}

// globEscape makes s stand for itself in a MATCH pattern.
func globEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}

// maxNamed bounds the generations whose names are kept. A region has a few; the bound is against a program that goes through thousands.
const maxNamed = 64

// names keeps the keys of the generations in use, because making them costs more than looking them up.
type names struct {
	prefix string

	mu    sync.RWMutex
	known map[projections.Generation]*generationNames
}

type generationNames struct {
	tag        string
	partitions []partitionNames
	// seen are the headers that were read last: while nothing is written they are read again and again.
	seen []atomic.Pointer[seenHeader]
}

// seenHeader is a header as it came, and what it says.
type seenHeader struct {
	raw    []byte
	header projections.Header
}

func newNames(prefix string) *names {
	return &names{prefix: prefix, known: make(map[projections.Generation]*generationNames)}
}

func (n *names) of(g projections.Generation) *generationNames {
	n.mu.RLock()
	known := n.known[g]
	n.mu.RUnlock()
	if known != nil {
		return known
	}
	made := &generationNames{tag: generationTag(n.prefix, g), partitions: make([]partitionNames, max(g.Partitions, 0)), seen: make([]atomic.Pointer[seenHeader], max(g.Partitions, 0))}
	for i := range made.partitions {
		made.partitions[i] = namePartition(made.tag, i)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.known) >= maxNamed {
		clear(n.known)
	}
	n.known[g] = made
	return made
}

// header reads the header of a partition, unless it is the one that was read last.
func (g *generationNames) header(partition int, raw []byte) (projections.Header, error) {
	if partition < 0 || partition >= len(g.seen) {
		return readHeader(partition, raw)
	}
	if last := g.seen[partition].Load(); last != nil && bytes.Equal(last.raw, raw) {
		return last.header, nil
	}
	h, err := readHeader(partition, raw)
	if err == nil {
		g.seen[partition].Store(&seenHeader{raw: raw, header: h})
	}
	return h, err
}

// at returns the keys of a partition.
func (g *generationNames) at(partition int) *partitionNames {
	if partition >= 0 && partition < len(g.partitions) {
		return &g.partitions[partition]
	}
	made := namePartition(g.tag, partition)
	return &made
}
