package natslog

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

// TestAuditOfRealStreams makes each unsafe stream that a server allows, and expects exactly its findings, an Open that
// refuses, a Setup that refuses, and a stream that is left as it was.
func TestAuditOfRealStreams(t *testing.T) {
	s := startServer(t, nil)
	nc := dial(t, s.ClientURL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	type change = func(*jetstream.StreamConfig)
	for _, c := range []struct {
		name     string
		create   change
		update   change
		settings []string
	}{
		{"as Setup makes it", nil, nil, nil},
		{"harmless differences", func(c *jetstream.StreamConfig) {
			c.Compression, c.Description, c.DenyPurge, c.AllowBatchPublish = jetstream.S2Compression, "x", true, true
			c.Duplicates, c.RePublish = 10*time.Minute, &jetstream.RePublish{Source: ">", Destination: "copy.>"}
			c.Metadata = map[string]string{"a": "b"}
		}, nil, nil},
		{"age", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, nil, []string{"max_age"}},
		{"count", func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 }, nil, []string{"max_msgs"}},
		{"bytes", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }, nil, []string{"max_bytes"}},
		{"count per subject", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, nil, []string{"max_msgs_per_subject"}},
		{"small messages", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 20 }, nil, []string{"max_msg_size"}},
		{"large messages", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 2 << 20 }, nil, nil},
		{"discard old", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, nil, []string{"discard"}},
		{"memory", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, nil, []string{"storage"}},
		{"work queue", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, nil, []string{"retention"}},
		{"interest", func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, nil, []string{"retention"}},
		{"asynchronous", func(c *jetstream.StreamConfig) {
			c.PersistMode, c.AllowAtomicPublish = jetstream.AsyncPersistMode, false
		}, nil, []string{"persist_mode", "allow_atomic"}},
		{"message lifetimes", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, nil, []string{"allow_msg_ttl"}},
		{"delete markers", func(c *jetstream.StreamConfig) { c.SubjectDeleteMarkerTTL = time.Minute }, nil,
			[]string{"allow_msg_ttl", "subject_delete_marker_ttl", "allow_rollup_hdrs"}},
		{"deletes", func(c *jetstream.StreamConfig) { c.DenyDelete = false }, nil, []string{"deny_delete"}},
		{"roll-ups", func(c *jetstream.StreamConfig) { c.AllowRollup = true }, nil, []string{"allow_rollup_hdrs"}},
		{"counters", func(c *jetstream.StreamConfig) { c.AllowMsgCounter, c.Discard = true, jetstream.DiscardOld }, nil, []string{"discard", "allow_msg_counter"}},
		{"schedules", func(c *jetstream.StreamConfig) { c.AllowMsgSchedules, c.Discard = true, jetstream.DiscardOld }, nil,
			[]string{"discard", "allow_rollup_hdrs", "allow_msg_schedules"}},
		{"sealed", nil, func(c *jetstream.StreamConfig) { c.Sealed = true }, []string{"sealed"}},
		{"no direct gets", func(c *jetstream.StreamConfig) { c.AllowDirect = false }, nil, []string{"allow_direct"}},
		{"no batches", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }, nil, []string{"allow_atomic"}},
		{"no acknowledgements", func(c *jetstream.StreamConfig) { c.NoAck = true }, nil, []string{"no_ack"}},
		{"a short duplicate window", func(c *jetstream.StreamConfig) { c.Duplicates = time.Minute }, nil, []string{"duplicate_window"}},
		{"a source", func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}} }, nil, []string{"sources"}},
		{"a missing subject", func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:1] }, nil, []string{"subjects"}},
		{"a foreign subject", func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "orders.>") }, nil, []string{"subjects"}},
		{"a wider subject", func(c *jetstream.StreamConfig) { c.Subjects[0] = "evt.us.>" }, nil, []string{"subjects", "subjects"}},
		{"a transform", func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "evt.us.*.*", Destination: "evt.us.x.{{wildcard(2)}}"}
		}, nil, []string{"subject_transform"}},
		{"a mirror", func(c *jetstream.StreamConfig) {
			*c = jetstream.StreamConfig{Name: c.Name, Mirror: &jetstream.StreamSource{Name: "OTHER"}, AllowDirect: true, DenyDelete: true, Discard: jetstream.DiscardNew}
		}, nil, []string{"mirror", "allow_atomic", "duplicate_window", "subjects", "subjects"}},
		{"a late beginning", func(c *jetstream.StreamConfig) { c.FirstSeq = 10 }, nil, []string{"first_seq"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config.withDefaults().streamConfig()
			if c.create != nil {
				c.create(&cfg)
			}
			var made jetstream.Stream
			eventually(t, "the stream is made", func() bool {
				var err error
				made, err = js.CreateStream(within(t), cfg)
				if storeBusy(err) {
					return false
				}
				if err != nil {
					t.Fatal(err)
				}
				return true
			})
			defer func() {
				if err := js.DeleteStream(within(t), cfg.Name); err != nil {
					t.Error(err)
				}
			}()
			if c.update != nil {
				cfg = made.CachedInfo().Config
				c.update(&cfg)
				var err error
				if made, err = js.UpdateStream(within(t), cfg); err != nil {
					t.Fatal(err)
				}
			}
			before, err := made.Info(within(t))
			if err != nil {
				t.Fatal(err)
			}
			findings := Audit(config, before)
			checkFindings(t, findings, c.settings)
			if len(c.settings) == 0 {
				reopen(t, nc, config, setUp(t, nc)).Close()
				return
			}
			for what, err := range map[string]error{"Setup": Setup(within(t), nc, config), "Open": openError(t, nc, config)} {
				wantCode(t, err, events.ErrUnsafeLog)
				for _, f := range findings {
					if !strings.Contains(err.Error(), f.String()) {
						t.Errorf("%s does not tell of %s: %v", what, f.Setting, err)
					}
				}
			}
			after, err := made.Info(within(t))
			if err != nil {
				t.Fatal(err)
			}
			if after.State.LastSeq != before.State.LastSeq || !slices.Equal(after.Config.Subjects, before.Config.Subjects) {
				t.Errorf("the stream was changed: %+v", after)
			}
		})
	}
}

