package region_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/declared"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

// shop is a region with servers of its own, and beside it somebody who knows nothing of it: an ordinary client that makes a stream and fills it.
type shop struct {
	t      *testing.T
	region *region.Region
	reader *query.Reader
	js     jetstream.JetStream
	nc     *nats.Conn
}

func openShop(t *testing.T) *shop {
	t.Helper()
	r := open(t, region.Config{Name: "us", DataDir: natstest.StoreDir(t), LazySync: true})
	a := r.Address()
	nc := natstest.Dial(t, a.NATS, nats.UserInfo(a.User, a.Password))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &shop{t: t, region: r, reader: query.New("us", r.Store(), r.KV(), query.NewHeads(r.Log())).Attach(r.Reader), js: js, nc: nc}
}

// stream makes a stream as somebody else would.
func (s *shop) stream(cfg jetstream.StreamConfig) jetstream.Stream {
	s.t.Helper()
	var made jetstream.Stream
	eventually(s.t, "the stream is made", func() bool { // the files of one that was deleted a moment ago may still be there
		var err error
		made, err = s.js.CreateStream(s.within(), cfg)
		return err == nil
	})
	return made
}

func (s *shop) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s.t.Cleanup(cancel)
	return ctx
}

func (s *shop) publish(subject, data string, headers ...string) {
	s.t.Helper()
	m := nats.NewMsg(subject)
	m.Data = []byte(data)
	for i := 0; i+1 < len(headers); i += 2 {
		m.Header.Add(headers[i], headers[i+1])
	}
	if _, err := s.js.PublishMsg(s.within(), m); err != nil {
		s.t.Fatal(err)
	}
}

// acknowledged waits until everything that was published is stored.
func (s *shop) acknowledged() {
	s.t.Helper()
	select {
	case <-s.js.PublishAsyncComplete():
	case <-time.After(patience):
		s.t.Fatal("the messages were not acknowledged")
	}
}

// orderFile is a projection of plain messages over several subjects.
const orderFile = `projection: orders
version: 1
stream:
  name: ORDERS
  subjects: ["orders.>"]
  type: subject[1]
  entity: {type: {text: order}, id: data.order.id}
  data: data.order
  time: {milliseconds: data.at}
  id: headers["X-Id"]
fields: {state: string, total: int, changes: int, last: string, at: string}
on:
  - event: [placed, paid]
    do:
      - set: {state: event.type, last: event.id, at: string(event.time)}
      - add: {total: "default(data.total, 0)"}
      - count: changes
  - event: cancelled
    do: [{delete: true}]
`

func parse(t *testing.T, text string) *declared.Projection {
	t.Helper()
	p, _, err := declared.Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// project runs a projector until the returned function is called.
func (s *shop) project(p projections.Projection) (stop func()) {
	s.t.Helper()
	log, err := s.region.Reader(p.Definition().Source)
	if err != nil {
		s.t.Fatal(err)
	}
	worker, err := projector.New(p, log, s.region.Store(), s.region.KV(), s.region.Leases(), projector.Options{Partitions: 4})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	}
	s.t.Cleanup(stop)
	return stop
}

func (s *shop) model(name string) *query.ModelStatus {
	s.t.Helper()
	o, err := s.reader.Overview(s.within())
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range o.Projections {
		if o.Projections[i].Name == name {
			return &o.Projections[i]
		}
	}
	return &query.ModelStatus{}
}

// reaches waits until a read model is complete at a sequence, and returns its state.
func (s *shop) reaches(name string, seq uint64) *query.ModelStatus {
	s.t.Helper()
	var m *query.ModelStatus
	eventually(s.t, fmt.Sprintf("%s is live at %d: %+v", name, seq, m), func() bool {
		m = s.model(name)
		points := m.Position.Points()
		return m.State == "live" && m.Digest != "" && len(points) == 1 && points[0].Sequence == seq && m.Lag != nil && m.Lag.Events == 0
	})
	return m
}

