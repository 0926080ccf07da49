//go:build unix

package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
)

const testStream = "EVT_us"

func startTestNATS(t *testing.T, cfg NATSConfig) *NATS {
	t.Helper()
	if cfg.Region == "" {
		cfg.Region = "us"
	}
	n, err := StartNATS(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Shutdown)
	return n
}

func connect(t *testing.T, n *NATS, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := n.Connect(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func makeStream(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: testStream, Subjects: []string{"evt.us.>"}, AllowDirect: true})
	return err
}

// body is the content that belongs to a sequence.
func body(seq uint64) string { return fmt.Sprintf("event %d %s", seq, strings.Repeat("x", 200)) }

// publishForEver is the helper that is killed: it prints each sequence after its acknowledgement.
func publishForEver(ctx context.Context, dir *Dir) error {
	n, err := StartNATS(ctx, NATSConfig{Region: "us", Dir: dir})
	if err != nil {
		return err
	}
	nc, err := n.Connect()
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if err := makeStream(ctx, js); err != nil {
		return err
	}
	for seq := uint64(1); ; seq++ {
		ack, err := js.Publish(ctx, "evt.us.order.1", []byte(body(seq)))
		if err != nil {
			return err
		}
		fmt.Println(ack.Sequence)
	}
}

func TestNATSKeepsAcknowledgedMessagesThroughKill(t *testing.T) {
	path := t.TempDir()
	p := startHelper(t, "nats", path)
	const enough = 300
	var acked uint64
	for acked < enough {
		seq, err := strconv.ParseUint(p.line(t), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		acked = seq
	}
	p.kill(t) // in the middle of publishing
	for _, line := range p.rest {
		seq, err := strconv.ParseUint(line, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		acked = seq
	}

	js := connect(t, startTestNATS(t, NATSConfig{Dir: openDir(t, path)}))
	s, err := js.Stream(t.Context(), testStream)
	if err != nil {
		t.Fatal(err)
	}
	if last := s.CachedInfo().State.LastSeq; last < acked || last > acked+1 {
		t.Fatalf("the stream ends at %d, and %d was the last acknowledged", last, acked)
	}
	for seq := uint64(1); seq <= acked; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatalf("message %d was acknowledged: %v", seq, err)
		}
		if string(m.Data) != body(seq) {
			t.Fatalf("message %d changed: %q", seq, m.Data)
		}
	}
	ack, err := js.Publish(t.Context(), "evt.us.order.1", []byte("next"))
	if err != nil {
		t.Fatal(err)
	}
	if ack.Sequence <= acked {
		t.Errorf("sequence %d was given out twice", ack.Sequence)
	}
	if ack.Domain != "us" {
		t.Errorf("the domain is %q, want the region", ack.Domain)
	}
}