func checkFindings(t *testing.T, findings []Finding, settings []string) {
	t.Helper()
	var got []string
	for _, f := range findings {
		got = append(got, f.Setting)
		if f.Found == "" || f.Wanted == "" || f.Why == "" || f.Mend == "" || f.Found == f.Wanted {
			t.Errorf("an incomplete finding: %+v", f)
		}
	}
	if !slices.Equal(got, settings) {
		t.Errorf("found %v, want %v", got, settings)
	}
}

// TestAuditOfStates covers what a test cannot make a server do in a moment.
func TestAuditOfStates(t *testing.T) {
	good := func() *jetstream.StreamInfo {
		return &jetstream.StreamInfo{Config: config.withDefaults().streamConfig(), State: jetstream.StreamState{FirstSeq: 1, LastSeq: 9}}
	}
	mirrorOf := func(name string) *jetstream.StreamInfo {
		return &jetstream.StreamInfo{Config: jetstream.StreamConfig{
			Name: "EVT_us", Mirror: &jetstream.StreamSource{Name: name}, Replicas: 1, AllowDirect: true, DenyDelete: true, Discard: jetstream.DiscardNew,
		}}
	}
	with := func(info *jetstream.StreamInfo, change func(*jetstream.StreamInfo)) *jetstream.StreamInfo {
		change(info)
		return info
	}
	mirror, reader := Config{Origin: "us", Mirror: true}, Config{Origin: "us", ReadOnly: true}
	for _, c := range []struct {
		name     string
		cfg      Config
		info     *jetstream.StreamInfo
		settings []string
	}{
		{"a good leader", config, good(), nil},
		{"deleted messages", config, with(good(), func(i *jetstream.StreamInfo) { i.State.NumDeleted = 1 }), []string{"num_deleted"}},
		{"lost messages", config, with(good(), func(i *jetstream.StreamInfo) { i.State.Lost = &jetstream.LostStreamData{Msgs: []uint64{4}} }), []string{"lost"}},
		{"too few replicas", Config{Origin: "us", Replicas: 3}, good(), []string{"num_replicas"}},
		{"more replicas", config, with(good(), func(i *jetstream.StreamInfo) { i.Config.Replicas = 3 }), nil},
		{"a good mirror", mirror, mirrorOf("EVT_us"), nil},
		{"the mirror that is made", mirror, &jetstream.StreamInfo{Config: config.MirrorStream("eu", "tm.gate.us")}, nil},
		{"a leader that is only read", reader, with(good(), func(i *jetstream.StreamInfo) { i.Config.NoAck, i.Config.Duplicates = true, 0 }), nil},
		{"a mirror that is only read", reader, mirrorOf("EVT_us"), nil},
		{"a leader that is only read and forgets", reader, with(good(), func(i *jetstream.StreamInfo) { i.Config.MaxAge = time.Hour }), []string{"max_age"}},
		{"a leader instead of a mirror", mirror, good(), []string{"mirror"}},
		{"a mirror of another origin", mirror, mirrorOf("EVT_eu"), []string{"mirror.name"}},
		{"a mirror of a part", mirror, with(mirrorOf("EVT_us"), func(i *jetstream.StreamInfo) { i.Config.Mirror.FilterSubject = "evt.us.airport.*" }), []string{"mirror"}},
		{"a mirror that began late", mirror, with(mirrorOf("EVT_us"), func(i *jetstream.StreamInfo) { i.Config.Mirror.OptStartSeq = 2 }), []string{"mirror"}},
		{"a mirror that forgets", mirror, with(mirrorOf("EVT_us"), func(i *jetstream.StreamInfo) { i.Config.MaxAge = time.Hour }), []string{"max_age"}},
	} {
		t.Run(c.name, func(t *testing.T) { checkFindings(t, Audit(c.cfg, c.info), c.settings) })
	}
}

