package topology_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/infra/topology"
)

// small is the least that a file must say.
const small = `version: 1
regions:
  us:
    nats:
      urls: [nats://nats-us:4222]
    redis:
      addresses: [redis://redis-us:6379]
origins:
  us: {leader: us}
`

func parse(t *testing.T, text string, env ...string) *topology.Topology {
	t.Helper()
	topo, err := topology.Parse("tidemark.yaml", []byte(text), env)
	if err != nil {
		t.Fatal(err)
	}
	return topo
}

// findings returns what is wrong with a text, as "where: code".
func findings(t *testing.T, text string, env ...string) (short []string, all []topology.Finding) {
	t.Helper()
	_, err := topology.Parse("tidemark.yaml", []byte(text), env)
	if err == nil {
		return nil, nil
	}
	invalid, ok := errors.AsType[*topology.Invalid](err)
	if code, coded := events.CodeOf(err); !ok || !errors.Is(err, topology.ErrInvalid) || !coded || code != topology.ErrInvalid {
		t.Fatalf("the error is no finding: %v", err)
	}
	for _, f := range invalid.Findings {
		short = append(short, f.Where()+": "+string(f.Code))
	}
	return short, invalid.Findings
}

func TestTheExampleIsRead(t *testing.T) {
	topo := parse(t, topology.Example())
	if got := strings.Join(topo.RegionNames(), " "); got != "ap eu us" {
		t.Errorf("the regions are %s", got)
	}
	if o := topo.Origin(); o != (topology.Origin{Name: "us", Leader: "us"}) || topo.Leader().Name != "us" {
		t.Errorf("the origin is %+v", o)
	}
	if m := topo.Mirrors(); len(m) != 2 || m[0].Name != "ap" || m[1].Name != "eu" {
		t.Errorf("the mirrors are %+v", m)
	}
	us, ok := topo.Region("us")
	want := topology.Region{
		Name: "us",
		NATS: topology.NATS{
			URLs: []string{"nats://nats-us:4222"}, Domain: "us", User: "tidemark", Password: topology.Secret{Env: "NATS_PASSWORD_US"}, Replicas: 1, Fsync: true,
		},
		Redis: topology.Redis{
			Addresses: []string{"redis://redis-us:6379"}, User: "tidemark", Password: topology.Secret{Env: "REDIS_PASSWORD_US"}, Prefix: "tm:",
		},
		HTTP: "http://query-us:7070",
	}
	if !ok || !reflect.DeepEqual(us, want) {
		t.Errorf("us is\n%+v, want\n%+v", us, want)
	}
	if _, ok := topo.Region("mars"); ok {
		t.Error("a region that is not there was found")
	}
}

func TestTheExamplesOfTheReferenceCanBeUncommented(t *testing.T) {
	text := strings.NewReplacer("      # tls: {ca: ca.pem, cert", "      tls: {ca: ca.pem, cert", "      # cluster: true", "      cluster: true").Replace(topology.Example())
	us, _ := parse(t, text).Region("us")
	if us.NATS.TLS.Cert != "client.pem" || !us.Redis.Cluster {
		t.Errorf("us is %+v", us)
	}
}

func TestWhatIsLeftOutHasADefault(t *testing.T) {
	us, _ := parse(t, small).Region("us")
	if us.NATS.Domain != "us" || us.NATS.Replicas != 1 || us.NATS.Fsync || us.Redis.Cluster || us.Redis.Prefix != redisstore.DefaultPrefix || us.HTTP != "" {
		t.Errorf("us is %+v", us)
	}
	if !us.NATS.Password.IsZero() || !us.NATS.TLS.IsZero() {
		t.Errorf("us is %+v", us)
	}
}

func TestSeveralRedisAddressesAreACluster(t *testing.T) {
	text := strings.Replace(small, "[redis://redis-us:6379]", "[redis://a:1, redis://b:2]", 1)
	if us, _ := parse(t, text).Region("us"); !us.Redis.Cluster {
		t.Errorf("us is %+v", us)
	}
}

