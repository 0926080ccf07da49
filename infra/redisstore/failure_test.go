package redisstore_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections"
)

// client returns another client of the server, made with changed options.
func client(t testing.TB, server *redistest.Server, change func(*redis.Options)) *redis.Client {
	t.Helper()
	o := server.Options()
	o.DialerRetries = 1
	change(o)
	c := redis.NewClient(o)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// everyCall calls every method and returns its error by name.
func everyCall(ctx context.Context, s *redisstore.Store) map[string]error {
	g, def, ref := generation(2), definition(), projections.Ref{Key: "a"}
	_, headers := s.Headers(ctx, g)
	_, claim := s.Claim(ctx, g, owner)
	_, load := s.Load(ctx, g, def, []projections.Ref{ref})
	_, _, get := s.Get(ctx, g, def, ref)
	_, _, page := s.Page(ctx, g, def, 0, "", 1)
	_, _, find := s.Find(ctx, g, def, 0, projections.IndexQuery{Index: projections.ParkedIndexName, Limit: 1})
	_, _, reverse := s.Find(ctx, g, def, 0, projections.IndexQuery{Index: projections.ParkedIndexName, Limit: 1, Reverse: true})
	_, _, count := s.Count(ctx, g, def, 0, projections.ParkedIndexName, "", "")
	_, _, _, changes := s.Changes(ctx, g, 0, 0, 1)
	_, _, inspect := s.Inspect(ctx, g, def, 0, []projections.Inspected{{Key: "a", Entries: []projections.IndexEntry{{Index: projections.ParkedIndex}}}})
	_, _, _, sizes := s.Sizes(ctx, g, def, 0)
	var strays error
	for _, strays = range s.Strays(ctx, g, nil) {
		continue
	}
	_, _, marks := s.Marks(ctx, g)
	_, _, lookup := s.Lookup(ctx, g, def, []projections.Ref{ref})
	_, memory := s.Memory(ctx)
	_, namespace := s.ReadNamespace(ctx)
	written := commit(0, 1, 2, document("a", 1, 2))
	written.Writes[0].Index = []projections.IndexEntry{{Index: projections.ParkedIndex, Value: "p0000000000000000002"}}
	return map[string]error{
		"headers": headers, "claim": claim, "load": load, "get": get, "page": page, "find": find, "find in reverse": reverse, "count": count,
		"changes": changes, "inspect": inspect, "sizes": sizes, "strays": strays, "marks": marks, "lookup": lookup, "memory": memory, "read namespace": namespace,
		"apply":  s.Apply(ctx, g, def, []projections.Commit{written})[0],
		"create": s.Create(ctx, g, header(1, 1)), "retire": s.SetState(ctx, g, owner, projections.Retired),
		"make live": s.SetState(ctx, g, owner, projections.Live), "drop": s.Drop(ctx, g),
		"claim namespace": s.ClaimNamespace(ctx, "test"),
	}
}

func TestAStoppedServerIsUnreachableAndItsAddressIsNotTold(t *testing.T) {
	server := redistest.Start(t)
	addr := server.Options().Addr
	c := client(t, server, func(o *redis.Options) { o.MaxRetries = -1 })
	s := open(t, c)
	must(t, s.Create(t.Context(), generation(1), header(0, 1)))
	server.Stop()
	for name, err := range everyCall(t.Context(), s) {
		if !errors.Is(err, projections.ErrStoreUnreachable) {
			t.Errorf("%s returned %v, want %s", name, err, projections.ErrStoreUnreachable)
			continue
		}
		if strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "Is it running") {
			t.Errorf("%s says %q: that holds the address, or no hint", name, err)
		}
	}
}

func TestMissingRightsAreToldApartFromAnUnreachableServer(t *testing.T) {
	server := redistest.Start(t)
	ctx := t.Context()
	must(t, server.Client().Do(ctx, "acl", "setuser", "limited", "on", ">secret", "~tm:*", "+ping", "+hello", "+multi", "+exec", "+client").Err())
	for name, change := range map[string]func(*redis.Options){
		"a wrong password":     func(o *redis.Options) { o.Username, o.Password = "limited", "wrong" },
		"a user without right": func(o *redis.Options) { o.Username, o.Password = "limited", "secret" },
	} {
		t.Run(name, func(t *testing.T) {
			for call, err := range everyCall(ctx, open(t, client(t, server, change))) {
				if !errors.Is(err, events.ErrUnauthorized) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s returned %v, want %s", call, err, events.ErrUnauthorized)
				}
			}
		})
	}
	t.Run("no password", func(t *testing.T) {
		must(t, server.Client().ConfigSet(ctx, "requirepass", "secret").Err())
		defer func() { must(t, server.Client().ConfigSet(ctx, "requirepass", "").Err()) }()
		for call, err := range everyCall(ctx, open(t, client(t, server, func(*redis.Options) {}))) {
			if !errors.Is(err, events.ErrUnauthorized) {
				t.Errorf("%s returned %v, want %s", call, err, events.ErrUnauthorized)
			}
		}
	})
}

