package deploy

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/infra/topology"
)

// composeFile is what these tests look at in docker-compose.yml.
type composeFile struct {
	Services map[string]composeService
	Networks map[string]struct{ Internal bool }
}

type composeService struct {
	Image    string
	User     string
	ReadOnly bool     `yaml:"read_only"`
	CapDrop  []string `yaml:"cap_drop"`
	CapAdd   []string `yaml:"cap_add"`
	Security []string `yaml:"security_opt"`
	Memory   string   `yaml:"mem_limit"`
	Pids     int      `yaml:"pids_limit"`
	Networks []string
	Ports    []string
	Profiles []string
	Volumes  []string
	Health   map[string]any `yaml:"healthcheck"`
	Build    struct{ Target string }
	Env      map[string]string `yaml:"environment"`
}

// ours reports whether the image is built from the Dockerfile.
func (s composeService) ours() bool { return strings.HasPrefix(s.Image, "tidemark/") }

func compose(t *testing.T) composeFile {
	t.Helper()
	text, err := os.ReadFile("../../docker-compose.yml")
	must(t, err)
	var f composeFile
	must(t, yaml.Unmarshal(text, &f))
	return f
}

func TestEveryRegionHasItsServersAndServices(t *testing.T) {
	f := compose(t)
	want := []string{"passwords"}
	for _, region := range regions() {
		for _, part := range []string{"nats", "redis", "writer", "projector", "query", "reconciler", "tidemark"} {
			name := region + "-" + part
			want = append(want, name)
			s := f.Services[name]
			networks := []string{region}
			if part == "nats" {
				networks = append(networks, "wan")
			}
			if !slices.Equal(s.Networks, networks) {
				t.Errorf("%s is on the networks %v, want %v", name, s.Networks, networks)
			}
			if s.ours() && (s.Build.Target != part || s.Env["TIDEMARK_REGION"] != region) {
				t.Errorf("%s is built as %s and works for %q", name, s.Build.Target, s.Env["TIDEMARK_REGION"])
			}
			for _, v := range s.Volumes {
				source, _, _ := strings.Cut(v, ":")
				if !strings.HasPrefix(source, "./") && !strings.HasPrefix(source, region+"-") {
					t.Errorf("%s has the volume %s of another region", name, v)
				}
			}
		}
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(f.Services)); !slices.Equal(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
	if !f.Networks["wan"].Internal {
		t.Error("the network wan has a way out")
	}
}

func TestContainersMayDoLittle(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z/]+:[0-9]+\.[0-9]+\.[0-9]+-alpine$`)
	for name, s := range compose(t).Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.Security, []string{"no-new-privileges:true"}) {
			t.Errorf("%s: read only %v, without %v, %v", name, s.ReadOnly, s.CapDrop, s.Security)
		}
		if !s.ours() && !pinned.MatchString(s.Image) {
			t.Errorf("%s: the image %s is not pinned", name, s.Image)
		}
		if name == "passwords" {
			if !slices.Equal(s.CapAdd, []string{"CHOWN"}) {
				t.Errorf("%s may %v", name, s.CapAdd)
			}
			continue // it is root, has no network, and ends
		}
		if len(s.CapAdd) > 0 || s.Memory == "" || s.Pids == 0 {
			t.Errorf("%s may %v, uses up to %q of memory and %d processes", name, s.CapAdd, s.Memory, s.Pids)
		}
		if !s.ours() && (s.User == "" || strings.HasPrefix(s.User, "0") || s.Health == nil) {
			t.Errorf("%s: user %q, health check %v", name, s.User, s.Health) // ours have both in the Dockerfile
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s can be reached from elsewhere: %s", name, p)
			}
		}
	}
}

func TestTheDockerfileBuildsEveryServiceForNobody(t *testing.T) {
	text, err := os.ReadFile("../../Dockerfile")
	must(t, err)
	stages := strings.Split(string(text), "\nFROM ")
	if base := stages[2]; !strings.HasPrefix(base, "gcr.io/distroless/static-debian12:nonroot AS service\n") || !strings.Contains(base, "\nUSER 65532:65532\n") {
		t.Errorf("the services run on %s", base)
	}
	for _, part := range []string{"writer", "projector", "query", "reconciler", "tidemark"} {
		i := slices.IndexFunc(stages, func(s string) bool { return strings.HasPrefix(s, "service AS "+part+"\n") })
		if i < 0 {
			t.Errorf("there is no stage %s", part)
			continue
		}
		binary := fmt.Sprintf("/usr/local/bin/%s\"", part)
		if !strings.Contains(stages[i], "ENTRYPOINT [\""+binary) || strings.Contains(stages[i], "USER") {
			t.Errorf("%s: %s", part, stages[i])
		}
		if service := part != "tidemark"; service != strings.Contains(stages[i], "CMD [\""+binary+", \"healthcheck\"]") {
			t.Errorf("%s: health check: %s", part, stages[i])
		}
	}
}

func TestTheTopologyNamesTheContainers(t *testing.T) {
	f := compose(t)
	top, err := topology.Load("tidemark.yaml", nil)
	must(t, err)
	if top.Leader().Name != leader || top.Origin().Name != origin || !slices.Equal(top.RegionNames(), slices.Sorted(slices.Values(regions()))) {
		t.Errorf("%s leads %s, regions %v", top.Leader().Name, top.Origin().Name, top.RegionNames())
	}
	for _, r := range top.Regions {
		for _, address := range slices.Concat(r.NATS.URLs, r.Redis.Addresses) {
			u, err := url.Parse(address)
			must(t, err)
			if _, ok := f.Services[u.Hostname()]; !ok || !strings.HasPrefix(u.Hostname(), r.Name) {
				t.Errorf("%s has a server at %s, which is no container of its", r.Name, address)
			}
		}
		if r.NATS.Fsync != (r.Name == leader) {
			t.Errorf("%s: fsync %v", r.Name, r.NATS.Fsync)
		}
		if r.NATS.Password.File != "/run/secrets/tidemark/nats" || r.Redis.Password.File != "/run/secrets/tidemark/redis" || r.NATS.User != userOf || r.Redis.User != userOf {
			t.Errorf("%s: %+v %+v", r.Name, r.NATS, r.Redis)
		}
	}
}
