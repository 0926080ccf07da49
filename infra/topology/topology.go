package topology

import "slices"

// Where the file is looked for.
const (
	// FileVariable is the environment variable that names the topology file.
	FileVariable = "TIDEMARK_CONFIG"
	// DefaultFile is the topology file of a folder.
	DefaultFile = "tidemark.yaml"
)

// Defaults of keys that are left out.
const (
	// DefaultReplicas of streams and buckets.
	DefaultReplicas = 1
	// DefaultPrefix begins every key in Redis.
	DefaultPrefix = "tm:"
)

// Topology is what a topology file says, with the defaults and the overrides of the environment filled in. It holds references to secrets,
// never a secret itself, so it can be printed and logged.
type Topology struct {
	Version int `json:"version"`
	// Regions, sorted by name; at least one.
	Regions []Region `json:"regions"`
	// Origins, sorted by name; exactly one today.
	Origins []Origin `json:"origins"`

	settings []Setting
}

// Region is one region of a topology.
type Region struct {
	// Name is [a-z0-9-]{1,32}.
	Name  string `json:"name"`
	NATS  NATS   `json:"nats"`
	Redis Redis  `json:"redis"`
	// HTTP is the base URL at which clients of other regions find this one, without a slash at its end; empty: nobody is told.
	HTTP string `json:"http,omitempty"`
}

// NATS says where a region's NATS servers are, and how they are used.
type NATS struct {
	// URLs of one or several servers of the region's cluster: nats:// or tls://, without credentials.
	URLs []string `json:"urls"`
	// Domain is the JetStream domain.
	Domain string `json:"domain"`
	// User and Password log in; both or neither.
	User     string `json:"user,omitempty"`
	Password Secret `json:"password,omitzero"`
	// Creds is a NATS credentials file (JWT and seed), instead of User and Password.
	Creds Secret `json:"creds,omitzero"`
	TLS   TLS    `json:"tls,omitzero"`
	// Replicas of streams and buckets: 1, 3 or 5.
	Replicas int `json:"replicas"`
	// Fsync says that the servers sync to the disk before they acknowledge, so that concurrent appends had better share a batch.
	Fsync bool `json:"fsync"`
	// KeepDamaged leaves a mirror as it is that its audit finds damaged, instead of deleting and copying it anew from a leader that is not.
	KeepDamaged bool `json:"keep_damaged,omitempty"`
	// LogFrom is the first sequence that the region's mirror is made to hold; 0: it holds the whole log.
	LogFrom uint64 `json:"log_from,omitempty"`
}

// Redis says where a region's Redis is, and how it is used.
type Redis struct {
	// Addresses: redis://host:port[/database], rediss:// or unix:///path, without credentials. Several only of a Redis Cluster.
	Addresses []string `json:"addresses"`
	// Cluster says that the addresses are those of nodes of a Redis Cluster.
	Cluster  bool   `json:"cluster"`
	User     string `json:"user,omitempty"`
	Password Secret `json:"password,omitzero"`
	TLS      TLS    `json:"tls,omitzero"`
	// Prefix begins every key.
	Prefix string `json:"prefix"`
}

// TLS names the files of an encrypted connection, in PEM. The zero value uses the machine's certificate authorities, and no certificate of our own.
type TLS struct {
	CA   string `json:"ca,omitempty"`   // certificate authorities that are believed, instead of the machine's
	Cert string `json:"cert,omitempty"` // our certificate; together with Key
	Key  string `json:"key,omitempty"`  // its private key
}

// IsZero reports whether nothing is set.
func (t TLS) IsZero() bool { return t == TLS{} }

// Origin is one ordered history, and who accepts its writes.
type Origin struct {
	// Name is [a-z0-9-]{1,32}.
	Name string `json:"name"`
	// Leader is the name of the region that accepts the writes; every other region mirrors it.
	Leader string `json:"leader"`
}

// Origin returns the topology's only origin.
func (t *Topology) Origin() Origin { return t.Origins[0] }

// Region returns the region of a name.
func (t *Topology) Region(name string) (Region, bool) {
	i := slices.IndexFunc(t.Regions, func(r Region) bool { return r.Name == name })
	if i < 0 {
		return Region{}, false
	}
	return t.Regions[i], true
}

// RegionNames returns the names of the regions, sorted.
func (t *Topology) RegionNames() []string {
	names := make([]string, len(t.Regions))
	for i, r := range t.Regions {
		names[i] = r.Name
	}
	return names
}

// Leader returns the region that accepts the writes of the topology's origin.
func (t *Topology) Leader() Region {
	r, _ := t.Region(t.Origin().Leader)
	return r
}

// Mirrors returns the regions that do not lead the topology's origin, sorted by name.
func (t *Topology) Mirrors() []Region {
	leader := t.Origin().Leader
	return slices.DeleteFunc(slices.Clone(t.Regions), func(r Region) bool { return r.Name == leader })
}

// Settings returns every key of the file that can be set, what it is set to and by what, in the order of the file's keys.
func (t *Topology) Settings() []Setting { return slices.Clone(t.settings) }

// Setting is one key of a topology.
type Setting struct {
	// Key is the way to it: regions.us.nats.urls.
	Key string `json:"key"`
	// Variable of the environment that overrides it.
	Variable string `json:"variable"`
	// Value as text; of a secret only where it comes from; empty when it is not set.
	Value string `json:"value,omitempty"`
	// From is file:line:column, $VARIABLE, or "default".
	From string `json:"from"`
}
