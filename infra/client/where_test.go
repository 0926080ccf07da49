package client_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/infra/client"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/topology"
)

func namesOf(all []region.Config) string {
	var names []string
	for _, c := range all {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

func TestTheRegionsThatRunHereAreInTheOrderInWhichTheyAreAsked(t *testing.T) {
	dir := t.TempDir()
	if _, err := client.Running(dir, ""); !errors.Is(err, region.ErrNotRunning) {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"ap", "eu", "sa", "us"} {
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		a := region.Address{Region: name, Origin: "us", Leader: "us", NATS: "nats://127.0.0.1:1", User: "tidemark", Password: "of " + name, PID: os.Getpid()}
		if err := a.Save(at); err != nil {
			t.Fatal(err)
		}
	}
	for own, want := range map[string]string{"": "us ap eu sa", "us": "us ap eu sa", "eu": "eu us ap sa", "sa": "sa us ap eu"} {
		all, err := client.Running(dir, own)
		if err != nil || namesOf(all) != want {
			t.Errorf("for %q: %s, %v", own, namesOf(all), err)
		}
		if slices.ContainsFunc(all, func(c region.Config) bool { return c.Password != "of "+c.Name || c.Leader != "us" }) {
			t.Errorf("for %q: they are %+v", own, all)
		}
	}
	if _, err := client.Running(dir, "xx"); !errors.Is(err, region.ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

func TestTheRegionsOfATopologyAreReachedAsFarAsThereAreSecrets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tidemark.yaml")
	text := "version: 1\nregions:\n"
	for _, name := range []string{"us", "eu", "ap"} {
		text += "  " + name + ":\n    nats: {urls: [\"nats://" + name + ":4222\"], user: reader, password: {env: NATS_" + strings.ToUpper(name) + "}}\n    redis: {addresses: [\"redis://" + name + ":6379\"]}\n"
	}
	if err := os.WriteFile(file, []byte(text+"origins:\n  us: {leader: us}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := topology.Environment{"NATS_EU=secret", "NATS_US=another"}
	top, err := topology.Load(file, env)
	if err != nil {
		t.Fatal(err)
	}
	all, err := client.InTopology(top, "eu", env)
	if err != nil || namesOf(all) != "eu us ap" {
		t.Fatalf("%s, %v", namesOf(all), err)
	}
	if all[0].NATS != "nats://eu:4222" || len(all[0].NATSOptions) == 0 || all[0].Leader != "us" || all[1].NATS != "nats://us:4222" || all[2].NATS != "" {
		t.Errorf("they are %+v", all)
	}
	if all, err = client.InTopology(top, "", env); err != nil || namesOf(all) != "us ap eu" {
		t.Errorf("%s, %v", namesOf(all), err)
	}
	if _, err = client.InTopology(top, "ap", env); !errors.Is(err, topology.ErrSecret) {
		t.Errorf("without the secret of one's own region: %v", err)
	}
	if _, err = client.InTopology(top, "xx", env); !errors.Is(err, topology.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
