package events

import (
	"strings"
	"unicode/utf8"
)

// Bounds of an entity's name. The encoded subject stays far below the 4,096 bytes at which a server closes the connection.
const (
	MaxTypeBytes = 64    // of an entity type
	MaxIDBytes   = 1_024 // of an entity id, before encoding
)

// Entity is the aggregate an event is about: airport/ORD. Type is a word of [A-Za-z0-9_-]; ID is any UTF-8 text.
type Entity struct {
	Type string
	ID   string
}

// String returns type/id.
func (e Entity) String() string { return e.Type + "/" + e.ID }

// IsZero reports whether e names nothing.
func (e Entity) IsZero() bool { return e == Entity{} }

// ParseEntity reads type/id. The id may itself contain slashes. It returns ErrInvalidEntity.
func ParseEntity(s string) (Entity, error) {
	typ, id, ok := strings.Cut(s, "/")
	if !ok {
		return Entity{}, Errorf(ErrInvalidEntity, "%q is not an entity", clip(s)).Hint("Write it as type/id, for example airport/ORD.")
	}
	e := Entity{Type: typ, ID: id}
	return e, e.Validate()
}

// Validate returns ErrInvalidEntity when the type or the id is out of bounds.
func (e Entity) Validate() error {
	switch {
	case e.Type == "":
		return Errorf(ErrInvalidEntity, "the entity has no type").Hint("Write it as type/id, for example airport/ORD.")
	case len(e.Type) > MaxTypeBytes:
		return Errorf(ErrInvalidEntity, "the entity type %q has %d bytes, over the bound of %d", clip(e.Type), len(e.Type), MaxTypeBytes)
	case !isWord(e.Type):
		return Errorf(ErrInvalidEntity, "the entity type %q has a character outside A-Z a-z 0-9 _ -", clip(e.Type))
	case e.ID == "":
		return Errorf(ErrInvalidEntity, "the entity of type %q has an empty id", e.Type)
	case len(e.ID) > MaxIDBytes:
		return Errorf(ErrInvalidEntity, "the id of %q has %d bytes, over the bound of %d", e.Type+"/"+clip(e.ID), len(e.ID), MaxIDBytes)
	case !utf8.ValidString(e.ID):
		return Errorf(ErrInvalidEntity, "the id of %q is not valid UTF-8", e.Type+"/"+clip(e.ID))
	}
	return nil
}

func isWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return s != ""
}

// clip bounds a text that goes into an error message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