// refuses waits until the projector refuses with a code, and returns what it says.
func (s *shop) refuses(name string, code events.Code) string {
	s.t.Helper()
	var m *query.ModelStatus
	eventually(s.t, name+" is refused with "+string(code), func() bool {
		m = s.model(name)
		return m.Projector == projections.ProjectorRefused && m.Code == string(code)
	})
	return m.Message
}

// documents returns a read model on one line.
func (s *shop) documents(name string) string {
	s.t.Helper()
	var all []string
	o := query.ListOptions{Limit: query.MaxLimit}
	for {
		page, err := s.reader.List(s.within(), name, o)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, item := range page.Items {
			all = append(all, item.Key+"="+strings.Join(item.Document.Values, ","))
		}
		if o.After = page.Next; page.Next == "" {
			return strings.Join(all, " ")
		}
	}
}

func (s *shop) want(got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// rebuild replays a read model from the start.
func (s *shop) rebuild(name string) projections.Replay {
	s.t.Helper()
	asked, err := projections.RequestReplay(s.within(), s.region.KV(), name, "test", time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	var now projections.Replay
	eventually(s.t, "the replay ends", func() bool {
		now, _, err = projections.ReadJSON[projections.Replay](s.within(), s.region.KV(), projections.ReplayKey(name))
		return err == nil && now.ID == asked.ID && !now.Running()
	})
	return now
}

func TestAStreamOfSomebodyElseIsAReadModel(t *testing.T) {
	s := openShop(t)
	p := parse(t, orderFile)
	stop := s.project(p)
	// The stream is not there yet. The projector waits and says for what.
	eventually(t, "it says what it waits for", func() bool {
		m := s.model("orders")
		return m.Projector == projections.ProjectorWaiting && m.Code == string(events.ErrNoLog) && strings.Contains(m.Message, "no stream ORDERS")
	})
	s.stream(jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>", "returns.>"}})
	s.publish("orders.placed.eu", `{"order":{"id":"a","total":5},"at":1000}`, "X-Id", "1")
	s.publish("orders.placed.us", `{"order":{"id":"b","total":7},"at":2000}`, "X-Id", "2")
	s.publish("returns.placed", `whatever`)
	s.publish("orders.paid", `{"order":{"id":"a"},"at":3000}`, "X-Id", "3")
	m := s.reaches("orders", 4)
	s.want(s.documents("orders"), "a=paid,5,2,3,1970-01-01T00:00:03Z b=placed,7,1,2,1970-01-01T00:00:02Z")
	if m.Stream == nil || m.Stream.Name != "ORDERS" || !strings.HasPrefix(m.Position.String(), "orders.") {
		t.Errorf("the state is %+v", m)
	}
	eventually(t, "the status says how the stream stands", func() bool {
		now := s.model("orders")
		return now.Stream.Head.Equal(now.Position) && now.Stream.First == 1
	})

	// Live, and with a position.
	at := m.Position.Points()[0]
	s.publish("orders.cancelled", `{"order":{"id":"b"},"at":4000}`, "X-Id", "4")
	at.Sequence = 5
	a, err := s.reader.Get(s.within(), "orders", "b", query.Options{AtLeast: events.At(at)})
	if !errors.Is(err, projections.ErrNoDocument) || a.Position.String() != at.String() {
		t.Errorf("after it was cancelled: %+v, %v", a, err)
	}
	s.publish("orders.placed.us", `{"order":{"id":"b","total":1},"at":5000}`, "X-Id", "5")
	if a, err := s.reader.Get(s.within(), "orders", "b", query.Options{Strong: true}); err != nil || a.Document.Values[1] != "1" || a.Lag == nil {
		t.Errorf("a strong read: %+v, %v", a, err)
	}
	at.Sequence = 9
	if _, err := s.reader.Get(s.within(), "orders", "a", query.Options{AtLeast: events.At(at), Wait: time.Millisecond}); !errors.Is(err, projections.ErrNotReached) {
		t.Errorf("a position of the future: %v", err)
	}
	at.Lineage = "00000000"
	if _, err := s.reader.Get(s.within(), "orders", "a", query.Options{AtLeast: events.At(at)}); !errors.Is(err, events.ErrLostPosition) {
		t.Errorf("a position of another history: %v", err)
	}

	// Watched: a message that is published while somebody watches is told.
	told, published := "", false
	for u, err := range s.reader.Watch(s.within(), "orders", query.WatchOptions{Heartbeat: query.MinHeartbeat}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range u.Changes {
			told = c.Key + "=" + strings.Join(c.Document.Values, ",")
		}
		if told != "" {
			break
		}
		if !published && len(u.Changes) == 0 && u.Position.Points()[0].Sequence == 6 {
			published = true
			s.publish("orders.paid", `{"order":{"id":"b"},"at":5500}`, "X-Id", "5b")
		}
	}
	s.want(told, "b=paid,1,2,5b,1970-01-01T00:00:05.5Z")
	if n, err := s.reader.Count(s.within(), "orders", query.CountOptions{}); err != nil || n.Count != 2 {
		t.Errorf("%+v, %v", n, err)
	}

	// Replay, and a projector that starts again.
	if job := s.rebuild("orders"); job.State != projections.ReplayDone || !job.Compared || !job.Equal {
		t.Errorf("the replay is %+v", job)
	}
	stop()
	s.publish("orders.paid", `{"order":{"id":"b"},"at":6000}`, "X-Id", "6")
	s.project(p)
	s.reaches("orders", 8)
	s.want(s.documents("orders"), "a=paid,5,2,3,1970-01-01T00:00:03Z b=paid,1,3,6,1970-01-01T00:00:06Z")
	// Whoever read before removes his own consumer. The server would, after half a minute: by then it is too late to tell.
	removed := time.Now().Add(10 * time.Second)
	eventually(t, "one consumer is left", func() bool {
		info, err := s.js.Stream(s.within(), "ORDERS")
		if err != nil {
			t.Fatal(err)
		}
		state := info.CachedInfo().State
		if state.LastSeq != 8 || state.Consumers != 1 && time.Now().After(removed) {
			t.Fatalf("the stream is %+v: nothing is to be written to it, and one consumer made", state)
		}
		return state.Consumers == 1
	})
}

// TestAReadModelOfAStreamStandsBesideThoseOfTheLog: each has positions, lag and histories of its own.
func TestAReadModelOfAStreamStandsBesideThoseOfTheLog(t *testing.T) {
	s := openShop(t)
	s.stream(jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	ours := parse(t, "projection: ours\nversion: 1\nfields: {n: int}\non: [{event: E, do: [{count: n}]}]\n")
	s.project(parse(t, orderFile))
	s.project(ours)
	s.publish("orders.placed", `{"order":{"id":"a","total":5},"at":1000}`, "X-Id", "1")
	receipt, err := s.region.Log().Append(s.within(), events.One(events.Event{ID: "1", Source: "urn:test", Type: "E", Entity: events.Entity{Type: "x", ID: "k"}}, events.ExpectAny()))
	if err != nil {
		t.Fatal(err)
	}
	s.reaches("ours", receipt.Last)
	m := s.reaches("orders", 1)
	if s.model("ours").Stream != nil {
		t.Error("a projection of the log has a stream")
	}
	if _, err := s.reader.Get(s.within(), "ours", "k", query.Options{AtLeast: receipt.Position}); err != nil {
		t.Error(err)
	}
	for name, p := range map[string]events.Position{"orders": receipt.Position, "ours": m.Position} {
		if _, err := s.reader.Get(s.within(), name, "k", query.Options{AtLeast: p}); !errors.Is(err, events.ErrLostPosition) {
			t.Errorf("%s at %s: %v", name, p, err)
		}
	}
	// Whoever cannot ask the stream answers without knowing the lag.
	blind := query.New("us", s.region.Store(), s.region.KV(), query.NewHeads(s.region.Log()))
	if a, err := blind.Get(s.within(), "orders", "a", query.Options{}); err != nil || a.Lag != nil {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := blind.Get(s.within(), "orders", "a", query.Options{AtLeast: m.Position}); !errors.Is(err, events.ErrUnreachable) {
		t.Errorf("with a position: %v", err)
	}
	for _, source := range []projections.Source{{Stream: "ORDERS", Origin: "us"}, {Stream: "EVT_us", Origin: "x"}, {Stream: "a b", Origin: "x"}} {
		if _, err := s.region.Reader(&source); !errors.Is(err, projections.ErrInvalidProjection) {
			t.Errorf("%+v: %v", source, err)
		}
	}
}

// TestFlightsAsPlainJSON publishes twenty thousand real flights with an ordinary client, while the projector starts again and again, and compares every document with
// a fold of events that knows no stream.
func TestFlightsAsPlainJSON(t *testing.T) {
	s := openShop(t)
	text, err := os.ReadFile("../../projections/flights/attached.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, cases, err := declared.Parse("attached.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if differences := c.Run(p); len(differences) > 0 {
			t.Errorf("%s: %v", c.Name, differences)
		}
	}
	s.stream(jetstream.StreamConfig{Name: "FLIGHTS", Subjects: []string{"flights.>"}})
	lines, err := flights.Lines()
	if err != nil {
		t.Fatal(err)
	}
	var records []*events.Record
	stop := s.project(p)
	scanner := bufio.NewScanner(lines)
	for n := 1; scanner.Scan(); n++ {
		var f flights.Flight
		line := bytes.Clone(scanner.Bytes())
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatal(err)
		}
		for _, m := range [][3]string{{"departed", f.Origin, flights.Departed}, {"landed", f.Destination, flights.Landed}} {
			if _, err := s.js.PublishAsync("flights."+m[0]+"."+m[1], line); err != nil {
				t.Fatal(err)
			}
			records = append(records, &events.Record{Sequence: uint64(len(records)) + 1, Kind: events.KindEvent, Event: events.Event{
				ID: fmt.Sprint(len(records)), Source: "urn:test", Type: m[2], Entity: events.Entity{Type: flights.AirportType, ID: m[1]}, Data: line,
			}})
		}
		if n%500 == 0 {
			s.acknowledged()
		}
		if n%4_000 == 0 {
			stop()
			stop = s.project(p)
		}
	}
	s.acknowledged()
	if len(records) != 2*flights.Count {
		t.Fatalf("%d messages", len(records))
	}
	m := s.reaches("airports-attached", uint64(len(records)))
	airports, err := flights.Airports()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, d := range declared.Fold(airports, slices.Values(records)).Documents {
		want = append(want, d.Key+"="+strings.Join(d.Values, ","))
	}
	s.want(s.documents("airports-attached"), strings.Join(want, " "))
	if m.Parked+m.Unrouted > 0 || m.Documents != uint64(len(want)) {
		t.Errorf("the state is %+v", m)
	}
	if job := s.rebuild("airports-attached"); !job.Compared || !job.Equal || job.Digest != m.Digest {
		t.Errorf("the replay is %+v", job)
	}
	// A Redis that was emptied comes back from the stream.
	if err := s.region.Wipe(s.within()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is built anew", func() bool {
		now := s.model("airports-attached")
		return now.State == "live" && now.Digest == m.Digest
	})
}

func TestAStreamThatIsMadeAgainIsRefusedUntilAReplay(t *testing.T) {
	s := openShop(t)
	p := parse(t, orderFile)
	cfg := jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}
	s.stream(cfg)
	s.publish("orders.placed", `{"order":{"id":"a","total":5},"at":1000}`, "X-Id", "1")
	s.project(p)
	before := s.reaches("orders", 1).Position.Points()[0]
	if err := s.js.DeleteStream(s.within(), "ORDERS"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it says that the stream is gone", func() bool {
		m := s.model("orders")
		return m.Projector == projections.ProjectorWaiting && m.Code == string(events.ErrNoLog)
	})
	s.stream(cfg)
	for i := range 3 {
		s.publish("orders.placed", fmt.Sprintf(`{"order":{"id":"new%d","total":1},"at":1000}`, i), "X-Id", "1")
	}
	message := s.refuses("orders", events.ErrForeignHistory)
	if !strings.Contains(message, before.String()) || !strings.Contains(message, "tidemark replay orders --from-start") {
		t.Errorf("it says %s", message)
	}
	if job := s.rebuild("orders"); job.State != projections.ReplayDone || job.Compared {
		t.Errorf("the replay is %+v", job)
	}
	var state jetstream.StreamState
	if stream, err := s.js.Stream(s.within(), "ORDERS"); err != nil {
		t.Fatal(err)
	} else {
		state = stream.CachedInfo().State
	}
	after := s.reaches("orders", state.LastSeq).Position.Points()[0]
	if after.Lineage == before.Lineage || !strings.Contains(s.documents("orders"), "new0=placed,1,1,") {
		t.Errorf("before %s, after %s: %s", before, after, s.documents("orders"))
	}
}

func TestWhatTheStreamForgetsIsPassedOverOrRefused(t *testing.T) {
	s := openShop(t)
	p := parse(t, orderFile)
	stream := s.stream(jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, MaxMsgs: 10})
	place := func(id string) {
		s.publish("orders.placed", `{"order":{"id":"`+id+`","total":1},"at":1000}`, "X-Id", id)
	}
	for _, id := range strings.Split("abcdefghijkl", "") { // a and b are evicted
		place(id)
	}
	for _, seq := range []uint64{5, 6, 12} { // e, f, l
		if err := stream.DeleteMsg(s.within(), seq); err != nil {
			t.Fatal(err)
		}
	}
	stop := s.project(p)
	s.reaches("orders", 12)
	eventually(t, "the status says where the stream begins", func() bool { return s.model("orders").Stream.First == 3 })
	keys := func() (all string) {
		for _, d := range strings.Split(s.documents("orders"), " ") {
			all += d[:1]
		}
		return all
	}
	s.want(keys(), "cdghijk")
	if job := s.rebuild("orders"); !job.Equal {
		t.Errorf("the replay is %+v", job)
	}
	stop()
	// Eleven more while nobody reads: the first of them is evicted unread.
	for _, id := range strings.Split("mnopqrstuvw", "") {
		place(id)
	}
	stop = s.project(p)
	message := s.refuses("orders", events.ErrEvicted)
	if !strings.Contains(message, "retains nothing before 14, and orders had been folded up to 12 only") {
		t.Errorf("it says %s", message)
	}
	s.want(keys(), "cdghijk") // which is right at its position, and says so
	eventually(t, "an answer says how far it is behind", func() bool {
		a, err := s.reader.Get(s.within(), "orders", "c", query.Options{})
		return err == nil && a.Lag != nil && a.Lag.Events == 11
	})
	if job := s.rebuild("orders"); job.State != projections.ReplayDone {
		t.Errorf("the replay is %+v", job)
	}
	s.reaches("orders", 23)
	s.want(keys(), "nopqrstuvw")
	// A purge of what was read changes nothing.
	if err := stream.Purge(s.within()); err != nil {
		t.Fatal(err)
	}
	stop()
	s.project(p)
	place("x")
	s.reaches("orders", 24)
	s.want(keys(), "nopqrstuvwx")
}

