package client_test

import (
	"testing"
	"time"

	"tidemark.dev/infra/client"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/netfault"
	"tidemark.dev/infra/region"
)

// TestReadsGoOnWhateverBreaksAtHome lets one thing after the other break in a client's own region, under writes. Each time reads go on from another region, none fails and
// none goes back, and they are at home again afterwards.
func TestReadsGoOnWhateverBreaksAtHome(t *testing.T) {
	m := newMesh(t)
	c := dialAt(t, client.Config{Patience: patience, AttemptTimeout: 2 * time.Second}, m.address("eu", true), m.address("us", true), m.address("ap", true))
	x := m.drive(t, c)
	x.from("eu")
	eu := m.at["eu"]

	t.Log("the query service of eu is stopped")
	eu.stop()
	x.from("us")
	eu.serve()
	x.from("eu")

	t.Log("the Redis of eu is emptied, and its read models come back from the log")
	if err := eu.region.Wipe(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.from("eu")

	t.Log("the NATS of eu is killed")
	eu.nats.Shutdown()
	x.from("us")
	eu.startNATS()
	x.from("eu")

	t.Log("the client's own connection to eu is half open")
	eu.front.Stall()
	x.from("us")
	eu.front.Heal()
	x.from("eu")

	t.Log("the query services of eu and us are stopped")
	eu.stop()
	m.at["us"].stop()
	x.from("ap")
	m.at["us"].serve()
	eu.serve()
	x.from("eu")
	x.check()
	if x.reads["us"] == 0 || x.reads["ap"] == 0 {
		t.Errorf("reads came from %v", x.reads)
	}
}

// TestARegionThatIsCutOffIsNotGoneBackTo: reads come from the leader, at home nothing new arrives, and home is there again. A client that has seen the newer waits.
func TestARegionThatIsCutOffIsNotGoneBackTo(t *testing.T) {
	m := newMesh(t)
	c := dialAt(t, client.Config{Patience: patience, AttemptTimeout: 2 * time.Second}, m.address("eu", true), m.address("us", true))
	x := m.drive(t, c)
	x.from("eu")
	forgetful := look(t, dialAt(t, client.Config{Patience: patience, AttemptTimeout: 2 * time.Second, Session: client.SessionNone}, m.address("eu", true), m.address("us", true)))
	forgetful.from("eu")
	eu := m.at["eu"]
	eu.stop()
	x.from("us")
	for _, wire := range eu.wires {
		wire.Cut()
	}
	x.from("us")
	forgetful.from("us")
	eu.serve()
	x.from("us")
	eventually(t, "a client that remembers nothing goes back", func() bool {
		forgetful.mu.Lock()
		defer forgetful.mu.Unlock()
		return len(forgetful.broken) > 0
	})
	forgetful.end()
	x.mu.Lock()
	home := x.reads["eu"]
	x.mu.Unlock()
	x.from("us")
	x.mu.Lock()
	if more := x.reads["eu"] - home; more > 0 {
		t.Errorf("%d reads came from a region that is cut off", more)
	}
	x.mu.Unlock()
	for _, wire := range eu.wires {
		wire.Heal()
	}
	x.from("eu")
	x.check()
}

// TestOtherRegionsAreReachedOverTheLinks knows the servers of one region only.
func TestOtherRegionsAreReachedOverTheLinks(t *testing.T) {
	m := newMesh(t)
	c := dialAt(t, client.Config{Patience: patience, AttemptTimeout: 2 * time.Second}, m.address("eu", true), m.address("us", false), m.address("ap", false))
	x := m.drive(t, c)
	x.from("eu")
	eu := m.at["eu"]
	eu.stop()
	x.from("us")
	for name, happen := range map[string]func(*netfault.Proxy){
		"cut": (*netfault.Proxy).Cut, "half open": (*netfault.Proxy).Stall, "one way": func(p *netfault.Proxy) { p.OneWay(netfault.ToTarget) },
	} {
		t.Logf("the link between eu and us is %s", name)
		happen(eu.wires["us"])
		x.from("ap")
		eu.wires["us"].Heal()
		x.from("us")
	}
	eu.serve()
	x.from("eu")
	x.check()
}

func TestPublishingGoesToTheClientsOwnRegion(t *testing.T) {
	m := newMesh(t)
	for _, home := range []string{"us", "eu"} {
		var c *client.Regions
		if c = dialAt(t, client.Config{Source: "urn:test", Session: client.SessionStrict, AttemptTimeout: patience}, m.address(home, true), m.address("ap", true)); home == "us" {
			publishes(t, c, 1)
			continue
		}
		publishes(t, c, 1)
		if _, err := c.Log(t.Context()); err != nil {
			t.Error(err)
		}
	}
	gone := region.Config{Name: "eu", Leader: "us", NATS: "nats://" + natstest.FreeAddress(t)}
	c := dialAt(t, client.Config{}, gone, m.address("us", true))
	if _, err := c.Publish(t.Context(), departed("x"), expectAny()); err == nil {
		t.Error("an append without its own region's servers is accepted")
	}
}