func TestPathsBeginAtTheFolderOfTheFile(t *testing.T) {
	text := strings.Replace(small, "nats-us:4222]", "nats-us:4222]\n      user: u\n      password: {file: secrets/us}\n      tls: {ca: /etc/ca.pem, cert: c.pem, key: k.pem}", 1)
	topo, err := topology.Parse("/etc/tidemark/tidemark.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	us, _ := topo.Region("us")
	if us.NATS.Password.File != "/etc/tidemark/secrets/us" || us.NATS.TLS != (topology.TLS{CA: "/etc/ca.pem", Cert: "/etc/tidemark/c.pem", Key: "/etc/tidemark/k.pem"}) {
		t.Errorf("us is %+v", us)
	}
}

func TestARegionThatMirrorsTheLogCanBeginLater(t *testing.T) {
	two := strings.Replace(small, "origins:", "  eu:\n    nats:\n      urls: [nats://nats-eu:4222]\n      log_from: 120000\n    redis:\n      addresses: [redis://redis-eu:6379]\norigins:", 1)
	topo := parse(t, two)
	if eu, _ := topo.Region("eu"); eu.NATS.LogFrom != 120_000 {
		t.Errorf("eu is %+v", eu)
	}
	if eu, _ := parse(t, two, "TIDEMARK_REGIONS_EU_NATS_LOG_FROM=7").Region("eu"); eu.NATS.LogFrom != 7 {
		t.Errorf("with a variable eu is %+v", eu)
	}
	if eu, _ := parse(t, two, "TIDEMARK_REGIONS_EU_NATS_LOG_FROM=1").Region("eu"); eu.NATS.LogFrom != 0 {
		t.Errorf("from the beginning eu is %+v", eu)
	}
	for value, code := range map[string]string{"0": "config-bad-value", "-5": "config-bad-value", "soon": "config-wrong-type", "99999999999999999999": "config-wrong-type"} {
		if got, _ := findings(t, strings.Replace(two, "120000", value, 1)); !slices.Equal(got, []string{"tidemark.yaml:11:17: " + code}) {
			t.Errorf("%s: %v", value, got)
		}
	}
	if got, _ := findings(t, strings.Replace(two, "leader: us", "leader: eu", 1)); !slices.Equal(got, []string{"tidemark.yaml:11:17: config-contradiction"}) {
		t.Errorf("where it leads: %v", got)
	}
}

// TestEveryMistakeIsReportedAtOnce is the promise of this package: one run, everything, in order.
func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	const text = `version: 2
region: {}
regions:
  US:
    nats: {urls: [nats://a:1]}
    redis: {addresses: [redis://a:1]}
  us:
    nats:
      url: [nats://b:1]
      domain: a.b
      user: tidemark
      replicas: 2
      fsync: yes please
      fsync: true
    redis:
      addresses: [http://b]
      password: hunter2
  us:
  eu:
    redis:
      addresses: redis://c:1
origins:
  us: {leader: mars}
  eu: {leader: us}
`
	want := []string{
		"tidemark.yaml:1:10: config-unsupported",     // version
		"tidemark.yaml:2:1: config-unknown-key",      // region
		"tidemark.yaml:4:3: config-bad-value",        // US
		"tidemark.yaml:8:5: config-missing-key",      // us.nats.urls
		"tidemark.yaml:9:7: config-unknown-key",      // url
		"tidemark.yaml:10:15: config-bad-value",      // domain
		"tidemark.yaml:11:13: config-contradiction",  // user without password
		"tidemark.yaml:12:17: config-bad-value",      // replicas
		"tidemark.yaml:13:14: config-wrong-type",     // fsync
		"tidemark.yaml:14:7: config-duplicate-key",   // fsync
		"tidemark.yaml:16:19: config-bad-value",      // http address, in a list
		"tidemark.yaml:17:17: config-literal-secret", // password
		"tidemark.yaml:18:3: config-duplicate-key",   // us
		"tidemark.yaml:19:3: config-missing-key",     // eu.nats.urls
		"tidemark.yaml:21:18: config-wrong-type",     // addresses
		"tidemark.yaml:23:16: config-bad-value",      // leader
		"tidemark.yaml:24:3: config-unsupported",     // a second origin
	}
	got, all := findings(t, text)
	if !slices.Equal(got, want) {
		t.Errorf("the findings are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, f := range all {
		if strings.Contains(f.String(), "hunter2") {
			t.Errorf("a password is in a finding: %s", f)
		}
	}
}

func TestImpossibleCombinationsAreRefused(t *testing.T) {
	two := strings.Replace(small, "origins:", `  eu:
    nats:
      urls: [nats://nats-eu:4222]
    redis:
      addresses: [redis://redis-eu:6379]
origins:`, 1)
	parse(t, two)
	parse(t, strings.Replace(two, "redis-eu:6379]", "redis-us]\n      prefix: 'eu:'", 1))
	parse(t, strings.Replace(two, "redis-eu:6379", "redis-us/1", 1))
	for name, c := range map[string]struct {
		base, old, new string
		want           string // where: code
		says           string
	}{
		"the same domain":           {two, "nats-eu:4222]", "nats-eu:4222]\n      domain: us", "tidemark.yaml:11:15: config-unsupported", "must be the region's name"},
		"the same NATS server":      {two, "nats-eu:4222", "NATS-US", "tidemark.yaml:10:13: config-contradiction", "nats-us:4222"},
		"the same Redis":            {two, "redis-eu:6379", "redis-us/0", "tidemark.yaml:12:18: config-contradiction", "overwrite"},
		"a leader that is no one":   {small, "leader: us", "leader: usa", "tidemark.yaml:9:16: config-bad-value", "did you mean us?"},
		"an empty list":             {small, "[nats://nats-us:4222]", "[]", "tidemark.yaml:5:13: config-bad-value", "empty list"},
		"a server twice":            {small, "[nats://nats-us:4222]", "[nats://a, nats://A:4222]", "tidemark.yaml:5:24: config-duplicate-key", "twice"},
		"mixed schemes":             {small, "[nats://nats-us:4222]", "[nats://a, tls://b]", "tidemark.yaml:5:24: config-contradiction", "mixes"},
		"cluster denied":            {small, "[redis://redis-us:6379]", "[redis://a, redis://b]\n      cluster: false", "tidemark.yaml:8:16: config-contradiction", "Redis Cluster"},
		"cluster with a database":   {small, "redis-us:6379]", "redis-us/3]\n      cluster: true", "tidemark.yaml:7:19: config-contradiction", "database 3"},
		"cluster on a socket":       {small, "redis://redis-us:6379]", "unix:///run/r.sock]\n      cluster: true", "tidemark.yaml:7:19: config-contradiction", "sockets"},
		"tls without rediss":        {small, "redis-us:6379]", "redis-us]\n      tls: {ca: a}", "tidemark.yaml:8:7: config-contradiction", "rediss://"},
		"a certificate without key": {small, "nats-us:4222]", "nats-us]\n      tls: {cert: a}", "tidemark.yaml:6:19: config-contradiction", "without key"},
		"a key without certificate": {small, "nats-us:4222]", "nats-us]\n      tls: {key: a}", "tidemark.yaml:6:18: config-contradiction", "without cert"},
		"two ways to log in":        {small, "nats-us:4222]", "nats-us]\n      user: u\n      password: {env: P}\n      creds: {file: f}", "tidemark.yaml:8:14: config-contradiction", "one way"},
		"a password without user":   {small, "nats-us:4222]", "nats-us]\n      password: {env: P}", "tidemark.yaml:6:17: config-contradiction", "no user"},
		"a Redis user alone":        {small, "redis-us:6379]", "redis-us]\n      user: u", "tidemark.yaml:8:13: config-contradiction", "no password"},
		"two references":            {small, "redis-us:6379]", "redis-us]\n      password: {env: P, file: f}", "tidemark.yaml:8:17: config-contradiction", "both env and file"},
		"no reference":              {small, "redis-us:6379]", "redis-us]\n      password: {}", "tidemark.yaml:8:17: config-missing-key", "neither"},
		"no origin":                 {small, "  us: {leader: us}\n", "", "tidemark.yaml:8:1: config-missing-key", "no origin"},
		"no region":                 {"version: 1\nregions: {}\norigins: {us: {leader: us}}\n", "", "", "tidemark.yaml:2:1: config-missing-key", "no region"},
		"a number as user":          {small, "nats-us:4222]", "nats-us]\n      user: 12\n      password: {env: P}", "tidemark.yaml:6:13: config-wrong-type", "quotes"},
		"an empty value":            {small, "nats-us:4222]", "nats-us]\n      domain:", "tidemark.yaml:6:14: config-wrong-type", "no value"},
		"a key of another place":    {small, "    redis:\n", "    domain: us\n    redis:\n", "tidemark.yaml:6:5: config-unknown-key", "did you mean nats.domain?"},
		"a key with a dot":          {small, "    redis:\n", "    nats.tls: {}\n    redis:\n", "tidemark.yaml:6:5: config-unknown-key", "nats"},
		"a merge key":               {small, "    redis:\n", "    <<: {}\n    redis:\n", "tidemark.yaml:6:5: config-syntax", "merge"},
		"a URL with a path":         {small, "nats-us:4222", "nats-us/x", "tidemark.yaml:5:14: config-bad-value", "path"},
		"a URL without host":        {small, "nats-us:4222", "", "tidemark.yaml:5:14: config-bad-value", "host"},
		"a port that is none":       {small, "nats-us:4222", "nats-us:0", "tidemark.yaml:5:14: config-bad-value", "port"},
		"a variable inside":         {small, "nats://nats-us:4222", "\"nats://${HOST}\"", "tidemark.yaml:5:14: config-bad-value", "not filled in"},
		"a database that is none":   {small, "redis-us:6379", "redis-us/x", "tidemark.yaml:7:19: config-bad-value", "database"},
		"a prefix with a brace":     {small, "redis-us:6379]", "redis-us]\n      prefix: \"{a}\"", "tidemark.yaml:8:15: config-bad-value", "prefix"},
		"a page for http":           {small, "origins:", "    http: http://a/?x=1\norigins:", "tidemark.yaml:8:11: config-bad-value", "behind"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(c.base, c.old, c.new, 1)
			got, all := findings(t, text)
			if len(got) != 1 || got[0] != c.want || !strings.Contains(all[0].Message, c.says) {
				t.Errorf("the findings are %v (%v), want %s saying %q in\n%s", got, all, c.want, c.says, text)
			}
		})
	}
}

