package topology

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/events"
)

const (
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	// domainChars are those of a JetStream domain: a token of subjects, so neither dots nor wildcards.
	domainChars = letters + "_-"
	prefixChars = letters + ":_.-"
	maxDomain   = 64
	maxPrefix   = 64
)

// place is a region of the file together with what it says in it.
type place struct {
	*object
	region Region
	nats   []server
	redis  []server
}

// server is a server of a region, and where the file names it.
type server struct {
	address
	at *yaml.Node
}

// regions reads every region into t. The result is in the order of the file.
func (r *reader) regions(t *Topology, at, n *yaml.Node) []place {
	var places []place
	if n == nil {
		return nil
	}
	r.pairs(at, n, "regions", func(name string, k, v *yaml.Node) {
		switch {
		case len(places) == MaxRegions:
			r.find(k, ErrTooLarge, "there are more than %d regions, which is the bound", MaxRegions)
		case events.ValidateOrigin(name) != nil:
			r.find(k, ErrBadValue, "%q is not the name of a region: 1 to %d of a-z 0-9 -", clip(name), events.MaxOriginBytes)
		}
		if len(places) >= MaxRegions {
			return
		}
		label := "regions." + clip(name)
		p := place{object: r.object(label, name, k, v, regionKeys())}
		r.region(label, &p)
		places = append(places, p)
		t.Regions = append(t.Regions, p.region)
		t.settings = append(t.settings, r.settings(name, &p)...)
	})
	if len(n.Content) == 0 && n.Kind != yaml.AliasNode && (n.Kind == yaml.MappingNode || isNull(n)) {
		r.find(at, ErrMissingKey, "regions names no region")
	}
	slices.SortFunc(t.Regions, func(a, b Region) int { return cmp.Compare(a.Name, b.Name) })
	return places
}

// region fills in a region, and reports what is not possible in it.
func (r *reader) region(label string, p *place) {
	p.region = Region{
		Name: p.name,
		NATS: NATS{
			URLs: plain(p.values["nats.urls"].texts), Domain: p.name, Replicas: DefaultReplicas,
			User: p.values["nats.user"].text, Password: p.values["nats.password"].secret, Creds: p.values["nats.creds"].secret,
			TLS: r.tls(label, "nats.tls", p), Fsync: p.values["nats.fsync"].flag, KeepDamaged: p.values["nats.keep_damaged"].flag,
		},
		Redis: Redis{
			Addresses: plain(p.values["redis.addresses"].texts), Prefix: DefaultPrefix,
			User: p.values["redis.user"].text, Password: p.values["redis.password"].secret, TLS: r.tls(label, "redis.tls", p),
		},
	}
	if v, ok := p.get("nats.domain"); ok {
		switch p.region.NATS.Domain = v.text; {
		case len(v.text) > maxDomain || strings.Trim(v.text, domainChars) != "":
			r.find(v.node, ErrBadValue, "%s.nats.domain is not 1 to %d of A-Z a-z 0-9 _ -", label, maxDomain)
		case v.text != p.name:
			r.find(v.node, ErrUnsupported, "%s.nats.domain is %s, and must be the region's name: other regions reach its servers by it", label, v.text)
		}
	}
	if v, ok := p.get("nats.replicas"); ok {
		if p.region.NATS.Replicas = v.number; v.number != 1 && v.number != 3 && v.number != 5 {
			r.find(v.node, ErrBadValue, "%s.nats.replicas is %d, and must be 1, 3 or 5: an even number survives no more than the odd one below it",
				label, v.number)
		}
	}
	if v, ok := p.get("nats.log_from"); ok {
		switch {
		case v.number < 1:
			r.find(v.node, ErrBadValue, "%s.nats.log_from is %d, and must be a sequence of the log, which begins with 1", label, v.number)
		case v.number > 1:
			p.region.NATS.LogFrom = uint64(v.number)
		}
	}
	if v, ok := p.get("redis.prefix"); ok {
		if p.region.Redis.Prefix = v.text; len(v.text) > maxPrefix || strings.Trim(v.text, prefixChars) != "" {
			r.find(v.node, ErrBadValue, "%s.redis.prefix is not 1 to %d of A-Z a-z 0-9 : _ . -", label, maxPrefix)
		}
	}
	if v, ok := p.get("http"); ok {
		base, c := httpAddress(v.text)
		if p.region.HTTP = base; c != nil {
			r.find(v.node, c.code, "%s.http %s", label, c.message)
		}
	}
	r.natsServers(label, p)
	r.redisServers(label, p)
	r.natsLogin(label, p)
	r.redisLogin(label, p)
}

func plain(items []item) []string {
	texts := make([]string, len(items))
	for i, it := range items {
		texts[i] = it.text
	}
	return texts
}

