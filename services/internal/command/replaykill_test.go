package command_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var replayKills = flag.Int("replay.kills", 3, "how many replays are killed at a random moment, beside those at certain places")

// TestAReplayThatIsKilledGoesOn kills the whole region with SIGKILL while it replays, at many places, while somebody writes and somebody reads. Every answer must be of one generation at one position,
// nothing that was acknowledged may be missing, and the replay goes on by itself and is equal.
//
//	go test ./internal/command -run TestAReplayThatIsKilledGoesOn -replay.kills=100
func TestAReplayThatIsKilledGoesOn(t *testing.T) {
	program, dir := build(t), filepath.Join(t.TempDir(), "region")
	up, at := spawn(t, program, dir)
	want(t, cli(t, "", importFlights(t, dir)...), 0)
	w := &bystanders{t: t, dir: dir, address: at.HTTP}
	w.begin()
	defer w.end()

	places := []string{"10 %", "50 %", "90 %", "99 %", "switching", "rollback"}
	for range *replayKills {
		places = append(places, "random")
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)) //nolint:gosec // any moment will do
	for _, place := range places {
		asked := []string{"--dir", dir, "replay", "airports", "--from-start"}
		switch place {
		case "rollback":
			asked = []string{"--dir", dir, "replay", "rollback", "airports", "--yes"}
		case "random", "switching":
		default:
			asked = append(asked, "--rate", "3000")
		}
		before := w.look().ID
		watched := watch(t, asked...)
		id := w.killAt(place, before, random, func() { _ = up.Process.Kill() })
		_ = up.Wait()
		watched.interrupt()
		watched.end()
		up, at = spawn(t, program, dir)
		w.moved(at.HTTP)
		if id == "" {
			continue // it had not been asked for, or was over already
		}
		r := want(t, cli(t, "", "--dir", dir, "replay", "airports", "--resume", id, "-o", "json"), 0)
		if got := decode[replayed](t, r.out); got.State != "done" || got.Compared && !got.Equal || got.Proof.Result == "different" {
			t.Errorf("killed at %s, the replay is %s", place, r.out)
		}
	}
	w.end()
	w.finally()
	if list := decode[listOf](t, want(t, cli(t, "", "--dir", dir, "replay", "list", "airports", "-o", "json"), 0).out); len(list.Replays) < 6 { // at "random" it may have been killed before it was asked for one
		t.Errorf("only %d replays are remembered", len(list.Replays))
	}
	_ = up.Process.Kill()
	_ = up.Wait()
}

type replayed struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Sequence uint64 `json:"sequence"`
	Head     uint64 `json:"head"`
	Compared bool   `json:"compared"`
	Equal    bool   `json:"equal"`
	Proof    struct {
		Result string `json:"result"`
	} `json:"proof"`
}

// bystanders are a writer and a reader of one document, which outlive the region.
type bystanders struct {
	t    *testing.T
	dir  string
	stop context.CancelFunc
	both sync.WaitGroup

	mu       sync.Mutex
	address  string
	written  []uint64 // sequences of the events that were acknowledged
	answers  int
	attempts int
}

func (b *bystanders) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	b.both.Go(func() { b.write(ctx) })
	b.both.Go(func() { b.read(ctx) })
}

func (b *bystanders) end() {
	b.stop()
	b.both.Wait()
}

func (b *bystanders) moved(address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.address = address
}

func (b *bystanders) url(path string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.address + path
}