func TestTextsThatAreNoTopologyAreRefused(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":            {"", "tidemark.yaml:1:1: config-syntax"},
		"only a comment":   {"# nothing\n", "tidemark.yaml:1:1: config-syntax"},
		"a list":           {"- a\n", "tidemark.yaml:1:1: config-wrong-type"},
		"a text":           {"hello\n", "tidemark.yaml:1:1: config-wrong-type"},
		"null":             {"~\n", "tidemark.yaml:1:1: config-wrong-type"},
		"two documents":    {small + "---\n" + small, "tidemark.yaml:10:1: config-syntax"},
		"not YAML":         {"version: 1\nregions: [\n", "tidemark.yaml:2:1: config-syntax"},
		"not UTF-8":        {"version: \xff\n", "tidemark.yaml: config-syntax"},
		"an unknown alias": {"version: *hunter2\n", "tidemark.yaml: config-syntax"},
		"too large":        {small + strings.Repeat("#", topology.MaxBytes), "tidemark.yaml:1:1: config-too-large"},
		"too deep":         {strings.Repeat("[", 5000) + strings.Repeat("]", 5000), fmt.Sprintf("tidemark.yaml:1:%d: config-too-large", topology.MaxDepth+2)},
		"a bomb":           {bomb, "tidemark.yaml:1:1: config-unknown-key"},
	} {
		t.Run(name, func(t *testing.T) {
			got, all := findings(t, c.text)
			if len(got) == 0 || got[0] != c.want || strings.Contains(fmt.Sprint(all), "hunter2") {
				t.Errorf("the findings are %v, want %s", all, c.want)
			}
			if len(got) > topology.MaxFindings {
				t.Errorf("there are %d findings", len(got))
			}
		})
	}
}

func TestTooManyOfAnythingIsRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nregions:\n")
	for i := range topology.MaxRegions + 1 {
		fmt.Fprintf(&b, "  r%d: {nats: {urls: [nats://n%d]}, redis: {addresses: [redis://r%d]}}\n", i, i, i)
	}
	b.WriteString("origins: {us: {leader: r0}}\n")
	if got, _ := findings(t, b.String()); len(got) != 1 || got[0] != "tidemark.yaml:35:3: config-too-large" {
		t.Errorf("the findings are %v", got)
	}
	servers := strings.Repeat("nats://a,", topology.MaxServers+1)
	if got, _ := findings(t, strings.Replace(small, "[nats://nats-us:4222]", "["+servers+"]", 1)); len(got) != 1 || got[0] != "tidemark.yaml:5:13: config-too-large" {
		t.Errorf("the findings are %v", got)
	}
	long := strings.Repeat("a", topology.MaxText+1)
	if got, _ := findings(t, strings.Replace(small, "nats-us:4222]", "a]\n      domain: "+long, 1)); len(got) != 1 || got[0] != "tidemark.yaml:6:15: config-too-large" {
		t.Errorf("the findings are %v", got)
	}
	many := strings.Repeat("x: 1\n", topology.MaxFindings+50)
	_, err := topology.Parse("f", []byte(small+many), nil)
	invalid, _ := errors.AsType[*topology.Invalid](err)
	if invalid == nil || len(invalid.Findings) != topology.MaxFindings || invalid.Omitted != 50 || !strings.Contains(err.Error(), "and 50 more") {
		t.Errorf("the error is %v", err)
	}
}

