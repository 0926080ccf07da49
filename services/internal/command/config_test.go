package command_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/topology"
)

// configFile writes a topology file and returns its path.
func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tidemark.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// configJSON is what config check writes as JSON.
type configJSON struct {
	File     string
	Valid    bool
	Findings []struct {
		File, Variable, Code, Message string
		Line, Column                  int
	}
	Topology struct {
		Regions []struct{ Name string }
	}
	Secrets []struct {
		Key, From, Message string
		Readable           bool
	}
	Settings []struct{ Key, Variable, Value, From string }
	Servers  []struct {
		Region, Kind, Address, Code, Found string
		OK                                 bool
	}
}

func TestTheExampleOfConfigInitIsValid(t *testing.T) {
	example := want(t, cli(t, "", "config", "init"), 0).out
	t.Setenv("NATS_PASSWORD_US", "made-up-password")
	out := want(t, cli(t, "", "config", "check", configFile(t, example)), 0).out
	for _, s := range []string{
		`is valid: 3 regions, origin us is led by us`,
		`(?m)^us +leads us +nats://nats-us:4222 +us +1 +redis://redis-us:6379 +http://query-us:7070$`,
		`(?m)^eu +mirrors us +`,
		`(?m)^regions\.us\.nats\.password +\$NATS_PASSWORD_US +readable$`,
		`(?m)^regions\.eu\.nats\.password +\$NATS_PASSWORD_EU +.*\$NATS_PASSWORD_EU is not set$`,
	} {
		if !regexp.MustCompile(s).MatchString(out) {
			t.Errorf("the summary lacks %s:\n%s", s, out)
		}
	}
	if strings.Contains(out, "made-up-password") {
		t.Errorf("the password is printed:\n%s", out)
	}
}

func TestConfigCheckPrintsEveryMistakeWithItsPlace(t *testing.T) {
	text := strings.NewReplacer("replicas: 1", "replicas: 2", "leader: us", "leader: uk", "    http: http://query-ap:7070", "    htp: x").Replace(topology.Example())
	t.Setenv("TIDEMARK_REGIONS_EU_NATS_URL", "nats://made-up-password@x")
	file := configFile(t, text)
	r := want(t, cli(t, "", "config", "check", file), 2)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if len(lines) != 4 {
		t.Fatalf("the output is\n%s", r.out)
	}
	for i, s := range []string{
		regexp.QuoteMeta(file) + `:\d+:\d+: config-bad-value: `, regexp.QuoteMeta(file) + `:\d+:\d+: config-unknown-key: .*did you mean http\?`,
		regexp.QuoteMeta(file) + `:\d+:\d+: config-bad-value: .*did you mean us\?`, `\$TIDEMARK_REGIONS_EU_NATS_URL: config-unknown-variable: `,
	} {
		if !regexp.MustCompile("^" + s).MatchString(lines[i]) {
			t.Errorf("line %d is %q, want %s", i+1, lines[i], s)
		}
	}
	if !strings.HasPrefix(r.err, "tidemark: config-invalid: "+file+" has 4 mistakes. ") || strings.Contains(r.out+r.err, "made-up-password") {
		t.Errorf("the error is %q", r.err)
	}
	j := want(t, cli(t, "", "config", "check", file, "-o", "json"), 2)
	report := decode[configJSON](t, j.out)
	if report.Valid || report.File != file || len(report.Findings) != 4 || report.Findings[0].Line == 0 || report.Findings[3].Variable == "" {
		t.Errorf("the report is %+v", report)
	}
	if p := j.problem(t); p.Error.Code != "config-invalid" {
		t.Errorf("the error is %+v", p)
	}
}

func TestConfigCheckExplainsWhereValuesAreFrom(t *testing.T) {
	file := configFile(t, topology.Example())
	t.Setenv("TIDEMARK_REGIONS_EU_NATS_REPLICAS", "3")
	t.Setenv("TIDEMARK_REGIONS_EU_NATS_PASSWORD", "made-up-password")
	out := want(t, cli(t, "", "config", "check", file, "--explain"), 0).out
	for _, s := range []string{
		`(?m)^regions\.eu\.nats\.replicas +3 +\$TIDEMARK_REGIONS_EU_NATS_REPLICAS +TIDEMARK_REGIONS_EU_NATS_REPLICAS$`,
		`(?m)^regions\.ap\.nats\.replicas +1 +default +TIDEMARK_REGIONS_AP_NATS_REPLICAS$`,
		`(?m)^regions\.us\.nats\.fsync +true +` + regexp.QuoteMeta(file) + `:\d+:\d+ +`,
		`(?m)^origins\.us\.leader +us `,
	} {
		if !regexp.MustCompile(s).MatchString(out) {
			t.Errorf("the explanation lacks %s:\n%s", s, out)
		}
	}
	report := decode[configJSON](t, want(t, cli(t, "", "config", "check", file, "--explain", "-o", "json"), 0).out)
	if !report.Valid || len(report.Topology.Regions) != 3 || len(report.Secrets) != 6 || len(report.Settings) < 50 {
		t.Errorf("the report is %+v", report)
	}
	if strings.Contains(out, "made-up-password") {
		t.Errorf("the password is printed:\n%s", out)
	}
}