// ask returns the answer and its code; 0 when the region does not answer.
func ask(ctx context.Context, method, url, body string) (int, string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	r.Header.Set("Content-Type", "application/cloudevents+json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(text)
}

// write appends one event after the other to an airport of its own. One whose outcome is not known is written again, with the same id.
func (b *bystanders) write(ctx context.Context) {
	for n := 0; ctx.Err() == nil; {
		event := fmt.Sprintf(`{"specversion":"1.0","id":"k%d","source":"urn:kill","type":"FlightDeparted","subject":"airport/ZZZ","data":%s}`, n, flight)
		code, text := ask(ctx, http.MethodPost, b.url("/v1/events"), event)
		if code != http.StatusCreated && code != http.StatusOK {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		var receipt struct {
			Last uint64 `json:"last"`
		}
		if err := json.Unmarshal([]byte(text), &receipt); err != nil || receipt.Last == 0 {
			b.t.Errorf("an append was answered with %s", text)
			return
		}
		b.mu.Lock()
		b.written = append(b.written, receipt.Last)
		b.mu.Unlock()
		n++
		time.Sleep(2 * time.Millisecond)
	}
}

// read asks for that document. What it counts must be what there was at the position that the answer names.
func (b *bystanders) read(ctx context.Context) {
	for ctx.Err() == nil {
		b.check(ctx)
		time.Sleep(time.Millisecond)
	}
}

func (b *bystanders) check(ctx context.Context) (departures int, ok bool) {
	code, text := ask(ctx, http.MethodGet, b.url("/v1/models/airports/ZZZ"), "")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attempts++
	if code != http.StatusOK && code != http.StatusNotFound {
		return 0, false
	}
	var a struct {
		Document struct {
			Departures int `json:"departures"`
		} `json:"document"`
		Position string `json:"position"`
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		b.t.Errorf("answered with %s", text)
		return 0, false
	}
	at, err := strconv.ParseUint(a.Position[strings.LastIndexByte(a.Position, ':')+1:], 10, 64)
	if err != nil {
		b.t.Errorf("answered with %s", text)
		return 0, false
	}
	known := 0 // events up to there whose acknowledgement came; one more may be stored
	for _, seq := range b.written {
		if seq <= at {
			known++
		}
	}
	b.answers++
	if a.Document.Departures < known || a.Document.Departures > known+1 {
		b.t.Errorf("at %d there were %d events, and the answer is %s", at, known, text)
	}
	return a.Document.Departures, true
}

// finally requires that nothing is missing.
func (b *bystanders) finally() {
	b.t.Helper()
	if len(b.written) < 50 || b.answers < 50 {
		b.t.Errorf("only %d events were written, and %d of %d questions answered", len(b.written), b.answers, b.attempts)
	}
	if !slices.IsSorted(b.written) {
		b.t.Errorf("events were acknowledged out of order")
	}
	eventually(b.t, "everything that was written is there", func() (bool, string) {
		n, ok := b.check(b.t.Context())
		return ok && n >= len(b.written), fmt.Sprintf("%d of %d", n, len(b.written))
	})
	b.t.Logf("%d events, %d of %d questions answered", len(b.written), b.answers, b.attempts)
}

// look returns the newest replay; an empty one when the region does not say.
func (b *bystanders) look() (r replayed) {
	list := cli(b.t, "", "--dir", b.dir, "replay", "list", "airports", "-o", "json")
	if list.code != 0 {
		return r
	}
	var l struct{ Replays []replayed }
	if err := json.Unmarshal([]byte(list.out), &l); err != nil || len(l.Replays) == 0 {
		return r
	}
	return l.Replays[0]
}

// killAt kills when the replay after another one is at a place, and returns its id.
func (b *bystanders) killAt(place, before string, random *rand.Rand, kill func()) (id string) {
	b.t.Helper()
	look := b.look
	if place == "rollback" { // it is remembered like a replay, once it is asked for
		eventually(b.t, "the rollback is asked for", func() (bool, string) {
			id = look().ID
			return id != "" && id != before, id
		})
	}
	if place == "random" || place == "rollback" {
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		if r := look(); r.ID != before {
			id = r.ID
		}
		kill()
		return id
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		r := look()
		if r.ID == before || r.ID == "" {
			continue
		}
		share, _ := strconv.ParseUint(strings.TrimSuffix(place, " %"), 10, 64)
		running := r.State == "building" || r.State == "comparing" || r.State == "switching" || r.State == "requested"
		if !running || place == "switching" && (r.State == "switching" || r.State == "comparing") || share > 0 && r.Head > 0 && r.Sequence*100 >= r.Head*share {
			kill()
			return r.ID
		}
	}
	b.t.Fatalf("the replay never came to %s", place)
	return ""
}
