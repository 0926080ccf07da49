package topology

import (
	"cmp"
	"slices"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/events"
)

// origins reads every origin into t, and checks that regions lead them.
func (r *reader) origins(t *Topology, at, n *yaml.Node, places []place) {
	if n == nil {
		return
	}
	regions := map[string]bool{}
	for i := range places {
		regions[places[i].name] = true
	}
	r.pairs(at, n, "origins", func(name string, k, v *yaml.Node) {
		if events.ValidateOrigin(name) != nil {
			r.find(k, ErrBadValue, "%q is not the name of an origin: 1 to %d of a-z 0-9 -", clip(name), events.MaxOriginBytes)
		}
		o := r.object("origins."+clip(name), name, k, v, originKeys())
		leader, ok := o.get("leader")
		if ok && len(regions) > 0 && !regions[leader.text] {
			r.find(leader.node, ErrBadValue, "the leader of origin %s is %q, which is no region of this file%s", clip(name), clip(leader.text),
				didYouMean(leader.text, names(regions)))
		}
		for i := range places {
			if p := &places[i]; ok && p.name == leader.text && p.region.NATS.LogFrom > 1 {
				r.find(p.values["nats.log_from"].node, ErrContradiction,
					"the region %s leads origin %s, whose log begins with sequence 1, and nats.log_from is %d; only a region that mirrors the log can begin later",
					p.name, clip(name), p.region.NATS.LogFrom)
			}
		}
		if len(t.Origins) == 1 {
			r.find(k, ErrUnsupported, "a second origin, %s, is not supported yet: the format allows several, this program runs exactly one", clip(name))
		}
		t.Origins = append(t.Origins, Origin{Name: name, Leader: leader.text})
		s := Setting{Key: "origins." + name + ".leader", Variable: OriginVariable(name, "leader"), Value: leader.text, From: "default"}
		if ok {
			s.From = r.where(leader.node)
		}
		t.settings = append(t.settings, s)
	})
	if len(n.Content) == 0 && (n.Kind == yaml.MappingNode || isNull(n)) {
		r.find(at, ErrMissingKey, "origins names no origin; write the name of a history and its leader, for example us: {leader: us}")
	}
	slices.SortFunc(t.Origins, func(a, b Origin) int { return cmp.Compare(a.Name, b.Name) })
}

// compare reports what two regions cannot share. The finding is at the later one.
func (r *reader) compare(places []place) {
	for i := range places {
		for j := range i {
			r.compareNATS(&places[j], &places[i])
			r.compareRedis(&places[j], &places[i])
			a, b := places[j].region.HTTP, places[i].region.HTTP
			if a != "" && a == b {
				r.find(places[i].values["http"].node, ErrContradiction, "the regions %s and %s have the same http: a query would be answered by the wrong one",
					places[j].name, places[i].name)
			}
		}
	}
}

func (r *reader) compareNATS(first, second *place) {
	for _, a := range second.nats {
		if slices.ContainsFunc(first.nats, func(b server) bool { return a.host == b.host }) {
			r.find(second.values["nats.urls"].node, ErrContradiction, "the regions %s and %s have the same NATS server, %s; each region needs servers of its own",
				first.name, second.name, a.host)
			return
		}
	}
}

func (r *reader) compareRedis(first, second *place) {
	if first.region.Redis.Prefix != second.region.Redis.Prefix {
		return
	}
	for _, a := range second.redis {
		if slices.ContainsFunc(first.redis, func(b server) bool { return a.host == b.host && database(a.address) == database(b.address) }) {
			r.find(second.values["redis.addresses"].node, ErrContradiction,
				"the regions %s and %s have the same Redis, %s, and the same prefix; one would overwrite the other's read models", first.name, second.name, a.host)
			return
		}
	}
}

func database(a address) string { return cmp.Or(a.database, "0") }
