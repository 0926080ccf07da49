package redisstore_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/projections"
)

func TestWhatIsStoredCanBeReadWithRedisCLI(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		ctx := t.Context()
		s, g := open(t, client), generation(16)
		must(t, s.Create(ctx, g, header(3, 1)))
		parked := document("LH400", 1, 2)
		parked.Parked = "us.7f3a@1:2 it cannot be read"
		def := definition()
		def.Indexes = []projections.Index{{Name: "by_status_and_delay", Fields: []string{"status", "delay"}}}
		c := commit(3, 1, 2, parked, document("a b", 2, 2))
		c.Writes[0].Index = []projections.IndexEntry{
			{Index: 0, Value: "departed\x00\x01p0000000000000000001"}, {Index: projections.ParkedIndex, Value: "p0000000000000000002"},
		}
		c.Writes[1].Index = []projections.IndexEntry{{Index: 0, Value: "departed\x00\x01n9999999999999999997"}}
		c.Next.Documents, c.Next.Parked, c.Next.Unrouted, c.Next.UnroutedLast = 2, 1, 3, "us.7f3a@1:2: no key"
		c.Next.Target = position(9)
		c.Marks = []projections.PartitionMark{{Sequence: 2, Number: 7, Documents: 2, Digest: parked.Digest}}
		must(t, s.Apply(ctx, g, def, []projections.Commit{c})[0])
		must(t, s.ClaimNamespace(ctx, "home"))

		sameHash(t, client, "tm:{flights.1.03}:head", map[string]string{
			"state": "live", "owner": "7", "at": "us.7f3a@1:2", "seen": c.Next.Seen.String(), "applied": "2026-03-01T12:00:00Z",
			"target": "us.7f3a@1:9", "docs": "2", "parked": "1", "unrouted": "3", "unrouted_last": "us.7f3a@1:2: no key",
			"digest": "00000000000000000000000000000000", "definition": c.Next.Definition,
		})
		sameHash(t, client, "tm:{flights.1.03}:doc:LH400", map[string]string{
			"name": "Flight 1", "passengers": "31", "status": "departed", "delay": "1", "international": "false",
			"_at": "us.7f3a@1:2", "_digest": parked.Digest.String(), "_parked": parked.Parked,
		})
		sameHash(t, client, "tm:{flights.1.03}:doc:a b", map[string]string{
			"name": "Flight 2", "passengers": "62", "status": "departed", "delay": "2", "international": "true",
			"_at": "us.7f3a@1:2", "_digest": document("a b", 2, 2).Digest.String(),
		})
		index := client.ZRangeWithScores(ctx, "tm:{flights.1.03}:keys", 0, -1).Val()
		if fmt.Sprint(index) != "[{0 LH400} {0 a b}]" {
			t.Errorf("the list of keys is %v", index)
		}
		index = client.ZRangeWithScores(ctx, "tm:{flights.1.03}:idx:by_status_and_delay", 0, -1).Val()
		if fmt.Sprint(index) != "[{0 departed\x00\x01n9999999999999999997a b} {0 departed\x00\x01p0000000000000000001LH400}]" {
			t.Errorf("the index is %v", index)
		}
		index = client.ZRangeWithScores(ctx, "tm:{flights.1.03}:idx:_parked", 0, -1).Val()
		if fmt.Sprint(index) != "[{0 p0000000000000000002LH400}]" {
			t.Errorf("the index of the parked is %v", index)
		}
		if log := client.LRange(ctx, "tm:{flights.1.03}:changes", 0, -1).Val(); fmt.Sprintf("%q", log) != `["1" "2 5:LH400,3:a b,"]` {
			t.Errorf("the change log is %q", log)
		}
		marks := client.ZRangeWithScores(ctx, "tm:{flights.1.03}:marks", 0, -1).Val()
		if fmt.Sprint(marks) != "[{0 00000000000000000002 7 2 "+parked.Digest.String()+"}]" {
			t.Errorf("the marks are %v", marks)
		}
		if own := client.Get(ctx, "tm:owner").Val(); own != "home" {
			t.Errorf("the owner of the namespace is %q", own)
		}
		if n := client.DBSize(ctx).Val(); n != 9 {
			t.Errorf("there are %d keys, want 9: %v", n, dump(t, client))
		}
	})
}

