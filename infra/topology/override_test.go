package topology_test

import (
	"slices"
	"strings"
	"testing"

	"tidemark.dev/infra/topology"
)

func TestAVariableOverridesAKey(t *testing.T) {
	text := strings.Replace(topology.Example(), "  eu:\n", "  eu-west:\n", 1)
	topo := parse(t, text,
		"TIDEMARK_REGIONS_US_NATS_URLS=nats://a:1, nats://b:2",
		"TIDEMARK_REGIONS_US_NATS_PASSWORD="+hidden,
		"TIDEMARK_REGIONS_US_NATS_REPLICAS=3",
		"TIDEMARK_REGIONS_US_NATS_FSYNC=false",
		"TIDEMARK_REGIONS_US_NATS_TLS_CA=ca.pem",
		"TIDEMARK_REGIONS_US_HTTP=https://us.example.org/",
		"TIDEMARK_REGIONS_EU_WEST_REDIS_PASSWORD_FILE=/run/secrets/x",
		"TIDEMARK_REGIONS_EU_WEST_REDIS_PREFIX=1:",
		"TIDEMARK_REGIONS_EU_WEST_NATS_USER=007",
		"TIDEMARK_ORIGINS_US_LEADER=ap",
		"TIDEMARK_REGION=us", "TIDEMARK_NATS_PASSWORD=x", "PATH=/bin",
	)
	us, _ := topo.Region("us")
	if strings.Join(us.NATS.URLs, " ") != "nats://a:1 nats://b:2" || us.NATS.Replicas != 3 || us.NATS.Fsync || us.NATS.TLS.CA != "ca.pem" ||
		us.NATS.Password != (topology.Secret{Env: "TIDEMARK_REGIONS_US_NATS_PASSWORD"}) || us.HTTP != "https://us.example.org" {
		t.Errorf("us is %+v", us)
	}
	eu, _ := topo.Region("eu-west")
	if eu.Redis.Password != (topology.Secret{File: "/run/secrets/x"}) || eu.Redis.Prefix != "1:" || eu.NATS.User != "007" {
		t.Errorf("eu-west is %+v", eu)
	}
	if topo.Leader().Name != "ap" {
		t.Errorf("the leader is %s", topo.Leader().Name)
	}
}

func TestAVariableCanSetWhatTheFileLeavesOut(t *testing.T) {
	text := strings.Replace(small, "    nats:\n      urls: [nats://nats-us:4222]\n", "", 1)
	us, _ := parse(t, text, "TIDEMARK_REGIONS_US_NATS_URLS=nats://a").Region("us")
	if strings.Join(us.NATS.URLs, " ") != "nats://a" {
		t.Errorf("us is %+v", us)
	}
	us, _ = parse(t, "version: 1\nregions:\n  us:\norigins: {us: }\n", "TIDEMARK_REGIONS_US_NATS_URLS=nats://a",
		"TIDEMARK_REGIONS_US_REDIS_ADDRESSES=redis://b", "TIDEMARK_ORIGINS_US_LEADER=us").Region("us")
	if strings.Join(us.Redis.Addresses, " ") != "redis://b" {
		t.Errorf("us is %+v", us)
	}
}

func TestWhatIsWrongWithAVariableNamesIt(t *testing.T) {
	for name, c := range map[string]struct {
		env  []string
		want []string
		says string
	}{
		"a typo": {[]string{"TIDEMARK_REGIONS_US_NATS_URL=nats://a"},
			[]string{"$TIDEMARK_REGIONS_US_NATS_URL: config-unknown-variable"}, "did you mean TIDEMARK_REGIONS_US_NATS_URLS?"},
		"another region": {[]string{"TIDEMARK_REGIONS_MARS_HTTP=http://a"},
			[]string{"$TIDEMARK_REGIONS_MARS_HTTP: config-unknown-variable"}, "overrides nothing"},
		"another origin": {[]string{"TIDEMARK_ORIGINS_EU_LEADER=us"},
			[]string{"$TIDEMARK_ORIGINS_EU_LEADER: config-unknown-variable"}, "did you mean TIDEMARK_ORIGINS_US_LEADER?"},
		"a bad value": {[]string{"TIDEMARK_REGIONS_US_NATS_REPLICAS=2"},
			[]string{"$TIDEMARK_REGIONS_US_NATS_REPLICAS: config-bad-value"}, "1, 3 or 5"},
		"a wrong type": {[]string{"TIDEMARK_REGIONS_US_NATS_FSYNC=maybe"},
			[]string{"$TIDEMARK_REGIONS_US_NATS_FSYNC: config-wrong-type"}, "true or false"},
		"an empty value": {[]string{"TIDEMARK_REGIONS_US_HTTP="},
			[]string{"$TIDEMARK_REGIONS_US_HTTP: config-bad-value"}, "is empty"},
		"an empty flag": {[]string{"TIDEMARK_REGIONS_US_NATS_FSYNC="},
			[]string{"$TIDEMARK_REGIONS_US_NATS_FSYNC: config-wrong-type"}, "no value"},
		"a secret in a URL": {[]string{"TIDEMARK_REGIONS_US_NATS_URLS=nats://u:" + hidden + "@a"},
			[]string{"$TIDEMARK_REGIONS_US_NATS_URLS: config-literal-secret"}, "must not hold"},
		"a second way to log in": {[]string{"TIDEMARK_REGIONS_US_NATS_CREDS_FILE=x"},
			[]string{"$TIDEMARK_REGIONS_US_NATS_CREDS_FILE: config-contradiction"}, "one way"},
		"both forms": {[]string{"TIDEMARK_REGIONS_US_NATS_PASSWORD=" + hidden, "TIDEMARK_REGIONS_US_NATS_PASSWORD_FILE=x"},
			[]string{"$TIDEMARK_REGIONS_US_NATS_PASSWORD: config-contradiction"}, "both set"},
		"several": {[]string{"TIDEMARK_REGIONS_US_X=1", "TIDEMARK_REGIONS_US_NATS_DOMAIN=a.b"},
			[]string{"$TIDEMARK_REGIONS_US_NATS_DOMAIN: config-bad-value", "$TIDEMARK_REGIONS_US_X: config-unknown-variable"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, all := findings(t, topology.Example(), c.env...)
			if !slices.Equal(got, c.want) || !strings.Contains(all[0].Message, c.says) {
				t.Errorf("the findings are %v, want %v saying %q", all, c.want, c.says)
			}
			for _, f := range all {
				if strings.Contains(f.String(), hidden) {
					t.Errorf("a secret is in %s", f)
				}
			}
		})
	}
}

