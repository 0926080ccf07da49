package events

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of an event. All in bytes unless said otherwise.
const (
	MaxEventIDBytes   = 256
	MaxSourceBytes    = 1_024
	MaxEventTypeBytes = 128
	MaxDataBytes      = 1 << 20
	MaxExtensions     = 16 // a count
	maxExtensionName  = 20
	MaxAttributeBytes = 1_024 // of any other attribute's value
)

// Event is an immutable fact in the past tense about one entity. Its attributes are those of CloudEvents 1.0; the
// entity is the CloudEvents subject.
type Event struct {
	// ID is unique among the events of Source. Two events with the same Source and ID are one event. NewID makes one.
	ID string
	// Source is a URI reference of what produced the event, for example urn:shop:checkout.
	Source string
	// Type is a name in the past tense, for example FlightDeparted: 1 to 128 characters of A-Z a-z 0-9 . _ -
	Type string
	// Entity is what the event is about.
	Entity Entity
	// Time is when it happened, as the producer says; zero when it does not say. Order never depends on it.
	Time time.Time
	// ContentType is the media type of Data; empty means application/json.
	ContentType string
	// Schema is a URI of the schema that Data follows; may be empty.
	Schema string
	// Extensions are further CloudEvents attributes, such as traceparent: names of [a-z0-9]{1,20}. May be nil.
	Extensions map[string]string
	// Observed is the position at which the writer had seen the entity when it decided this event; may be zero.
	// An append that expects an exact sequence fills it in.
	Observed Position
	// Data is the payload, stored untouched. At most 1 MiB.
	Data []byte
}

// JSONContentType is the media type of an event that does not name one.
const JSONContentType = "application/json"

// NewID returns a new random event id, ordered by time to the millisecond (UUID version 7, RFC 9562).
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])                            // never fails; it ends the process instead
	ms := uint64(time.Now().UnixMilli())              //nolint:gosec // after 1970
	binary.BigEndian.PutUint32(b[:4], uint32(ms>>16)) //nolint:gosec // the upper 32 of 48 bits
	binary.BigEndian.PutUint16(b[4:6], uint16(ms))    //nolint:gosec // the lower 16 bits
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// IsJSON reports whether the event's payload claims to be JSON.
func (e *Event) IsJSON() bool {
	return e.ContentType == "" || isJSONType(e.ContentType)
}

func isJSONType(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == JSONContentType || strings.HasSuffix(media, "+json")
}

// Validate returns ErrInvalidEvent, ErrInvalidEntity, ErrInvalidData, ErrImpossiblePosition or ErrTooLarge when the event must
// not be stored.
func (e *Event) Validate() error {
	if err := e.validateAttributes(); err != nil {
		return err
	}
	if len(e.Data) > MaxDataBytes {
		return Errorf(ErrTooLarge, "the data has %d bytes, over the bound of %d", len(e.Data), MaxDataBytes).
			Hint("Store it elsewhere and publish a reference.")
	}
	if e.IsJSON() && len(e.Data) > 0 {
		return CheckJSON(e.Data)
	}
	return nil
}

func (e *Event) validateAttributes() error {
	if err := e.Entity.Validate(); err != nil {
		return err
	}
	if err := attribute("id", e.ID, MaxEventIDBytes, true); err != nil {
		return err
	}
	if err := attribute("source", e.Source, MaxSourceBytes, true); err != nil {
		return err
	}
	if !validEventType(e.Type) {
		return Errorf(ErrInvalidEvent, "%q is not an event type", clip(e.Type)).
			Hint("Use 1 to %d characters of A-Z a-z 0-9 . _ -, for example FlightDeparted.", MaxEventTypeBytes)
	}
	if err := attribute("datacontenttype", e.ContentType, MaxAttributeBytes, false); err != nil {
		return err
	}
	if err := attribute("dataschema", e.Schema, MaxAttributeBytes, false); err != nil {
		return err
	}
	if y := e.Time.UTC().Year(); y < 1 || y > 9999 { // as it is written
		return Errorf(ErrInvalidEvent, "the time's year %d cannot be written in RFC 3339", y)
	}
	if err := e.validateExtensions(); err != nil {
		return err
	}
	if !e.Observed.valid() {
		return Errorf(ErrImpossiblePosition, "the observed position %q cannot be one", clip(e.Observed.String()))
	}
	return nil
}

