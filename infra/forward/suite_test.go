package forward

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/logtest"
	"tidemark.dev/events/memlog"
	"tidemark.dev/infra/natslog"
)

// joined is a log that is written from afar and read at the leader.
type joined struct {
	*Appender
	events.Reader
}

func TestTheSuiteWithALogInMemory(t *testing.T) {
	t.Parallel()
	us := startLeader(t)
	var n atomic.Int64
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		cfg := Config{Origin: fmt.Sprint("us-", n.Add(1)), Region: "eu", Leader: "us"}
		log := memlog.New(cfg.Origin, memlog.Options{})
		t.Cleanup(log.Close)
		serve(t, us, Config{Origin: cfg.Origin, Region: "us", Leader: "us"}, log, nil, ServerOptions{})
		a := appender(t, us.ClientURL(), cfg, Options{})
		return logtest.Subject{Log: joined{a, log}, ExpireDuplicates: log.ForgetDuplicates, StoreRaw: log.StoreRaw, Close: func() {
			a.Close()
			log.Close()
		}}
	})
}

func TestTheSuiteAcrossALinkWithLatency(t *testing.T) {
	t.Parallel()
	us := startLeader(t)
	link := wire(t, linkAddress(us))
	eu := startMirror(t, link.Addr())
	link.Delay(time.Millisecond, 2*time.Millisecond)
	var n atomic.Int64
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		cfg := Config{Origin: fmt.Sprint("us-", n.Add(1)), Region: "eu", Leader: "us"}
		log := memlog.New(cfg.Origin, memlog.Options{})
		t.Cleanup(log.Close)
		serve(t, us, Config{Origin: cfg.Origin, Region: "us", Leader: "us"}, log, nil, ServerOptions{})
		a := appender(t, eu.ClientURL(), cfg, Options{})
		return logtest.Subject{Log: joined{a, log}, ExpireDuplicates: log.ForgetDuplicates}
	})
}

func TestTheLeadersReaderSeesWhatWasForwarded(t *testing.T) {
	t.Parallel()
	r := startRegions(t)
	a := appender(t, r.eu.ClientURL(), atMirror, Options{})
	e := about(entity(1), 1)
	e.Extensions = map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tenant": "ä b"}
	e.Time, e.Schema, e.ContentType = time.Date(2001, 4, 1, 9, 0, 0, 123_456_789, time.UTC), "urn:schema", "text/plain"
	e.Data = []byte("\x00\xff any bytes\r\n")
	receipt, err := a.Append(within(t), events.One(e, events.ExpectNone()))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := r.log.Record(within(t), receipt.Last)
	if err != nil {
		t.Fatal(err)
	}
	if want := e.ContentHash(); rec.Event.ContentHash() != want || rec.Event.Extensions["traceparent"] != e.Extensions["traceparent"] {
		t.Errorf("got %+v", rec.Event)
	}
	if point, ok := receipt.Position.Point("us"); !ok || point.Sequence != receipt.Last || point.Lineage == "" {
		t.Errorf("the receipt is %+v", receipt)
	}
	// Nothing of the log itself crosses the link.
	if _, err := natslog.Open(within(t), dial(t, r.eu.ClientURL()), natslog.Config{Origin: "us"}, natslog.Options{AttemptTimeout: 200 * time.Millisecond}); err == nil {
		t.Error("the leader's log can be opened from afar")
	}
}