func TestTheFileComesBeforeTheVariables(t *testing.T) {
	got, _ := findings(t, topology.Example()+"extra: 1\n", "TIDEMARK_REGIONS_US_X=1")
	if len(got) != 2 || !strings.HasPrefix(got[0], "tidemark.yaml:") || !strings.HasPrefix(got[1], "$") {
		t.Errorf("the findings are %v", got)
	}
}

func TestAVariableThatASecretRefersToIsNoOverride(t *testing.T) {
	text := strings.Replace(topology.Example(), "NATS_PASSWORD_EU", "TIDEMARK_REGIONS_PASSWORD", 1)
	parse(t, text, "TIDEMARK_REGIONS_PASSWORD=x")
}

// TestNoVariableHasTwoMeanings, whatever regions are called.
func TestNoVariableHasTwoMeanings(t *testing.T) {
	regions := []string{"us", "us-nats", "us-nats-tls", "us-redis", "us-http", "a", "nats", "redis", "http", "us-nats-urls", "tls"}
	seen := map[string]string{}
	var keys []string
	for _, s := range parse(t, small).Settings() {
		if key, ok := strings.CutPrefix(s.Key, "regions.us."); ok {
			keys = append(keys, key)
		}
	}
	if len(keys) < 10 {
		t.Fatalf("the keys are %v", keys)
	}
	for _, region := range regions {
		for _, key := range keys {
			for _, suffix := range []string{"", "_FILE"} {
				name := topology.RegionVariable(region, key) + suffix
				if other := seen[name]; other != "" {
					t.Errorf("%s is that of %s and of %s.%s", name, other, region, key)
				}
				seen[name] = region + "." + key
			}
		}
	}
}

func TestSettingsTellWhereEachValueIsFrom(t *testing.T) {
	topo := parse(t, topology.Example(), "TIDEMARK_REGIONS_EU_NATS_PASSWORD="+hidden, "TIDEMARK_REGIONS_EU_NATS_REPLICAS=5")
	got := map[string]topology.Setting{}
	for _, s := range topo.Settings() {
		got[s.Key] = s
	}
	for _, want := range []topology.Setting{
		{Key: "regions.eu.nats.urls", Variable: "TIDEMARK_REGIONS_EU_NATS_URLS", Value: "nats://nats-eu:4222", From: "tidemark.yaml:40:13"},
		{Key: "regions.eu.nats.replicas", Variable: "TIDEMARK_REGIONS_EU_NATS_REPLICAS", Value: "5", From: "$TIDEMARK_REGIONS_EU_NATS_REPLICAS"},
		{Key: "regions.eu.nats.domain", Variable: "TIDEMARK_REGIONS_EU_NATS_DOMAIN", Value: "eu", From: "default"},
		{Key: "regions.eu.nats.password", Variable: "TIDEMARK_REGIONS_EU_NATS_PASSWORD", Value: "$TIDEMARK_REGIONS_EU_NATS_PASSWORD",
			From: "$TIDEMARK_REGIONS_EU_NATS_PASSWORD"},
		{Key: "origins.us.leader", Variable: "TIDEMARK_ORIGINS_US_LEADER", Value: "us", From: "tidemark.yaml:64:16"},
	} {
		if got[want.Key] != want {
			t.Errorf("the setting is %+v, want %+v", got[want.Key], want)
		}
	}
}

func TestTheFileIsFoundWhereTheEnvironmentSays(t *testing.T) {
	if p := topology.FilePath(nil); p != "tidemark.yaml" {
		t.Errorf("the file is %s", p)
	}
	if p := topology.FilePath(topology.Environment{"TIDEMARK_CONFIG=/etc/x"}); p != "/etc/x" {
		t.Errorf("the file is %s", p)
	}
}