func TestNATSContinuesItsStoreWithTheSamePassword(t *testing.T) {
	dir := openDir(t, natstest.StoreDir(t))
	first := startTestNATS(t, NATSConfig{Dir: dir})
	js := connect(t, first)
	if err := makeStream(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "evt.us.order.1", []byte("one")); err != nil {
		t.Fatal(err)
	}
	first.Shutdown()
	if _, err := first.Connect(); !errors.Is(err, events.ErrClosed) {
		t.Errorf("connect after Shutdown: %v, want %s", err, events.ErrClosed)
	}
	wantMode(t, filepath.Join(dir.Path(), "nats", credentialsFile), 0o600)

	second := startTestNATS(t, NATSConfig{Dir: dir})
	if second.Password() != first.Password() || len(second.Password()) < passwordBytes {
		t.Error("the second start has another password, or a short one")
	}
	ack, err := connect(t, second).Publish(t.Context(), "evt.us.order.1", []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	if ack.Sequence != 2 {
		t.Errorf("the second message has sequence %d", ack.Sequence)
	}
}

func TestNATSRestoresModeOfItsPasswords(t *testing.T) {
	dir := openDir(t, natstest.StoreDir(t))
	startTestNATS(t, NATSConfig{Dir: dir}).Shutdown()
	path := filepath.Join(dir.Path(), "nats", credentialsFile)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	startTestNATS(t, NATSConfig{Dir: dir})
	wantMode(t, path, 0o600)
}

func TestNATSRefusesDamagedPasswordsWithoutRepeatingThem(t *testing.T) {
	dir := openDir(t, natstest.StoreDir(t))
	startTestNATS(t, NATSConfig{Dir: dir}).Shutdown()
	path := filepath.Join(dir.Path(), "nats", credentialsFile)
	if err := os.WriteFile(path, []byte(`{"tidemark": sesame`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := StartNATS(t.Context(), NATSConfig{Region: "us", Dir: dir})
	wantCode(t, err, ErrBadCredentials, path, "Delete it")
	if strings.Contains(err.Error(), "sesame") {
		t.Errorf("the error repeats the file: %v", err)
	}
}

func TestNATSOptionsAreSafe(t *testing.T) {
	n := startTestNATS(t, NATSConfig{Dir: openDir(t, natstest.StoreDir(t))})
	js := n.srv.JetStreamConfig()
	if !js.SyncAlways || js.Domain != "us" || js.MaxMemory != maxMemoryStore || js.MaxStore <= 0 {
		t.Errorf("JetStream has %+v", js)
	}
	host, _, err := net.SplitHostPort(n.srv.Addr().String())
	if err != nil || host != "127.0.0.1" {
		t.Errorf("it listens on %s", n.srv.Addr())
	}
	if a := n.srv.MonitorAddr(); a != nil {
		t.Errorf("it has a monitoring port: %s", a)
	}
	lazy := startTestNATS(t, NATSConfig{Dir: openDir(t, natstest.StoreDir(t)), LazySync: true})
	if lazy.srv.JetStreamConfig().SyncAlways {
		t.Error("LazySync does not turn it off")
	}
}

func TestNATSRefusesStrangersAndGuardsTheSystemAccount(t *testing.T) {
	n := startTestNATS(t, NATSConfig{Dir: openDir(t, natstest.StoreDir(t))})
	for name, o := range map[string]nats.Option{
		"nobody":         nats.Name("nobody"),
		"wrong password": nats.UserInfo(n.User(), "wrong"),
		"hash":           nats.UserInfo(n.User(), "$2a$04$abcdefghijklmnopqrstuu"),
		"system":         nats.UserInfo("SYS", ""),
		"no user":        nats.UserInfo("", n.Password()),
	} {
		if nc, err := nats.Connect(n.URL(), o, nats.MaxReconnects(0), nats.Timeout(natstest.Patience)); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v, want %v", name, err, nats.ErrAuthorization)
			if err == nil {
				nc.Close()
			}
		}
	}
	if answer := loginInProcess(t, n, "wrong"); !strings.Contains(answer, "Authorization Violation") {
		t.Errorf("a wrong password is accepted inside the process: %s", answer)
	}

	nc := natstest.Dial(t, n.URL(), nats.UserInfo(n.User(), n.Password()))
	for _, subject := range []string{"$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER." + n.srv.ID() + ".VARZ", "$SYS.REQ.ACCOUNT.SYS.CONNZ"} {
		if m, err := nc.Request(subject, nil, natstest.Patience); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s is answered: %v %v", subject, m, err)
		}
	}
}

// loginInProcess logs in by hand and returns the first answer. The client needs ten seconds to hear the same: it still
// writes when the server refuses it, and a pipe inside the process has no buffer.
func loginInProcess(t *testing.T, n *NATS, password string) string {
	t.Helper()
	conn, err := n.srv.InProcessConn()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil { // INFO
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "CONNECT {\"user\":%q,\"pass\":%q}\r\n", n.User(), password); err != nil {
		t.Fatal(err)
	}
	answer, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestNATSNamesThePortThatIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", DefaultListen)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	dir := openDir(t, natstest.StoreDir(t))
	_, err = StartNATS(t.Context(), NATSConfig{Region: "us", Dir: dir, Listen: l.Addr().String()})
	wantCode(t, err, ErrAddressInUse, l.Addr().String(), "nothing was started")
	startTestNATS(t, NATSConfig{Dir: dir}) // the failed start holds nothing
}

func TestNATSRefusesWhatCannotWork(t *testing.T) {
	dir := openDir(t, natstest.StoreDir(t))
	for name, c := range map[string]struct {
		cfg  NATSConfig
		code events.Code
	}{
		"region":  {NATSConfig{Region: "US.east", Dir: dir}, events.ErrInvalidEvent},
		"no dir":  {NATSConfig{Region: "us"}, ErrNATSFailed},
		"listen":  {NATSConfig{Region: "us", Dir: dir, Listen: "4222"}, ErrBadAddress},
		"port":    {NATSConfig{Region: "us", Dir: dir, Listen: "127.0.0.1:66000"}, ErrBadAddress},
		"payload": {NATSConfig{Region: "us", Dir: dir, MaxPayload: -1}, ErrNATSFailed},
		"host":    {NATSConfig{Region: "us", Dir: dir, Listen: "192.0.2.1:0"}, ErrNATSFailed},
	} {
		if _, err := StartNATS(t.Context(), c.cfg); !errors.Is(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := StartNATS(done, NATSConfig{Region: "us", Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled start: %v", err)
	}
}

func TestNATSWithAnUnusableStoreFailsAndHoldsNothing(t *testing.T) {
	dir := openDir(t, natstest.StoreDir(t))
	store := filepath.Join(dir.Path(), "nats", server.JetStreamStoreDir)
	if err := os.MkdirAll(filepath.Dir(store), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(store, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := StartNATS(t.Context(), NATSConfig{Region: "us", Dir: dir})
	wantCode(t, err, ErrNATSFailed, "region us", "storage directory")
	if err := os.Remove(store); err != nil {
		t.Fatal(err)
	}
	startTestNATS(t, NATSConfig{Dir: dir})
}

func TestNATSRunsOncePerDirectory(t *testing.T) {
	dir := openDir(t, natstest.StoreDir(t))
	startTestNATS(t, NATSConfig{Dir: dir})
	_, err := StartNATS(t.Context(), NATSConfig{Region: "us", Dir: dir})
	wantCode(t, err, ErrDirInUse, "nats")
}

// A server that listens before its streams are recovered tells its first client that there are none.
func TestNATSHasItsStreamsForTheFirstClient(t *testing.T) {
	dir := openDir(t, natstest.StoreDir(t))
	first := startTestNATS(t, NATSConfig{Dir: dir})
	if err := makeStream(t.Context(), connect(t, first)); err != nil {
		t.Fatal(err)
	}
	listen := first.srv.Addr().String()
	first.Shutdown()

	result := make(chan error, 1)
	go func() {
		result <- func() error {
			nc, err := nats.Connect("nats://"+listen, nats.UserInfo(first.User(), first.Password()), nats.RetryOnFailedConnect(true),
				nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0))
			if err != nil {
				return err
			}
			defer nc.Close()
			for !nc.IsConnected() {
				if err := nc.FlushTimeout(10 * time.Second); err != nil {
					return err
				}
			}
			js, err := jetstream.New(nc)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_, err = js.Stream(ctx, testStream)
			return err
		}()
	}()
	startTestNATS(t, NATSConfig{Dir: dir, Listen: listen})
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestNATSBoundsAMessage(t *testing.T) {
	n := startTestNATS(t, NATSConfig{Dir: openDir(t, natstest.StoreDir(t))})
	js := connect(t, n)
	if err := makeStream(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "evt.us.order.1", make([]byte, DefaultMaxPayload)); err != nil {
		t.Errorf("the largest payload: %v", err)
	}
	if _, err := js.Publish(t.Context(), "evt.us.order.1", make([]byte, DefaultMaxPayload+1)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("a larger one: %v", err)
	}
}

func TestNATSLogsNoSecret(t *testing.T) {
	var out logs
	n := startTestNATS(t, NATSConfig{Dir: openDir(t, natstest.StoreDir(t)), Logger: out.logger()})
	if _, err := nats.Connect(n.URL(), nats.UserInfo("stranger", n.Password())); err == nil {
		t.Error("a stranger got in")
	}
	// A client that the server cannot understand is quoted in its log.
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "CONNECT {\"user\":\"tidemark\",\"pass\":%q}\r\nCO%s\r\n", n.Password(), n.Password()); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, conn) // until the server hangs up
	connect(t, n)
	n.Shutdown()
	said := out.String() + fmt.Sprintf("%v %+v %s", n, n, n)
	if !strings.Contains(said, "authentication error") {
		t.Errorf("the refused login is not in the log:\n%s", said)
	}
	if strings.Contains(said, n.Password()) {
		t.Errorf("the password is in the log:\n%s", said)
	}
}

func TestNATSLogBlotsSecretsOutOfFatalMessages(t *testing.T) {
	var out logs
	l := newNATSLog(out.logger(), map[string]string{"tidemark": "sesame"})
	cause := errors.New("open sesame")
	l.Fatalf("cannot: %v", cause)
	l.Fatalf("a second one")
	l.Warnf("pass=%s", "sesame")
	l.Noticef("notice %s", "sesame")
	message, err := l.failed()
	if message != "cannot: open [redacted]" || !errors.Is(err, cause) {
		t.Errorf("failed() = %q, %v", message, err)
	}
	if s := out.String(); !strings.Contains(s, "pass=[redacted]") || strings.Contains(s, "sesame") {
		t.Errorf("logged: %s", s)
	}
}

// A missing right shows in no other place: the request just times out.
func TestNATSLogsErrorsThatHaveNoCaller(t *testing.T) {
	var out logs
	n := startTestNATS(t, NATSConfig{Dir: openDir(t, natstest.StoreDir(t)), Logger: out.logger()})
	nc, err := n.Connect()
	must(t, err)
	defer nc.Close()
	slow, err := nc.SubscribeSync("slow")
	must(t, err)
	must(t, slow.SetPendingLimits(1, -1))
	for range 3 {
		must(t, nc.Publish("slow", nil))
	}
	must(t, nc.Flush())
	eventually(t, "the error is logged", func() bool { return strings.Contains(out.String(), "slow consumer") })
	if s := out.String(); !strings.Contains(s, "subject=slow") || !strings.Contains(s, "region=us") {
		t.Errorf("logged: %s", s)
	}
}

func TestNATSWarnsWhenOthersCanReachIt(t *testing.T) {
	var out logs
	startTestNATS(t, NATSConfig{Dir: openDir(t, natstest.StoreDir(t)), Listen: "0.0.0.0:0", Logger: out.logger()})
	if !strings.Contains(out.String(), "not encrypted") {
		t.Errorf("no warning:\n%s", out.String())
	}
}

func TestNATSClientKeepsNothingBackWithoutAServer(t *testing.T) {
	n := startTestNATS(t, NATSConfig{Dir: openDir(t, natstest.StoreDir(t))})
	lost := make(chan struct{})
	nc, err := n.Connect(nats.DisconnectErrHandler(func(*nats.Conn, error) { close(lost) }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	n.Shutdown()
	<-lost
	// Nothing is kept back for later: the caller hears at once that it was not sent.
	eventually(t, "publish fails while there is no server", func() bool {
		return errors.Is(nc.Publish("evt.us.order.1", nil), nats.ErrReconnectBufExceeded)
	})
}