func (e *Event) validateExtensions() error {
	if len(e.Extensions) > MaxExtensions {
		return Errorf(ErrTooLarge, "the event has %d extension attributes, over the bound of %d", len(e.Extensions), MaxExtensions)
	}
	if len(e.Extensions) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) { // of several mistakes, always the same is told
		value := e.Extensions[name]
		if !ValidExtensionName(name) {
			return Errorf(ErrInvalidEvent, "%q cannot be the name of an extension attribute", clip(name)).
				Hint("Use 1 to %d characters of a-z 0-9 that are not an attribute of CloudEvents itself and do not begin with tm.", maxExtensionName)
		}
		if err := attribute(name, value, MaxAttributeBytes, true); err != nil {
			return err
		}
	}
	return nil
}

// ValidExtensionName reports whether name may be the name of a CloudEvents extension attribute here: [a-z0-9]{1,20},
// none of the attributes of CloudEvents itself, and nothing beginning with tm, which is ours.
func ValidExtensionName(name string) bool {
	switch name {
	case "id", "source", "type", "specversion", "subject", "time", "datacontenttype", "dataschema", "data":
		return false
	}
	for i := range len(name) {
		if c := name[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9') {
			return false
		}
	}
	return name != "" && len(name) <= maxExtensionName && !strings.HasPrefix(name, "tm")
}

func validEventType(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= MaxEventTypeBytes
}

// attribute checks a text that becomes a header: bounded, UTF-8, without control characters, without blanks at its ends
// (a broker would trim them).
func attribute(name, value string, most int, required bool) error {
	if value == "" {
		if required {
			return Errorf(ErrInvalidEvent, "the event has no %s", name)
		}
		return nil
	}
	if len(value) > most {
		return Errorf(ErrTooLarge, "the event's %s has %d bytes, over the bound of %d", name, len(value), most)
	}
	bad := !utf8.ValidString(value) || strings.TrimSpace(value) != value || strings.ContainsFunc(value, func(r rune) bool {
		return r < ' ' || r >= 0x7f && r < 0xa0
	})
	if bad {
		return Errorf(ErrInvalidEvent, "the event's %s %q has a control character, a blank at its end, or is not UTF-8", name, clip(value))
	}
	return nil
}

// Hash is the first 128 bits of a SHA-256.
type Hash [16]byte

// IsZero reports whether h is not set.
func (h Hash) IsZero() bool { return h == Hash{} }

// String returns 22 characters of URL-safe base64.
func (h Hash) String() string { return base64.RawURLEncoding.EncodeToString(h[:]) }

const hashText = 22

func parseHash(s string) (h Hash, ok bool) {
	if len(s) != hashText || strings.IndexByte("AQgw", s[hashText-1]) < 0 { // the last character holds two bits only
		return h, false
	}
	var b [hashText]byte
	copy(b[:], s)
	n, err := base64.RawURLEncoding.Decode(h[:], b[:])
	return h, err == nil && n == len(h)
}

// ContentHash returns the hash of what the producer said: every attribute, and the payload, each with its length. It leaves out what
// differs between two attempts to publish the same event: the trace context and the observed position.
func (e *Event) ContentHash() Hash { return e.contentHash(e.timeText()) }

// contentHash is ContentHash for a reader, who has the text of the time already.
func (e *Event) contentHash(timeText string) Hash {
	var room [1_024]byte // on the stack: most events need no other
	b := room[:0]
	for _, s := range [...]string{e.Entity.Type, e.Entity.ID, e.ID, e.Source, e.Type, timeText, e.contentType(), e.Schema} {
		b = appendSized(b, s)
	}
	if len(e.Extensions) > 0 {
		names := make([]string, 0, MaxExtensions)
		for name := range e.Extensions {
			if name != traceParent && name != traceState {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			b = appendSized(appendSized(b, name), e.Extensions[name])
		}
	}
	b = append(b, 0) // the end of the names: no name is empty
	if len(b)+len(e.Data) <= len(room) {
		sum := sha256.Sum256(append(b, e.Data...))
		return Hash(sum[:16])
	}
	h := sha256.New() // a large payload is not copied
	h.Write(b)
	h.Write(e.Data)
	var sum [sha256.Size]byte
	return Hash(h.Sum(sum[:0])[:16])
}

func (e *Event) contentType() string {
	if e.ContentType == "" {
		return JSONContentType
	}
	return e.ContentType
}

func (e *Event) timeText() string {
	if e.Time.IsZero() {
		return ""
	}
	return e.Time.UTC().Format(time.RFC3339Nano)
}

// MessageID identifies the event to the broker: a hash of source and id, since ids are unique only per source.
func (e *Event) MessageID() string {
	var room [256]byte // on the stack: most sources and ids need no other
	sum := sha256.Sum256(append(appendSized(room[:0], e.Source), e.ID...))
	return Hash(sum[:16]).String()
}

func appendSized(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
