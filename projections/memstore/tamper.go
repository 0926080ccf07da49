package memstore

import (
	"maps"
	"slices"

	"tidemark.dev/projections"
)

// What happens to a store behind its owner's back. None of these counts as a call.

// Snapshot is a copy of everything in a Store.
type Snapshot struct {
	partitions map[address]*partition
}

// Snapshot returns a copy of everything.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Snapshot{partitions: cloneAll(s.partitions)}
}

// Restore sets the store back to what it was at the snapshot, which stays usable.
func (s *Store) Restore(to *Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partitions = cloneAll(to.partitions)
}

// Flush removes everything.
func (s *Store) Flush() { s.Restore(&Snapshot{}) }

func cloneAll(in map[address]*partition) map[address]*partition {
	out := make(map[address]*partition, len(in))
	for a, p := range in {
		out[a] = p.clone()
	}
	return out
}

// EditDocument changes the stored fields of a document: those of the projection, _at, _digest and _parked. It reports whether there was
// one. Emptying the map removes the document and leaves its key in the index.
func (s *Store) EditDocument(g projections.Generation, ref projections.Ref, edit func(fields map[string]string)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partitions[at(g, ref.Partition)]
	if p == nil || p.documents[ref.Key] == nil {
		return false
	}
	edit(p.documents[ref.Key])
	if len(p.documents[ref.Key]) == 0 {
		delete(p.documents, ref.Key)
	}
	return true
}

// PutDocument stores fields under a key that is not in the index, whether or not the partition exists.
func (s *Store) PutDocument(g projections.Generation, ref projections.Ref, fields map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partition(g, ref.Partition).documents[ref.Key] = maps.Clone(fields)
}

// SpoilKey makes a key hold something that is no document, or ends that.
func (s *Store) SpoilKey(g projections.Generation, ref projections.Ref, spoilt bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.partition(g, ref.Partition); spoilt {
		p.foreign[ref.Key] = true
	} else {
		delete(p.foreign, ref.Key)
	}
}

// Unlist removes a key from the list of keys and leaves its document. It reports whether it was there.
func (s *Store) Unlist(g projections.Generation, ref projections.Ref) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := s.partition(g, ref.Partition).keys
	there := keys.members[ref.Key]
	keys.remove(ref.Key)
	return there
}

// EditHeader changes a partition's header. It reports whether there was one.
func (s *Store) EditHeader(g projections.Generation, partition int, edit func(*projections.Header)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partitions[at(g, partition)]
	if p == nil || !p.exists {
		return false
	}
	edit(&p.header)
	return true
}

// LoseHeader removes a partition's header and the list of its keys and leaves everything else behind, as an evicting server would.
func (s *Store) LoseHeader(g projections.Generation, partition int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.partitions[at(g, partition)]; p != nil {
		p.exists, p.header, p.keys = false, projections.Header{}, newSortedSet()
	}
}

// PutEntry puts an entry into an index, whether or not there is such a document.
func (s *Store) PutEntry(g projections.Generation, partition int, index, entry string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partition(g, partition).index(index).add(entry)
}

// DropEntry removes an entry from an index. It reports whether it was there.
func (s *Store) DropEntry(g projections.Generation, partition int, index, entry string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.partition(g, partition).index(index)
	there := x.members[entry]
	x.remove(entry)
	return there
}

// Entries returns the entries of an index, in order.
func (s *Store) Entries(g projections.Generation, partition int, index string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.partition(g, partition).indexes[index].between("", ""))
}

// SpoilIndex makes an index hold something else.
func (s *Store) SpoilIndex(g projections.Generation, partition int, index string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partition(g, partition).index(index).foreign = true
}

// PutMark puts a text among the recorded marks of a partition.
func (s *Store) PutMark(g projections.Generation, partition int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partition(g, partition).marks.add(text)
}

// DropMark removes a text from the recorded marks of a partition.
func (s *Store) DropMark(g projections.Generation, partition int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partition(g, partition).marks.remove(text)
}

// MarkTexts returns the recorded marks of a partition as they are stored.
func (s *Store) MarkTexts(g projections.Generation, partition int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.partition(g, partition).marks.between("", ""))
}

// SpoilMarks makes the recorded marks of a partition something else.
func (s *Store) SpoilMarks(g projections.Generation, partition int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partition(g, partition).marks.foreign = true
}

// SpoilChanges makes a change log hold something else.
func (s *Store) SpoilChanges(g projections.Generation, partition int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partition(g, partition).changes.foreign = true
}

// ChangeEntry is an entry of a change log.
type ChangeEntry struct {
	Sequence uint64
	Keys     []string
}

// EditChanges changes the entries of a change log.
func (s *Store) EditChanges(g projections.Generation, partition int, edit func([]ChangeEntry) []ChangeEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.partition(g, partition).changes
	l.entries = edit(slices.Clone(l.entries))
}

// ChangeLog returns a copy of the entries of a change log.
func (s *Store) ChangeLog(g projections.Generation, partition int) (list []ChangeEntry) {
	s.EditChanges(g, partition, func(entries []ChangeEntry) []ChangeEntry {
		list = entries
		return entries
	})
	return list
}

func (s *Store) partition(g projections.Generation, partition int) *partition {
	a := at(g, partition)
	p := s.partitions[a]
	if p == nil {
		p = newPartition()
		s.partitions[a] = p
	}
	return p
}
