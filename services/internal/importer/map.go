package importer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"tidemark.dev/events"
)

// Bounds of a map.
const (
	// MaxMapBytes bounds the text of a map.
	MaxMapBytes = 1 << 20
	// MaxRules bounds how many events a line can become.
	MaxRules = 100
	maxName  = 60
	maxData  = 100
)

// Map says which events a line becomes. ParseMap reads one.
type Map struct {
	name   string
	source string
	rules  []rule
	hash   string
}

// rule makes one event of a line.
type rule struct {
	typ    template
	entity template
	id     *template // nil: name, line and index
	time   *timeRule // nil: the event does not say when it happened
	data   []field   // nil: the whole line
}

type timeRule struct {
	field  path
	layout string // of Go's time package
}

// field is one field of the data.
type field struct {
	name string
	from path
}

// Name names the import, and its cursor.
func (m *Map) Name() string { return m.name }

// Hash is the SHA-256 of what the map says, in hexadecimal digits. Comments and layout are not in it.
func (m *Map) Hash() string { return m.hash }

// control is the name of the control record that holds the cursor.
func (m *Map) control() string { return events.ControlImport + "." + events.EncodeToken(m.name) }

// The normal form of a map, whose JSON is hashed. Every field is written, so that what was left out equals its default.
type normalMap struct {
	Name   string       `json:"name"`
	Source string       `json:"source"`
	Events []normalRule `json:"events"`
}

type normalRule struct {
	Type   string      `json:"type"`
	Entity string      `json:"entity"`
	ID     string      `json:"id"`
	Time   [2]string   `json:"time"`
	Data   [][2]string `json:"data"`
}

func (m *Map) seal() {
	normal := normalMap{Name: m.name, Source: m.source}
	for _, r := range m.rules {
		n := normalRule{Type: r.typ.source, Entity: r.entity.source, Data: [][2]string{}}
		if r.id != nil {
			n.ID = r.id.source
		}
		if r.time != nil {
			n.Time = [2]string{r.time.field.String(), r.time.layout}
		}
		for _, f := range r.data {
			n.Data = append(n.Data, [2]string{f.name, f.from.String()})
		}
		normal.Events = append(normal.Events, n)
	}
	text, err := json.Marshal(normal)
	if err != nil {
		panic(err) // strings always marshal
	}
	sum := sha256.Sum256(text)
	m.hash = hex.EncodeToString(sum[:])
}

func validName(s string) bool {
	return s != "" && len(s) <= maxName &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}
