package events

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"time"
)

// Kind says what a record of the log is.
type Kind uint8

// The kinds of records.
const (
	// KindEvent: a domain event.
	KindEvent Kind = iota + 1
	// KindControl: a record of ours: genesis, import cursor, mark, …
	KindControl
	// KindMalformed: somebody stored a message under an event subject that is not an event. Record.Reason says why.
	// It keeps its sequence; what it means for a read model is the projection engine's decision, alike in every region.
	KindMalformed
	// KindMessage: a message of a stream that is not ours, as somebody stored it. What it means is for a projection to say.
	KindMessage
	// KindDeleted stands for the sequences First to Sequence, which a stream that is not ours held once and says were deleted.
	KindDeleted
	// KindEvicted stands for the sequences First to Sequence, which are before the first one that a stream that is not ours retains.
	KindEvicted
)

// Gone reports whether records of the kind stand for what a stream does not hold any more. Only a log whose Info says Sparse has any.
func (k Kind) Gone() bool { return k == KindDeleted || k == KindEvicted }

// Record is one message of the log.
type Record struct {
	Sequence uint64
	// Time is when the log's leader stored it. Every copy of the log has the same.
	Time    time.Time
	Kind    Kind
	Subject string
	Stamp   Stamp
	// Event is set for KindEvent; for KindMalformed only Entity (when the subject names one) and Data are, for KindMessage only Data is.
	Event Event
	// Header holds the headers of a KindMessage; nil when there are none, or when they cannot be read.
	Header Header
	// First is the first of the sequences that a record stands for whose kind is Gone.
	First uint64
	// Control is set for KindControl.
	Control Control
	// Reason says what is wrong with a KindMalformed record.
	Reason string
}

// Tx is a record's place in its transaction: Index of Count, from 1. A record written alone has the zero Tx.
type Tx struct {
	Index, Count uint16
}

// Alone reports whether the record is a transaction of its own.
func (t Tx) Alone() bool { return t.Count <= 1 }

// Stamp is what the log adds to a record: the tm header.
type Stamp struct {
	// Time is the writer's hybrid logical clock; 0 when the record was not written by this package.
	Time Timestamp
	Tx   Tx
	// Hash is the content hash; zero when the record was not written by this package.
	Hash Hash
	// Observed is what the writer had seen of the entity.
	Observed Position
	// Key refers to the key a payload is encrypted with. Reserved.
	Key string
}

// Control is a record that is not a domain event. Its name is one or more subject tokens, for example genesis or import.flights.
type Control struct {
	Name string
	Data []byte
}

// Names of control records.
const (
	// ControlGenesis is the log's first record. Data: Genesis as JSON.
	ControlGenesis = "genesis"
	// ControlTerm begins a new term. Data: Term as JSON.
	ControlTerm = "term"
	// ControlImport prefixes the cursor of an import: import.<encoded name>.
	ControlImport = "import"
)

// Genesis is the content of a log's first record.
type Genesis struct {
	Format  int     `json:"format"`
	Origin  string  `json:"origin"`
	Lineage Lineage `json:"lineage"`
}

// GenesisFormat is the version of the wire form that this package reads and writes.
const GenesisFormat = 1

// Term is the content of the record that begins a term: the first one its leader writes after a promotion. It repeats the
// lineage, because a mirror that spliced another history onto its own shows it there. Term 1 begins with the genesis.
type Term struct {
	Term    uint32  `json:"term"`
	Lineage Lineage `json:"lineage"`
}

// Fingerprint identifies a record among all histories: a hash of its sequence, broker time, subject and content hash.
// Two logs that agree in the fingerprint at a sequence hold the same record there.
func (r *Record) Fingerprint() Hash {
	b := make([]byte, 0, 64+len(r.Subject))
	b = binary.BigEndian.AppendUint64(b, r.Sequence)
	if !r.Kind.Gone() { // nobody knows when that was stored
		b = binary.BigEndian.AppendUint64(b, uint64(r.Time.UnixNano())) //nolint:gosec // the bits, whatever their sign
	}
	b = appendSized(b, r.Subject)
	h := r.Stamp.Hash
	switch {
	case !h.IsZero():
	case r.Kind == KindControl:
		h = r.Control.ContentHash()
	case r.Kind == KindMessage:
		h = r.messageHash()
	default:
		h = r.Event.ContentHash()
	}
	sum := sha256.Sum256(append(b, h[:]...))
	return Hash(sum[:16])
}

// messageHash returns the hash of what somebody else stored: every header, and the payload, each with its length.
func (r *Record) messageHash() Hash {
	b := binary.AppendUvarint(nil, uint64(len(r.Header)))
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		b = appendSized(b, name)
		b = binary.AppendUvarint(b, uint64(len(r.Header[name])))
		for _, value := range r.Header[name] {
			b = appendSized(b, value)
		}
	}
	sum := sha256.New()
	sum.Write(b)
	sum.Write(r.Event.Data)
	return Hash(sum.Sum(nil)[:16])
}

// Transactions keeps whole transactions only. Feed it contiguous records; it yields the ones that belong to a complete
// transaction and drops fragments: records i of n whose successor is not i+1 of n. Only a promotion after a cut leaves fragments.
type Transactions struct {
	open []Record
}

// Add takes the next record and appends to out what is now known to be whole.
func (t *Transactions) Add(out []Record, r Record) []Record {
	if r.Stamp.Tx.Alone() {
		t.open = t.open[:0]
		return append(out, r)
	}
	tx := r.Stamp.Tx
	if n := len(t.open); n > 0 {
		last := t.open[n-1].Stamp.Tx
		if tx.Count != last.Count || tx.Index != last.Index+1 {
			t.open = t.open[:0]
		}
	}
	if len(t.open) == 0 && tx.Index != 1 {
		return out
	}
	t.open = append(t.open, r)
	if tx.Index < tx.Count {
		return out
	}
	out = append(out, t.open...)
	t.open = t.open[:0]
	return out
}

// Open returns the number of records held back because their transaction is not complete yet.
func (t *Transactions) Open() int { return len(t.open) }

// Reset forgets an incomplete transaction.
func (t *Transactions) Reset() { t.open = t.open[:0] }