func TestAliasesAreRefusedEverywhere(t *testing.T) {
	text := strings.Replace(small, "  us:\n", "  us: &us\n", 1)
	text = strings.Replace(text, "origins:", "  eu: *us\norigins:", 1)
	got, _ := findings(t, text)
	if want := []string{"tidemark.yaml:3:7: config-syntax", "tidemark.yaml:8:7: config-syntax"}; !slices.Equal(got, want) {
		t.Errorf("the findings are %v, want %v", got, want)
	}
}

func TestATopologyIsWrittenAsJSON(t *testing.T) {
	text, err := json.Marshal(parse(t, small))
	want := `{"version":1,"regions":[{"name":"us","nats":{"urls":["nats://nats-us:4222"],"domain":"us","replicas":1,"fsync":false},` +
		`"redis":{"addresses":["redis://redis-us:6379"],"cluster":false,"prefix":"tm:"}}],"origins":[{"name":"us","leader":"us"}]}`
	if err != nil || string(text) != want {
		t.Errorf("the JSON is\n%s (%v), want\n%s", text, err, want)
	}
}

// FuzzParse: whatever the text, there is a topology or at least one finding, and nothing panics.
func FuzzParse(f *testing.F) {
	f.Add(topology.Example(), "TIDEMARK_REGIONS_US_NATS_URLS=nats://a")
	f.Add(small, "TIDEMARK_REGIONS_US_NATS_TLS_CA=x")
	f.Add("regions: {us: {nats: {password: {env: [a]}}}}", "TIDEMARK_REGIONS_US_NATS_PASSWORD_FILE=x")
	f.Add("? {a: b}\n: c\nregions: *x", "TIDEMARK_ORIGINS_US_LEADER=")
	f.Add("a: &a [*a]", "")
	f.Fuzz(func(t *testing.T, text, variable string) {
		topo, err := topology.Parse("f", []byte(text), topology.Environment{variable})
		if err != nil {
			if invalid, ok := errors.AsType[*topology.Invalid](err); !ok || len(invalid.Findings) == 0 || topo != nil {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		if len(topo.Regions) == 0 || len(topo.Origins) != 1 || topo.Leader().Name == "" || len(topo.Settings()) == 0 {
			t.Fatalf("the topology is %+v", topo)
		}
	})
}