func sameHash(t testing.TB, client *redis.Client, key string, want map[string]string) {
	t.Helper()
	got := client.HGetAll(context.Background(), key).Val()
	for f, v := range want {
		if got[f] != v {
			t.Errorf("the field %s of %s is %q, want %q", f, key, got[f], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s has %d fields, want %d: %v", key, len(got), len(want), got)
	}
}

func readme(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	must(t, err)
	return string(text)
}

// readmeRights returns the rights that the README grants, to a projector and to a reader.
func readmeRights(t testing.TB) (projector, reader string) {
	t.Helper()
	m := regexp.MustCompile("(?s)```acl\n(.*?)```").FindAllStringSubmatch(readme(t), -1)
	if len(m) != 2 {
		t.Fatalf("the README has %d lists of rights, want 2", len(m))
	}
	return m[0][1], m[1][1]
}

func TestTheReadmeShowsTheFieldsThatThereAre(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		must(t, open(t, client).Create(t.Context(), generation(1), header(0, 1)))
		for field := range client.HGetAll(t.Context(), "tm:{flights.1.00}:head").Val() {
			if !strings.Contains(readme(t), `"`+field+`"`) {
				t.Errorf("the README does not show the field %s", field)
			}
		}
	})
}

func TestANamespaceBelongsToOneInstallation(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		ctx := t.Context()
		s := open(t, client)
		if name, err := s.ReadNamespace(ctx); err != nil || name != "" {
			t.Fatalf("a fresh namespace belongs to %q, %v", name, err)
		}
		must(t, s.ClaimNamespace(ctx, "home"))
		must(t, s.ClaimNamespace(ctx, "home"))
		err := s.ClaimNamespace(ctx, "away")
		wantCode(t, err, projections.ErrNamespaceTaken)
		wantText(t, err, "home", "away", "tm:")
		if name, err := s.ReadNamespace(ctx); err != nil || name != "home" {
			t.Fatalf("the namespace belongs to %q, %v", name, err)
		}
		other, err := redisstore.New(client, redisstore.Options{Prefix: "other:"})
		must(t, err)
		must(t, other.ClaimNamespace(ctx, "away"))
		wantCode(t, s.ClaimNamespace(ctx, ""), redisstore.ErrInvalidOptions)
	})
}

func TestOfManyInstallationsOneGetsTheNamespace(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		const installations = 8
		errs := make([]error, installations)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = open(t, client).ClaimNamespace(t.Context(), fmt.Sprint("i", i)) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				wantCode(t, err, projections.ErrNamespaceTaken)
			}
		}
		if won != 1 {
			t.Fatalf("%d installations got the namespace", won)
		}
	})
}

func TestPrefixesDoNotMix(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		ctx, g := t.Context(), generation(2)
		var stores []*redisstore.Store
		for _, prefix := range []string{"", "a:", "a.b_c-D:9:"} {
			s, err := redisstore.New(client, redisstore.Options{Prefix: prefix})
			must(t, err)
			must(t, s.Create(ctx, g, header(0, 1)))
			must(t, s.Apply(ctx, g, definition(), []projections.Commit{commit(0, 1, 2, document("a", 1, 2))})[0])
			stores = append(stores, s)
		}
		must(t, stores[1].Drop(ctx, g))
		for i, want := range []projections.PartitionState{projections.Live, projections.Absent, projections.Live} {
			hs, err := stores[i].Headers(ctx, g)
			must(t, err)
			if hs[0].State != want {
				t.Errorf("the partition of the store %d is %q, want %q", i, hs[0].State, want)
			}
		}
	})
}

func TestNewRefusesWhatItCannotWorkWith(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	defer func() { must(t, client.Close()) }()
	for _, prefix := range []string{"{x}:", "a b", "*", "tm\n", "ü", strings.Repeat("x", 65)} {
		_, err := redisstore.New(client, redisstore.Options{Prefix: prefix})
		wantCode(t, err, redisstore.ErrInvalidOptions)
	}
	ring := redis.NewRing(&redis.RingOptions{})
	defer func() { must(t, ring.Close()) }()
	lagging := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, RouteByLatency: true})
	defer func() { must(t, lagging.Close()) }()
	for _, bad := range []redis.UniversalClient{ring, lagging} {
		_, err := redisstore.New(bad, redisstore.Options{})
		wantCode(t, err, redisstore.ErrInvalidOptions)
	}
}

