package parts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tidemark.dev/infra/client"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/query"
)

const patience = time.Minute

// programs is the folder of the compiled services.
var programs string

// build compiles the three services once for all tests.
var build = sync.OnceValue(func() error {
	out, err := exec.Command("go", "build", "-o", programs, "tidemark.dev/services/writer", "tidemark.dev/services/projector", "tidemark.dev/services/query").CombinedOutput() //nolint:gosec,noctx // constants
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
})

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "tidemark-services-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(code)
}

// servers are the NATS and Redis of two regions, which are no business of the services.
type servers struct {
	nats  map[string]*embedded.NATS
	redis map[string]string
}

func startServers(t *testing.T) *servers {
	t.Helper()
	s := &servers{nats: map[string]*embedded.NATS{}, redis: map[string]string{}}
	for _, name := range []string{"us", "eu"} {
		dir, err := embedded.OpenDir(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = dir.Close() })
		c := embedded.NATSConfig{Region: name, Dir: dir, LazySync: true, Origins: []string{"us"}}
		if name == "us" {
			c.Peers = []string{"eu"}
		} else {
			c.Links = []embedded.Link{s.nats["us"].LinkFor("eu")}
		}
		n, err := embedded.StartNATS(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.Shutdown)
		r, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Mode: embedded.ModeServer, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		s.nats[name], s.redis[name] = n, "unix://"+r.Options().Addr
	}
	return s
}

// topology writes the topology file; passwords are in the environment.
func (s *servers) topology(t *testing.T) (file string, env []string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("version: 1\nregions:\n")
	for _, name := range []string{"us", "eu"} {
		fmt.Fprintf(&b, "  %s:\n    nats: {urls: [%q], user: %s, password: {env: TEST_NATS_%s}}\n    redis: {addresses: [%q]}\n",
			name, s.nats[name].URL(), s.nats[name].User(), strings.ToUpper(name), s.redis[name])
		env = append(env, "TEST_NATS_"+strings.ToUpper(name)+"="+s.nats[name].Password())
	}
	b.WriteString("origins:\n  us: {leader: us}\n")
	file = filepath.Join(t.TempDir(), "tidemark.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, append(os.Environ(), env...)
}

// process is a running service.
type process struct {
	name  string
	cmd   *exec.Cmd
	http  string
	log   *log
	ended chan struct{} // closed when the process has ended, with err
	err   error
}

// log is what a service writes to stderr.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func start(t *testing.T, service, region, file string, env []string) *process {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	p := &process{name: service + " of " + region, http: natstest.FreeAddress(t), log: &log{}, ended: make(chan struct{})}
	p.cmd = exec.CommandContext(t.Context(), filepath.Join(programs, service), "--config", file, "--region", region, "--http", p.http) //nolint:gosec // our own
	p.cmd.Env, p.cmd.Stderr = env, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s:\n%s", p.name, p.log)
		}
	})
	return p
}

// stop sends SIGTERM and expects an orderly end.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if <-p.ended; p.err != nil {
		t.Errorf("the %s ended with %v", p.name, p.err)
	}
}

func (p *process) get(t *testing.T, path string) (int, string) {
	t.Helper()
	return p.do(t, http.MethodGet, path, "")
}

func (p *process) do(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+p.http+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/cloudevents+json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// eventually waits until look finds the service as it should be, and fails with what it saw last. A service that has ended is not waited for.
func (p *process) eventually(t *testing.T, is string, look func() (ok bool, seen string)) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		ok, seen := look()
		if ok {
			return
		}
		select {
		case <-p.ended:
			t.Fatalf("the %s ended with %v before it %s; seen last: %s", p.name, p.err, is, seen)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("after %s it is still not so that the %s %s; seen last: %s", patience, p.name, is, seen)
		}
	}
}

func (p *process) ready(t *testing.T) {
	t.Helper()
	p.eventually(t, "is ready", func() (bool, string) {
		status, body := p.get(t, "/readyz")
		return status == http.StatusOK, fmt.Sprint(status, " ", body)
	})
}

// waits returns what the service said that it waits for and why, line by line.
func (p *process) waits() (lines []string) {
	for line := range strings.Lines(p.log.String()) {
		if _, said, ok := strings.Cut(line, " msg=waiting "); ok {
			lines = append(lines, said)
		}
	}
	return lines
}

