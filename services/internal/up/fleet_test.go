package up_test

import (
	"errors"
	"slices"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/parts"
	"tidemark.dev/services/internal/up"
)

func TestEachRegionOfAFleetHasAPlaceOfItsOwn(t *testing.T) {
	base := up.Config{Config: parts.Config{Region: region.Config{DataDir: "/data", Redis: "auto"}}, HTTP: "127.0.0.1:7070"}
	all, err := up.Regions([]string{"us", "eu", "ap"}, base)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		dir, http string
		peers     []string
	}{{"/data/us", "127.0.0.1:7070", []string{"eu", "ap"}}, {"/data/eu", "127.0.0.1:7071", []string{"ap"}}, {"/data/ap", "127.0.0.1:7072", nil}} {
		c := all[i]
		if c.Region.DataDir != want.dir || c.HTTP != want.http || !slices.Equal(c.Region.Peers, want.peers) || c.Region.Leader != "us" || c.Region.RedisPrefix != "" {
			t.Errorf("region %d is %+v", i, c)
		}
	}
	base.Region.Redis, base.HTTP = "redis://127.0.0.1:6379", "127.0.0.1:0"
	if all, err = up.Regions([]string{"us", "eu"}, base); err != nil || all[0].Region.RedisPrefix == all[1].Region.RedisPrefix || all[1].HTTP != "127.0.0.1:0" {
		t.Errorf("with one Redis for all they are %+v, %v", all, err)
	}
	if all, err = up.Regions([]string{"us"}, base); err != nil || all[0].Region.RedisPrefix != "" {
		t.Errorf("alone it is %+v, %v", all, err)
	}
}

func TestRegionsThatCannotRunTogetherAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		names []string
		http  string
		code  events.Code
	}{
		"none":               {nil, "", failure.ErrUsage},
		"twice":              {[]string{"us", "us"}, "", failure.ErrUsage},
		"a name that is no":  {[]string{"us", "E U"}, "", events.ErrInvalidEvent},
		"too many":           {[]string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}, "", failure.ErrUsage},
		"no address":         {[]string{"us", "eu"}, "nowhere", failure.ErrCannotListen},
		"no port after that": {[]string{"us", "eu"}, "127.0.0.1:65535", failure.ErrCannotListen},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := up.Regions(c.names, up.Config{HTTP: c.http}); !errors.Is(err, c.code) {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
}

func TestOnlyARegionThatMirrorsTheLogBeginsLater(t *testing.T) {
	all, err := up.Regions([]string{"us", "eu"}, up.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := up.BeginLater(all, map[string]uint64{"eu": 120_000}); err != nil || all[0].Region.LogFrom != 0 || all[1].Region.LogFrom != 120_000 {
		t.Errorf("they begin at %d and %d, %v", all[0].Region.LogFrom, all[1].Region.LogFrom, err)
	}
	for _, name := range []string{"us", "ap"} {
		if err := up.BeginLater(all, map[string]uint64{name: 2}); !errors.Is(err, failure.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
