package declared

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// The normal form of a file, whose JSON is hashed: what it means, without comments, layout, version and tests. It must never change for a file that
// is read today: a projection that runs is known by it.
type normalFile struct {
	Format int            `json:"format"`
	Fields [][3]string    `json:"fields"` // name, kind and what it keeps, default
	Upcast []normalUpcast `json:"upcast,omitempty"`
	On     []normalRule   `json:"on"`
	// Indexes are a name and its fields each.
	Indexes [][]string    `json:"indexes,omitempty"`
	Stream  *normalStream `json:"stream,omitempty"`
}

type normalStream struct {
	Name     string    `json:"name"`
	Origin   string    `json:"origin"`
	Subjects []string  `json:"subjects,omitempty"`
	Type     string    `json:"type"`
	Entity   [2]string `json:"entity"` // type, id
	Data     []string  `json:"data,omitempty"`
	Time     [2]string `json:"time"` // unit, value
	ID       string    `json:"id,omitempty"`
}

type normalUpcast struct {
	Events  []string    `json:"events"`
	When    string      `json:"when,omitempty"`
	Rename  [][2]string `json:"rename,omitempty"`
	Default [][2]string `json:"default,omitempty"`
	Set     [][2]string `json:"set,omitempty"`
}

type normalRule struct {
	Events []string     `json:"events"`
	Entity string       `json:"entity,omitempty"`
	When   string       `json:"when,omitempty"`
	Key    string       `json:"key,omitempty"`
	Do     []normalStep `json:"do"`
}

type normalStep struct {
	When    string      `json:"when,omitempty"`
	Actions [][3]string `json:"actions"` // verb, field, value
}

// normalFormat is raised when the same file comes to mean something else.
const normalFormat = 1

func (n *normalFile) hash() string {
	n.Format = normalFormat
	text, err := json.Marshal(n)
	if err != nil {
		panic(err) // strings always marshal
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