func TestADamagedHeaderIsNotTakenForAnAbsentOne(t *testing.T) {
	for field, value := range map[string]string{
		"owner": "-1", "at": "nowhere", "seen": "short", "applied": "yesterday", "target": "x", "docs": "many", "parked": "1.5", "unrouted": "",
		"digest": "00", "state": "",
	} {
		each(t, func(t *testing.T, client *redis.Client) {
			ctx, s := t.Context(), open(t, client)
			must(t, s.Create(ctx, generation(1), header(0, 1)))
			must(t, client.HSet(ctx, "tm:{flights.1.00}:head", field, value).Err())
			wantDamaged(ctx, t, s, field)
			must(t, client.HDel(ctx, "tm:{flights.1.00}:head", field).Err())
			wantDamaged(ctx, t, s, "11 of its 12 fields")
		})
	}
}

func wantDamaged(ctx context.Context, t *testing.T, s *redisstore.Store, words string) {
	t.Helper()
	_, headers := s.Headers(ctx, generation(1))
	_, _, get := s.Get(ctx, generation(1), definition(), projections.Ref{Key: "a"})
	_, _, page := s.Page(ctx, generation(1), definition(), 0, "", 1)
	_, _, marks := s.Marks(ctx, generation(1))
	_, _, inspect := s.Inspect(ctx, generation(1), definition(), 0, nil)
	_, _, _, sizes := s.Sizes(ctx, generation(1), definition(), 0)
	for _, err := range []error{headers, get, page, marks, inspect, sizes} {
		wantCode(t, err, projections.ErrDocumentDamaged)
		wantText(t, err, words)
	}
}

func TestCommitsThatCanOnlyBeMistakesAreRefused(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		ctx, s := t.Context(), open(t, client)
		must(t, s.Create(ctx, generation(1), header(0, 1)))
		before := dump(t, client)
		short := document("a", 1, 2)
		short.Values = short.Values[:4]
		many := *definition()
		for i := range 65 {
			many.Fields = append(many.Fields, projections.Field{Name: fmt.Sprint("f", i)})
		}
		for want, try := range map[events.Code]func() []error{
			projections.ErrInvalidProjection: func() []error {
				return append(s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 1, 2, short)}),
					append(s.Apply(ctx, generation(1), &many, []projections.Commit{commit(0, 1, 2)}),
						s.Apply(ctx, generation(1), &projections.Definition{}, []projections.Commit{commit(0, 1, 2)})...)...)
			},
			events.ErrTooLarge: func() []error {
				c := commit(0, 1, 2)
				c.Writes = make([]projections.Write, 1<<18)
				return s.Apply(ctx, generation(1), definition(), []projections.Commit{c})
			},
		} {
			for _, err := range try() {
				wantCode(t, err, want)
			}
		}
		sameDump(t, dump(t, client), before)
	})
}

func TestDocumentsOfOneToSixtyFourFields(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		ctx, s := t.Context(), open(t, client)
		must(t, s.Create(ctx, generation(1), header(0, 1)))
		for n := 1; n <= 64; n++ {
			def := &projections.Definition{Name: "flights", Version: 1}
			d := projections.Document{Key: fmt.Sprint("k", n), At: "us.7f3a@1:1"}
			for i := range n {
				def.Fields = append(def.Fields, projections.Field{Name: fmt.Sprint("f", i), Kind: projections.KindInt})
				d.Values = append(d.Values, fmt.Sprint(100*n+i))
			}
			seq := uint64(n) //nolint:gosec // small
			must(t, s.Apply(ctx, generation(1), def, []projections.Commit{commit(0, seq, seq+1, d)})[0])
			_, got, err := s.Get(ctx, generation(1), def, projections.Ref{Key: d.Key})
			must(t, err)
			if got == nil || fmt.Sprint(got.Values) != fmt.Sprint(d.Values) {
				t.Fatalf("a document of %d fields came back as %v", n, got)
			}
		}
	})
}