func TestMessagesThatAreNoEventsAreCountedAndStopNobody(t *testing.T) {
	s := openShop(t)
	s.stream(jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>", "other.>"}})
	good := `{"order":{"id":"a","total":1},"at":1000}`
	bad := []string{"", "\x00", "{", "nonsense", `{"order":{"id":"a"},"order":{"id":"b"},"at":1}`, `{"order":{"id":"a","total":1e400},"at":1}`, strings.Repeat("[", 10_000),
		`{"order":null,"at":1}`, `{"order":{"id":""},"at":1}`, `{"order":{"id":"a"},"at":"late"}`, `{"order":{"id":"a"}}`, `[1,2]`, `"` + strings.Repeat("x", 1_100_000) + `"`}
	s.publish("orders.placed", good, "X-Id", "1")
	for _, data := range bad {
		s.publish("orders.placed", data, "X-Id", "2")
	}
	s.publish("orders.placed", good)                                                      // no header: no id
	s.publish("orders.placed."+strings.Repeat("t.", 500)+"t", good, "X-Id", "3")          // many tokens
	s.publish("other.placed", good, "X-Id", "4")                                          // not looked at
	s.publish("orders.unknown", "nonsense", "X-Id", "5")                                  // not JSON, whatever its type
	s.publish("orders.placed", `{"order":{"id":"p","total":"x"},"at":1000}`, "X-Id", "6") // a total that is none: p is parked
	s.publish("orders.placed", `{"order":{"id":"b"},"at":1000}`, "X-Id", "7")
	s.project(parse(t, orderFile))
	m := s.reaches("orders", uint64(len(bad))+7)
	s.want(s.documents("orders"), "a=placed,2,2,3,1970-01-01T00:00:01Z b=placed,0,1,7,1970-01-01T00:00:01Z p=,0,0,,")
	if m.Unrouted != uint64(len(bad))+2 || m.Parked != 1 {
		t.Errorf("%d unrouted of %d, %d parked", m.Unrouted, len(bad)+2, m.Parked)
	}
	if job := s.rebuild("orders"); !job.Equal {
		t.Errorf("the replay is %+v", job)
	}
	if again := s.reaches("orders", uint64(len(bad))+7); again.Unrouted != m.Unrouted || again.Parked != m.Parked || again.Digest != m.Digest {
		t.Errorf("%+v and then %+v", m, again)
	}
}

// TestAStreamOfTheLastMessageOfEachSubjectIsFollowed: what is superseded before it is read is passed over; nobody has to decide anything.
func TestAStreamOfTheLastMessageOfEachSubjectIsFollowed(t *testing.T) {
	s := openShop(t)
	kv, err := s.js.CreateKeyValue(s.within(), jetstream.KeyValueConfig{Bucket: "prices"})
	if err != nil {
		t.Fatal(err)
	}
	p := parse(t, `projection: prices
version: 1
stream:
  name: KV_prices
  type: '"KV-Operation" in headers ? headers["KV-Operation"] : "PUT"'
  entity: {type: {text: price}, id: "subject[2]"}
fields: {cents: int}
on:
  - {event: PUT, do: [{set: {cents: data.cents}}]}
  - {event: [DEL, PURGE], do: [{delete: true}]}
`)
	put := func(key string, cents int) {
		if _, err := kv.Put(s.within(), key, fmt.Appendf(nil, `{"cents":%d}`, cents)); err != nil {
			t.Fatal(err)
		}
	}
	put("tea", 1)
	put("milk", 2)
	put("tea", 3)
	stop := s.project(p)
	s.reaches("prices", 3)
	s.want(s.documents("prices"), "milk=2 tea=3")
	stop()
	put("milk", 4) // 4 to 6 are superseded unread, and all that was read
	put("tea", 5)
	put("milk", 6)
	put("milk", 7)
	put("tea", 8)
	if err := kv.Delete(s.within(), "milk"); err != nil {
		t.Fatal(err)
	}
	s.project(p)
	m := s.reaches("prices", 9)
	s.want(s.documents("prices"), "tea=8")
	if !strings.HasPrefix(m.Position.String(), "kv-prices.") {
		t.Errorf("%+v", m)
	}
	eventually(t, "the status says where the stream begins", func() bool { return s.model("prices").Stream.First == 8 })
}