// TestServicesOfTheirOwnStartInAnyOrder starts the queries first and the writers last: each waits, says for what, and works as soon as it can.
func TestServicesOfTheirOwnStartInAnyOrder(t *testing.T) {
	s := startServers(t)
	file, env := s.topology(t)
	var all []*process
	for _, service := range []string{"query", "projector"} {
		for _, region := range []string{"us", "eu"} {
			all = append(all, start(t, service, region, file, env))
		}
	}
	query := map[string]*process{"us": all[0], "eu": all[1]}
	for _, p := range all {
		p.eventually(t, "waits", func() (bool, string) {
			said := strings.Join(p.waits(), "")
			return strings.Contains(said, `for="the log to be set up by the writer"`), said
		})
		if status, body := p.get(t, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "no-log") && !strings.Contains(body, "starting") {
			t.Errorf("while it waits the %s answers %d %s", p.name, status, body)
		}
	}
	writer := map[string]*process{}
	for _, region := range []string{"eu", "us"} {
		writer[region] = start(t, "writer", region, file, env)
		all = append(all, writer[region])
	}
	for _, p := range all {
		p.ready(t)
		if said := p.waits(); len(slices.Compact(slices.Clone(said))) != len(said) {
			t.Errorf("the %s said again what it had just said, that it waits:\n%s", p.name, strings.Join(said, ""))
		}
	}

	event := func(id string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"urn:test","type":"FlightDeparted","subject":"airport/ORD","data":{"origin":"ORD"}}`, id)
	}
	status, body := writer["eu"].do(t, http.MethodPost, "/v1/events?confirm=2&wait=1m", event("one"))
	var receipt struct {
		Position  string
		Confirmed []string
	}
	if err := json.Unmarshal([]byte(body), &receipt); err != nil || status != http.StatusCreated || len(receipt.Confirmed) != 2 {
		t.Fatalf("an append in eu was answered %d %s", status, body)
	}
	if status, body := writer["us"].do(t, http.MethodPost, "/v1/events", event("one")); status != http.StatusOK || !strings.Contains(body, receipt.Position) {
		t.Errorf("the same in us was answered %d %s", status, body)
	}
	for region, q := range query {
		if status, body := q.get(t, "/v1/models/airports/ORD?wait=30s&at-least="+receipt.Position); status != http.StatusOK || !strings.Contains(body, `"departures":1`) {
			t.Errorf("%s answers %d %s", region, status, body)
		}
		if status, body := q.get(t, "/metrics"); status != http.StatusOK || !strings.Contains(body, `service="query"`) {
			t.Errorf("the metrics of %s are %d %s", region, status, body)
		}
	}
	for region, q := range query { // the projectors have entered what is compiled into them, by way of the leader
		q.eventually(t, "lists the projections", func() (bool, string) {
			status, body := q.get(t, "/v1/projections")
			return status == http.StatusOK && strings.Contains(body, `"name":"airports","version":1,"kind":"go","state":"active"`), fmt.Sprint(region, " ", status, " ", body)
		})
	}
	s.asked(t)
	if status, _ := query["us"].do(t, http.MethodPost, "/v1/events", event("two")); status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
		t.Errorf("a query service takes events: %d", status)
	}
	for _, p := range all {
		p.stop(t)
	}
}

// asked asks the query services over NATS: each region for itself, and from the other one over the link.
func (s *servers) asked(t *testing.T) {
	t.Helper()
	for _, home := range []string{"us", "eu"} {
		for _, asked := range []string{"us", "eu"} {
			regions := []region.Config{{Name: asked}, {Name: home, NATS: s.nats[home].URL(), User: s.nats[home].User(), Password: s.nats[home].Password()}}
			if home == asked {
				regions = regions[1:]
			}
			c, err := client.Dial(t.Context(), client.Config{Regions: regions, Patience: patience})
			if err != nil {
				t.Fatal(err)
			}
			airport, answer, err := client.Get[flights.Airport](t.Context(), c, "airports", "ORD", query.Options{})
			if err != nil || airport.Departures != 1 || answer.Region != asked {
				t.Errorf("from %s %s answers %+v as %s, %v", home, asked, airport, answer.Region, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestTheLeadersEndIsSaidAndNothingElse stops the leader's NATS: the mirror's reads go on, its writes are refused with the leader's name, and all of it comes back.
func TestTheLeadersEndIsSaidAndNothingElse(t *testing.T) {
	s := startServers(t)
	file, env := s.topology(t)
	writer, projector, query := start(t, "writer", "us", file, env), start(t, "projector", "eu", file, env), start(t, "query", "eu", file, env)
	far := start(t, "writer", "eu", file, env)
	for _, p := range []*process{writer, projector, query, far} {
		p.ready(t)
	}
	event := `{"specversion":"1.0","id":"one","source":"urn:test","type":"FlightDeparted","subject":"airport/ORD","data":{"origin":"ORD"}}`
	status, body := far.do(t, http.MethodPost, "/v1/events?confirm=2&wait=1m", event)
	if status != http.StatusCreated {
		t.Fatalf("an append in eu was answered %d %s", status, body)
	}
	s.nats["us"].Shutdown()
	far.eventually(t, "is not ready, for want of us", func() (bool, string) {
		status, body := far.get(t, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "us"), fmt.Sprint(status, " ", body)
	})
	status, body = far.do(t, http.MethodPost, "/v1/events", strings.Replace(event, "one", "two", 1))
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "unreachable") || !strings.Contains(body, "us") {
		t.Errorf("without the leader an append was answered %d %s", status, body)
	}
	query.eventually(t, "answers with an unknown lag", func() (bool, string) {
		status, body := query.get(t, "/v1/models/airports/ORD")
		return status == http.StatusOK && strings.Contains(body, `"departures":1`) && strings.Contains(body, `"lag":null`), fmt.Sprint(status, " ", body)
	})
	if status, body := query.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("a region that is cut off is not ready to answer: %d %s", status, body)
	}
	query.eventually(t, "says that its copy is not known to be up to date", func() (bool, string) {
		status, body := query.get(t, "/v1/status")
		return status == http.StatusOK && strings.Contains(body, `"state":"unknown"`), fmt.Sprint(status, " ", body)
	})
	for _, p := range []*process{far, query, projector, writer} {
		p.stop(t)
	}
}