func (r *reader) tls(label, prefix string, p *place) TLS {
	if cert, key := p.set(prefix+".cert"), p.set(prefix+".key"); cert != key {
		there, absent := "cert", "key"
		if key {
			there, absent = absent, there
		}
		r.find(p.values[prefix+"."+there].node, ErrContradiction, "%s.%s has %s without %s; a certificate needs both", label, prefix, there, absent)
	}
	path := func(name string) string { return r.path(p.values[prefix+"."+name].text) }
	return TLS{CA: path("ca"), Cert: path("cert"), Key: path("key")}
}

// servers checks the addresses of one kind: each of them, none twice, all of one scheme.
func (r *reader) servers(label, path string, p *place, parse func(string) (address, *complaint)) []server {
	v, ok := p.get(path)
	if !ok {
		return nil
	}
	var all []server
	for i, it := range v.texts {
		a, c := parse(it.text)
		if c != nil {
			r.find(it.node, c.code, "%s.%s[%d] %s", label, path, i, c.message)
			continue
		}
		switch {
		case slices.ContainsFunc(all, func(s server) bool { return s.address == a }):
			r.find(it.node, ErrDuplicateKey, "%s.%s names %s twice", label, path, a.host)
		case len(all) > 0 && all[0].scheme != a.scheme:
			r.find(it.node, ErrContradiction, "%s.%s mixes %s:// and %s://; use one for all servers of the region", label, path, all[0].scheme, a.scheme)
		}
		all = append(all, server{a, it.node})
	}
	return all
}

func (r *reader) natsServers(label string, p *place) {
	p.nats = r.servers(label, "nats.urls", p, natsAddress)
}

func (r *reader) redisServers(label string, p *place) {
	p.redis = r.servers(label, "redis.addresses", p, redisAddress)
	several := len(p.region.Redis.Addresses) > 1
	cluster, stated := p.get("redis.cluster")
	p.region.Redis.Cluster = several
	if stated {
		p.region.Redis.Cluster = cluster.flag
		if several && !cluster.flag {
			r.find(cluster.node, ErrContradiction, "%s.redis has several addresses, and cluster is false; several addresses are those of a Redis Cluster", label)
		}
	}
	for _, a := range p.redis {
		switch {
		case !p.region.Redis.Cluster:
		case a.database != "" && a.database != "0":
			r.find(a.at, ErrContradiction, "%s.redis is a Redis Cluster, which has only the database 0; the address names database %s", label, a.database)
		case a.scheme == "unix":
			r.find(a.at, ErrContradiction, "%s.redis is a Redis Cluster, whose nodes have no sockets; use redis:// addresses", label)
		}
	}
	if at := p.groups["redis.tls"]; at != nil && len(p.redis) > 0 && p.redis[0].scheme != "rediss" {
		r.find(at, ErrContradiction, "%s.redis.tls is given, and the address is not encrypted; write rediss:// to use TLS, or leave tls out", label)
	}
}

func (r *reader) natsLogin(label string, p *place) {
	user, password, creds := p.set("nats.user"), p.set("nats.password"), p.set("nats.creds")
	switch {
	case creds && (user || password):
		r.find(p.values["nats.creds"].node, ErrContradiction, "%s.nats has creds beside user or password; use one way to log in", label)
	case user && !password:
		r.find(p.values["nats.user"].node, ErrContradiction, "%s.nats has a user and no password; add password: {env: NAME} or {file: PATH}", label)
	case password && !user:
		r.find(p.values["nats.password"].node, ErrContradiction, "%s.nats has a password and no user; add user", label)
	}
}

func (r *reader) redisLogin(label string, p *place) {
	if p.set("redis.user") && !p.set("redis.password") {
		r.find(p.values["redis.user"].node, ErrContradiction, "%s.redis has a user and no password; add password: {env: NAME} or {file: PATH}", label)
	}
}

// settings lists what a region's keys are set to.
func (r *reader) settings(name string, p *place) []Setting {
	var all []Setting
	for _, k := range regionKeys() {
		v, ok := p.get(k.path)
		s := Setting{Key: "regions." + name + "." + k.path, Variable: RegionVariable(name, k.path), Value: k.fallback, From: "default"}
		if k.path == "nats.domain" {
			s.Value = name
		}
		if ok {
			s.Value, s.From = v.show(k.kind), r.where(v.node)
		}
		all = append(all, s)
	}
	return all
}

// show returns a value as text; of a secret only where it is.
func (v value) show(k kind) string {
	switch k {
	case kindTexts:
		return strings.Join(plain(v.texts), ",")
	case kindFlag:
		return strconv.FormatBool(v.flag)
	case kindNumber:
		return strconv.Itoa(v.number)
	case kindSecret:
		return v.secret.String()
	}
	return v.text
}
