package topology

import "strings"

// kind is what a key holds.
type kind string

const (
	kindText   kind = "text"
	kindTexts  kind = "list"
	kindFlag   kind = "true or false"
	kindNumber kind = "number"
	kindSecret kind = "secret"
)

// key is a key of the file. The table of them is what the reader, the overrides, the schema and the README go by.
type key struct {
	path     string // below a region, or below an origin
	kind     kind
	required bool
	fallback string // what it is when it is left out, for a person
	example  string
	help     string
}

// regionKeys are the keys of a region, in the order in which they are shown.
func regionKeys() []key {
	return []key{
		{path: "nats.urls", kind: kindTexts, required: true, example: "[nats://nats-us:4222]",
			help: "One or several servers of the region's NATS cluster: nats:// or tls://, without credentials."},
		{path: "nats.domain", kind: kindText, fallback: "the region's name", example: "us",
			help: "JetStream domain of the servers. It must be the region's name: other regions reach them by it."},
		{path: "nats.user", kind: kindText, example: "tidemark",
			help: "User that logs in to NATS, together with password."},
		{path: "nats.password", kind: kindSecret, example: "{env: TIDEMARK_NATS_PASSWORD}",
			help: "Where the user's password is: {env: NAME} or {file: PATH}."},
		{path: "nats.creds", kind: kindSecret, example: "{file: /run/secrets/nats-us.creds}",
			help: "Where a NATS credentials file (JWT and seed) is, instead of user and password."},
		{path: "nats.tls.ca", kind: kindText, fallback: "the machine's", example: "ca.pem",
			help: "File with the certificate authorities that may vouch for the NATS servers."},
		{path: "nats.tls.cert", kind: kindText, example: "client.pem",
			help: "File with our certificate for NATS, together with key."},
		{path: "nats.tls.key", kind: kindText, example: "client-key.pem",
			help: "File with the certificate's private key."},
		{path: "nats.replicas", kind: kindNumber, fallback: "1", example: "3",
			help: "How many servers of the cluster keep each stream and bucket: 1, 3 or 5."},
		{path: "nats.fsync", kind: kindFlag, fallback: "false", example: "true",
			help: "The NATS servers sync to the disk before they acknowledge (sync_interval: always), so appends are grouped."},
		{path: "nats.keep_damaged", kind: kindFlag, fallback: "false", example: "true",
			help: "A mirror that its audit finds damaged is left as it is, instead of being deleted and copied anew from a leader that is not."},
		{path: "nats.log_from", kind: kindNumber, fallback: "1", example: "120000",
			help: "First sequence of the log that a region which mirrors it copies, for one that joins late with snapshots; what is below is read from the leader. A copy that exists stays as it was made."},
		{path: "redis.addresses", kind: kindTexts, required: true, example: "[redis://redis-us:6379]",
			help: "redis://host:port/database, rediss:// (TLS) or unix:///path, without credentials. Several only of a Redis Cluster."},
		{path: "redis.cluster", kind: kindFlag, fallback: "true if there are several addresses", example: "false",
			help: "The addresses are those of nodes of a Redis Cluster."},
		{path: "redis.user", kind: kindText, fallback: "Redis's default user", example: "tidemark",
			help: "User that logs in to Redis, together with password."},
		{path: "redis.password", kind: kindSecret, example: "{file: /run/secrets/redis-us}",
			help: "Where the password for Redis is: {env: NAME} or {file: PATH}."},
		{path: "redis.tls.ca", kind: kindText, fallback: "the machine's", example: "ca.pem",
			help: "File with the certificate authorities that may vouch for Redis; with rediss:// only."},
		{path: "redis.tls.cert", kind: kindText, example: "client.pem",
			help: "File with our certificate for Redis, together with key."},
		{path: "redis.tls.key", kind: kindText, example: "client-key.pem",
			help: "File with the certificate's private key."},
		{path: "redis.prefix", kind: kindText, fallback: DefaultPrefix, example: `"tm:"`,
			help: "Begins every key in Redis: 1 to 64 of A-Z a-z 0-9 : _ . -."},
		{path: "http", kind: kindText, example: "http://query-us:7070",
			help: "Base URL at which clients of other regions find this region's queries."},
	}
}

// originKeys are the keys of an origin.
func originKeys() []key {
	return []key{{path: "leader", kind: kindText, required: true, example: "us",
		help: "Name of the region that accepts the writes. Every other region mirrors it."}}
}

// childrenOf returns the names that may stand below a prefix.
func childrenOf(keys []key, prefix string) []string {
	var names []string
	for _, k := range keys {
		rest, below := strings.CutPrefix(k.path, prefix)
		if prefix != "" {
			rest, below = strings.CutPrefix(k.path, prefix+".")
		}
		if name, _, _ := strings.Cut(rest, "."); below && (len(names) == 0 || names[len(names)-1] != name) {
			names = append(names, name)
		}
	}
	return names
}