// The users of README.md can do everything that they should.
func TestTheReadmesUsersSuffice(t *testing.T) {
	server := redistest.Start(t)
	ctx := t.Context()
	user := func(name, rights string) *redisstore.Store {
		args := []any{"acl", "setuser", name, "on", ">secret"}
		for word := range strings.FieldsSeq(rights) {
			args = append(args, word)
		}
		must(t, server.Client().Do(ctx, args...).Err())
		return open(t, client(t, server, func(o *redis.Options) { o.Username, o.Password = name, "secret" }))
	}
	projector, reader := readmeRights(t)
	s, r := user("projector", projector), user("reader", reader)
	must(t, s.Create(ctx, generation(2), header(0, 1)))
	must(t, s.Apply(ctx, generation(2), definition(), []projections.Commit{commit(0, 1, 2, document("a", 1, 2))})[0])
	must(t, server.Client().Del(ctx, docKey(generation(2), projections.Ref{Key: "a"})).Err()) // a page then looks twice
	for call, err := range everyCall(ctx, r) {
		switch call {
		case "headers", "load", "get", "page", "find", "find in reverse", "count", "changes", "inspect", "sizes", "strays", "marks", "lookup", "memory":
			must(t, err)
		}
	}
	must(t, s.Drop(ctx, generation(2)))
	must(t, s.Create(ctx, generation(2), header(0, 1)))
	for call, err := range everyCall(ctx, s) {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
}

func TestAReadOnlyReplicaRefusesWritesAndSaysSo(t *testing.T) {
	server := redistest.Start(t)
	ctx := t.Context()
	s := open(t, server.Client())
	must(t, s.Create(ctx, generation(1), header(0, 1)))
	must(t, server.Client().Do(ctx, "replicaof", "127.0.0.1", "1").Err())
	err := s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 1, 2)})[0]
	wantCode(t, err, projections.ErrStoreUnreachable)
	wantText(t, err, "read-only replica", "Connect to the master")
	must(t, server.Client().Do(ctx, "replicaof", "no", "one").Err())
	must(t, s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 1, 2)})[0])
}

func TestAFullServerRefusesTheWholeCommit(t *testing.T) {
	server := redistest.Start(t)
	ctx := t.Context()
	s := open(t, server.Client())
	must(t, s.Create(ctx, generation(1), header(0, 1)))
	must(t, s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 1, 2, document("gone", 1, 2))})[0])
	before := dump(t, server.Client())
	must(t, server.Client().ConfigSet(ctx, "maxmemory", "1").Err())
	c := commit(0, 2, 3, document("a", 1, 3), document("b", 2, 3))
	c.Writes = append(c.Writes, projections.Write{Document: projections.Document{Key: "gone"}, Remove: true})
	err := s.Apply(ctx, generation(1), definition(), []projections.Commit{c})[0]
	wantCode(t, err, projections.ErrStoreFull)
	wantText(t, err, "memory is full", "maxmemory")
	must(t, server.Client().ConfigSet(ctx, "maxmemory", "0").Err())
	sameDump(t, dump(t, server.Client()), before)
	must(t, s.Apply(ctx, generation(1), definition(), []projections.Commit{c})[0])
}

func TestABusyServerIsUnreachable(t *testing.T) {
	server := redistest.Start(t)
	ctx := t.Context()
	s := open(t, client(t, server, func(o *redis.Options) { o.MaxRetries = -1 }))
	must(t, s.Create(ctx, generation(1), header(0, 1)))
	must(t, server.Client().ConfigSet(ctx, "busy-reply-threshold", "10").Err())
	endless := make(chan error, 1)
	go func() {
		c := client(t, server, func(o *redis.Options) { o.ReadTimeout, o.MaxRetries = within, -1 })
		endless <- c.Eval(ctx, "while true do end", nil).Err()
	}()
	eventually(t, "the server is busy", func() bool {
		_, err := s.Headers(ctx, generation(1))
		return err != nil && strings.Contains(err.Error(), "busy with a script")
	})
	wantCode(t, s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 1, 2)})[0], projections.ErrStoreUnreachable)
	must(t, server.Client().ScriptKill(ctx).Err())
	if err := <-endless; err == nil {
		t.Error("the endless script ended by itself")
	}
	must(t, s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 1, 2)})[0])
}