func TestTheFileIsThatOfTheEnvironmentUnlessOneIsNamed(t *testing.T) {
	other := configFile(t, "version: 1\n")
	t.Setenv("TIDEMARK_CONFIG", configFile(t, topology.Example()))
	want(t, cli(t, "", "config", "check"), 0)
	want(t, cli(t, "", "config", "check", other), 2)
	want(t, cli(t, "", "config", "check", "--config", other), 2)
	t.Setenv("TIDEMARK_CONFIG", "")
	t.Chdir(t.TempDir())
	if r := want(t, cli(t, "", "config", "check"), 2); !strings.Contains(r.err, "config-missing: the topology file tidemark.yaml cannot be read: no such file") {
		t.Errorf("the error is %q", r.err)
	}
	if err := os.WriteFile("tidemark.yaml", []byte(topology.Example()), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, cli(t, "", "config", "check"), 0)
}

func TestConfigCheckTriesTheServers(t *testing.T) {
	nats, redis := configServers(t)
	address := "redis://" + redis.Options().Addr
	text := "version: 1\nregions: {us: {nats: {urls: ['" + nats.URL() + "'], user: " + nats.User() +
		", password: {env: MADE_UP}}, redis: {addresses: ['" + address + "'], password: {env: MADE_UP_TOO}}}}\norigins: {us: {leader: us}}\n"
	t.Setenv("MADE_UP_TOO", redis.Options().Password)
	file := configFile(t, text)
	t.Setenv("MADE_UP", nats.Password())
	out := want(t, cli(t, "", "config", "check", file, "--connect"), 0).out
	if !regexp.MustCompile(`(?m)^us +nats +nats://\S+ +ok: nats-server \S+, domain us$`).MatchString(out) || !regexp.MustCompile(`(?m)^us +redis +\S+ +ok: Redis$`).MatchString(out) {
		t.Errorf("the output is\n%s", out)
	}
	t.Setenv("MADE_UP", "wrong")
	r := want(t, cli(t, "", "config", "check", file, "--connect", "-o", "json"), 3)
	report := decode[configJSON](t, r.out)
	if len(report.Servers) != 2 || report.Servers[0].Code != "unauthorized" || !report.Servers[1].OK || r.problem(t).Error.Code != "unauthorized" {
		t.Errorf("the report is %+v, the error %s", report, r.err)
	}
	if err := redis.Close(); err != nil {
		t.Fatal(err)
	}
	if r := want(t, cli(t, "", "config", "check", file, "--connect"), 3); !strings.HasPrefix(r.err, "tidemark: unreachable: 2 of 2 servers cannot be used: ") ||
		!strings.Contains(r.out, "unauthorized: ") {
		t.Errorf("the error is %q, the output\n%s", r.err, r.out)
	}
}

// configServers starts the servers of a region.
func configServers(t *testing.T) (*embedded.NATS, *embedded.Redis) {
	t.Helper()
	dir, err := embedded.OpenDir(filepath.Join(t.TempDir(), "region"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	nats, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Region: "us", Dir: dir, LazySync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nats.Shutdown)
	redis, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Mode: embedded.ModeMini})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { redis.Close() })
	return nats, redis
}

func TestConfigPrintsTheSchema(t *testing.T) {
	schema := decode[struct{ Title string }](t, want(t, cli(t, "", "config", "schema"), 0).out)
	if schema.Title != "tidemark.yaml" {
		t.Errorf("the schema is %+v", schema)
	}
	for _, args := range [][]string{{"config", "check", "a", "b"}, {"config", "chek"}, {"config", "init", "x"}} {
		if r := want(t, cli(t, "", args...), 2); !strings.HasPrefix(r.err, "tidemark: usage: ") {
			t.Errorf("%v: the error is %q", args, r.err)
		}
	}
	for _, args := range [][]string{{"config", "--help"}, {"config", "check", "--help"}, {"config", "init", "--help"}, {"config", "schema", "--help"}} {
		if out := want(t, cli(t, "", args...), 0).out; !strings.Contains(out, "Examples:\n  tidemark "+strings.Join(args[:len(args)-1], " ")) {
			t.Errorf("the help of %v has no example:\n%s", args, out)
		}
	}
	if out := want(t, cli(t, "", "config"), 0).out; !strings.Contains(out, "check") {
		t.Errorf("config prints %q", out)
	}
}