// TestMendsWork applies the mends that are commands, as the nats tool would, and audits again.
func TestMendsWork(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	bad := config.withDefaults().streamConfig()
	bad.MaxAge, bad.MaxMsgs, bad.MaxBytes, bad.MaxMsgsPerSubject, bad.MaxMsgSize = time.Hour, 100, 1<<20, 10, 1<<10
	bad.Discard, bad.Retention, bad.Duplicates = jetstream.DiscardOld, jetstream.InterestPolicy, time.Second
	bad.DenyDelete, bad.AllowRollup, bad.AllowDirect, bad.AllowAtomicPublish, bad.NoAck = false, true, false, false, true
	bad.Subjects = []string{"evt.us.>"}
	bad.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "evt.us.>", Destination: "evt.us.x.>"}
	made, err := js.CreateStream(within(t), bad)
	if err != nil {
		t.Fatal(err)
	}
	info := made.CachedInfo()
	cfg := info.Config
	for _, f := range Audit(config, info) {
		flags, ok := strings.CutPrefix(f.Mend, "nats stream edit EVT_us ")
		if !ok {
			t.Errorf("%s has no command: %s", f.Setting, f.Mend)
		}
		edit(t, &cfg, flags)
	}
	mended, err := js.UpdateStream(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	checkFindings(t, Audit(config, mended.CachedInfo()), nil)
}

// edit does what the nats tool does with a flag of "stream edit" (cli/stream_command.go, copyAndEditStream).
func edit(t *testing.T, c *jetstream.StreamConfig, flag string) {
	t.Helper()
	name, value, _ := strings.Cut(flag, "=")
	duration := func() time.Duration {
		d, err := time.ParseDuration(value)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	switch name {
	case "--max-age":
		c.MaxAge = duration()
	case "--max-msgs":
		c.MaxMsgs = -1
	case "--max-bytes":
		c.MaxBytes = -1
	case "--max-msgs-per-subject":
		c.MaxMsgsPerSubject = -1
	case "--max-msg-size":
		c.MaxMsgSize = -1
	case "--discard":
		c.Discard = jetstream.DiscardNew
	case "--retention":
		c.Retention = jetstream.LimitsPolicy
	case "--dupe-window":
		c.Duplicates = duration()
	case "--subjects":
		c.Subjects = strings.Split(strings.Trim(value, "'"), ",")
	case "--deny-delete":
		c.DenyDelete = true
	case "--no-allow-rollup":
		c.AllowRollup = false
	case "--allow-direct":
		c.AllowDirect = true
	case "--allow-batch":
		c.AllowAtomicPublish = true
	case "--ack":
		c.NoAck = false
	case "--no-transform":
		c.SubjectTransform = nil
	default:
		t.Errorf("not a flag of the nats tool: %s", flag)
	}
	if value != "" && strings.HasSuffix(value, "-1") != slices.Contains([]string{"--max-msgs", "--max-bytes", "--max-msgs-per-subject", "--max-msg-size"}, name) {
		t.Errorf("an unexpected value: %s", flag)
	}
}

func TestTheAuditTellsAllAtOnce(t *testing.T) {
	err := unsafe("EVT_us", []Finding{{Setting: "a", Found: "1", Wanted: "2", Why: "Because.", Mend: "do x"}, {Setting: "b"}})
	if !errors.Is(err, events.ErrUnsafeLog) || !strings.Contains(err.Error(), "2 setting(s)") || !strings.Contains(err.Error(), "a is 1, must be 2: Because. Mend: do x") {
		t.Error(err)
	}
	if unsafe("EVT_us", nil) != nil {
		t.Error("no finding is an error")
	}
}

// storeBusy reports whether the server is still removing the files of a deleted stream of the same name.
func storeBusy(err error) bool {
	const codeStoreNotCreated = 10049
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == codeStoreNotCreated
}