// answering returns a client of a server that gives one answer to everything.
func answering(t testing.TB, answer string) *redis.Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answerAll(conn, answer)
		}
	}()
	c := redis.NewClient(&redis.Options{Addr: l.Addr().String(), MaxRetries: -1, DisableIdentity: true, Protocol: 2})
	t.Cleanup(func() { _, _ = c.Close(), l.Close() })
	return c
}

// answerAll answers each command, which is a line *n and n times a line with a length and a line with a value.
func answerAll(conn net.Conn, answer string) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		n, _ := strconv.Atoi(strings.Trim(line, "*\r\n"))
		for range 2 * n {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
		}
		if _, err := io.WriteString(conn, "-"+answer+"\r\n"); err != nil {
			return
		}
	}
}

func TestEveryRefusalOfTheServerHasACodeAndAHint(t *testing.T) {
	for answer, want := range map[string]struct {
		code  events.Code
		words string
	}{
		"LOADING Redis is loading the dataset in memory":                                {projections.ErrStoreUnreachable, "loading its data"},
		"MISCONF Redis is configured to save RDB snapshots, but it's unable to persist": {projections.ErrStoreUnreachable, "save to its disk"},
		"CLUSTERDOWN Hash slot not served":                                              {projections.ErrStoreUnreachable, "CLUSTER INFO"},
		"MASTERDOWN Link with MASTER is down":                                           {projections.ErrStoreUnreachable, "INFO replication"},
		"NOREPLICAS Not enough good replicas to write.":                                 {projections.ErrStoreUnreachable, "NOREPLICAS"},
		"TRYAGAIN Multiple keys request during rehashing of slot":                       {projections.ErrStoreUnreachable, "slot is being moved"},
		"MOVED 3999 10.1.2.3:6381":                                                      {projections.ErrStoreUnreachable, "cluster client"},
		"CROSSSLOT Keys in request don't hash to the same slot":                         {projections.ErrStoreUnreachable, "hash tag"},
		"READONLY You can't write against a read only replica.":                         {projections.ErrStoreUnreachable, "master"},
		"OOM command not allowed when used memory > 'maxmemory'.":                       {projections.ErrStoreFull, "noeviction"},
		"BUSY Redis is busy running a script.":                                          {projections.ErrStoreUnreachable, "SLOWLOG"},
		"NOAUTH Authentication required.":                                               {events.ErrUnauthorized, "credentials"},
		"WRONGPASS invalid username-password pair or user is disabled.":                 {events.ErrUnauthorized, "credentials"},
		"NOPERM this user has no permissions to run the 'evalsha' command":              {events.ErrUnauthorized, "ACL"},
		"WRONGTYPE Operation against a key holding the wrong kind of value":             {projections.ErrWrongType, "TYPE"},
		"ERR max number of clients reached":                                             {projections.ErrStoreUnreachable, "max number of clients"},
		"EXECABORT Transaction discarded because of previous errors.":                   {projections.ErrStoreUnreachable, "not executed"},
	} {
		s := open(t, answering(t, answer))
		_, _, get := s.Get(t.Context(), generation(1), definition(), projections.Ref{Key: "a"})
		_, load := s.Load(t.Context(), generation(1), definition(), []projections.Ref{{Key: "a"}})
		apply := s.Apply(t.Context(), generation(1), definition(), []projections.Commit{commit(0, 1, 2)})[0]
		for _, err := range []error{get, load, apply} {
			wantText(t, err, string(want.code), want.words)
			if !errors.Is(err, want.code) || strings.Contains(err.Error(), "10.1.2.3") {
				t.Errorf("the answer %q became %v", answer, err)
			}
		}
	}
}

// A commit whose answer is lost may have taken effect. It must not be sent again behind the caller's back: the second answer would be
// about another question.
func TestALostAnswerIsNeitherHiddenNorAskedForAgain(t *testing.T) {
	server := redistest.Start(t)
	ctx := t.Context()
	var lose atomic.Bool
	c := client(t, server, func(o *redis.Options) {
		dial := o.Network
		o.Dialer = func(ctx context.Context, _, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, dial, addr)
			return &deafConn{Conn: conn, deaf: &lose}, err
		}
	})
	s := open(t, c)
	must(t, s.Create(ctx, generation(1), header(0, 1)))
	must(t, s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 1, 2)})[0])

	lose.Store(true)
	err := s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 2, 3, document("a", 1, 3))})[0]
	lose.Store(false)
	wantCode(t, err, projections.ErrStoreUnreachable)
	hs, err := s.Headers(ctx, generation(1))
	must(t, err)
	if !hs[0].Checkpoint.Equal(position(3)) {
		t.Fatalf("the checkpoint is %s: the commit had no effect, so this test shows nothing", hs[0].Checkpoint)
	}
	must(t, s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 3, 4, document("a", 1, 4))})[0])
}

// deafConn loses answers: it waits until one is there, and then breaks.
type deafConn struct {
	net.Conn
	deaf *atomic.Bool
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.deaf.Load() {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func TestAServerThatForgotTheScriptsIsToldThemAgain(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		ctx := t.Context()
		s, g := open(t, client), generation(projectionPartitions)
		for i := range g.Partitions {
			must(t, s.Create(ctx, g, header(i, 1)))
		}
		for seq := uint64(1); seq < 4; seq++ {
			must(t, client.ScriptFlush(ctx).Err())
			var commits []projections.Commit
			for i := range g.Partitions {
				commits = append(commits, commit(i, seq, seq+1, document("a", i, seq+1)))
			}
			for _, err := range s.Apply(ctx, g, definition(), commits) {
				must(t, err)
			}
		}
		must(t, client.ScriptFlush(ctx).Err())
		_, err := s.Claim(ctx, g, owner)
		must(t, err)
		must(t, client.ScriptFlush(ctx).Err())
		must(t, s.SetState(ctx, g, owner, projections.Retired))
		must(t, client.ScriptFlush(ctx).Err())
		must(t, s.Drop(ctx, g))
	})
}

func TestAKilledServerComesBackWithWholeCommits(t *testing.T) {
	server := redistest.Start(t)
	ctx := t.Context()
	// While the disk is busy with a sync of every second, the server answers first and writes its file later.
	must(t, server.Client().ConfigSet(ctx, "appendfsync", "always").Err())
	s := open(t, server.Client())
	must(t, s.Create(ctx, generation(1), header(0, 1)))
	answered := make(chan uint64, 1<<20) // so that the writer never waits
	go func() {
		defer close(answered)
		for seq := uint64(1); ; seq++ {
			c := commit(0, seq, seq+1, document("a", int(seq+1), seq+1), document("b", int(seq+1), seq+1))
			if s.Apply(ctx, generation(1), definition(), []projections.Commit{c})[0] != nil {
				return
			}
			answered <- seq + 1
		}
	}()
	var last uint64
	for seq := range answered {
		if last = seq; seq == 200 {
			server.Kill()
		}
	}
	server.Restart()
	hs, err := s.Headers(ctx, generation(1))
	must(t, err)
	at, _ := hs[0].Checkpoint.Point("us")
	if at.Sequence != last && at.Sequence != last+1 {
		t.Fatalf("the checkpoint is %d, and %d was answered", at.Sequence, last)
	}
	for _, key := range []string{"a", "b"} {
		h, d, err := s.Get(ctx, generation(1), definition(), projections.Ref{Key: key})
		must(t, err)
		if d == nil || d.At != h.Checkpoint.String() {
			t.Fatalf("the document %v came with a header of %s", d, h.Checkpoint)
		}
	}
	must(t, s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, at.Sequence, at.Sequence+1)})[0])
}

func TestOneReadersDeadlineEndsNobodyElsesRead(t *testing.T) {
	server := redistest.Start(t)
	ctx := t.Context()
	s := open(t, client(t, server, func(o *redis.Options) { o.ReadTimeout = within }))
	must(t, s.Create(ctx, generation(1), header(0, 1)))
	must(t, s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 1, 2, document("a", 1, 2))})[0])
	must(t, server.Client().Do(ctx, "client", "pause", "300").Err())
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	const each = 20
	hasty, patient := make(chan error, each), make(chan error, each)
	for range each {
		go func() { hasty <- get(short, s) }()
		go func() { patient <- get(ctx, s) }()
	}
	for range each {
		must(t, <-patient)
		if err := <-hasty; err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, projections.ErrStoreUnreachable) {
			t.Errorf("a reader whose time was over got %v", err)
		}
	}
}

func get(ctx context.Context, s *redisstore.Store) error {
	_, d, err := s.Get(ctx, generation(1), definition(), projections.Ref{Key: "a"})
	if err == nil && d == nil {
		err = errors.New("no document")
	}
	return err
}
