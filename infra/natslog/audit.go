package natslog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

// auditor gathers findings about one stream.
type auditor struct {
	cfg      Config
	info     *jetstream.StreamInfo
	findings []Finding
}

// Audit compares a stream with what the log needs and returns every difference that is unsafe, in a fixed order. It changes
// nothing. Settings that cannot hurt (compression, republishing, placement, descriptions) are not looked at.
func Audit(cfg Config, info *jetstream.StreamInfo) []Finding {
	a := &auditor{cfg: cfg.withDefaults(), info: info}
	a.role()
	a.keeping()
	a.eviction()
	a.removal()
	a.writing()
	a.subjects()
	a.state()
	return a.findings
}

// Mends that no command of the nats tool can do.
const (
	mendRecreate = "the server cannot change this: back the stream up, create it anew with natslog.Setup, and import the backup"
	mendCompare  = "compare the stream with another region's copy and restore it from there"
)

func (a *auditor) add(setting string, found, wanted any, why, mend string) {
	a.findings = append(a.findings, Finding{
		Setting: setting, Found: fmt.Sprint(found), Wanted: fmt.Sprint(wanted), Why: why, Mend: mend,
	})
}

func (a *auditor) edit(flags string) string {
	return "nats stream edit " + a.info.Config.Name + " " + flags
}

func (a *auditor) role() {
	c := &a.info.Config
	if a.cfg.ReadOnly {
		return
	}
	if !a.cfg.Mirror {
		if c.Mirror != nil {
			a.add("mirror", c.Mirror.Name, "none", "A copy cannot accept appends; they would be stored in another region or nowhere.",
				"promote it, or open it as a mirror")
		}
		return
	}
	if c.Mirror == nil {
		a.add("mirror", "none", StreamName(a.cfg.Origin), "A stream that is not a mirror does not follow the origin's leader.",
			"create it as a mirror, or open it as the leader")
		return
	}
	if want := StreamName(a.cfg.Origin); c.Mirror.Name != want {
		a.add("mirror.name", c.Mirror.Name, want, "It copies another origin.", mendRecreate)
	}
	if m := c.Mirror; m.FilterSubject != "" || len(m.SubjectTransforms) > 0 || m.OptStartSeq > 1 || m.OptStartTime != nil {
		a.add("mirror", "partial", "the whole origin", "It copies only a part of the origin, or under other subjects.", mendRecreate)
	}
}

// keeping checks how records are kept.
func (a *auditor) keeping() {
	c := &a.info.Config
	if c.Storage != jetstream.FileStorage {
		a.add("storage", c.Storage, jetstream.FileStorage, "Everything is lost when the server stops.", mendRecreate)
	}
	if c.PersistMode == jetstream.AsyncPersistMode {
		a.add("persist_mode", "async", "default", "Appends are acknowledged before they are written.", mendRecreate)
	}
	if c.Retention != jetstream.LimitsPolicy {
		mend := a.edit("--retention=limits")
		if c.Retention == jetstream.WorkQueuePolicy {
			mend = mendRecreate
		}
		a.add("retention", c.Retention, jetstream.LimitsPolicy, "Records vanish once consumers have seen them.", mend)
	}
	if c.Replicas < a.cfg.Replicas {
		a.add("num_replicas", c.Replicas, a.cfg.Replicas, "Acknowledged events are lost with one server.",
			a.edit("--replicas="+strconv.Itoa(a.cfg.Replicas)))
	}
}

// eviction checks for limits, by which the server forgets or refuses records on its own.
func (a *auditor) eviction() {
	c := &a.info.Config
	if c.MaxAge > 0 {
		a.add("max_age", c.MaxAge, "unlimited", "Old records vanish; a clock that jumps ahead drops everything at once.", a.edit("--max-age=0s"))
	}
	for _, limit := range []struct {
		setting, flag, why string
		value              int64
	}{
		{"max_msgs", "--max-msgs=-1", "At the limit old records vanish or appends are refused.", c.MaxMsgs},
		{"max_bytes", "--max-bytes=-1", "At the limit old records vanish or appends are refused.", c.MaxBytes},
		{"max_msgs_per_subject", "--max-msgs-per-subject=-1", "An entity's old events vanish.", c.MaxMsgsPerSubject},
	} {
		if limit.value > 0 {
			a.add(limit.setting, limit.value, "unlimited", limit.why, a.edit(limit.flag))
		}
	}
	if n := int(c.MaxMsgSize); n > 0 && n < events.MaxDataBytes+maxHeaderBytes {
		a.add("max_msg_size", n, "unlimited", "Valid events are refused.", a.edit("--max-msg-size=-1"))
	}
	if c.Discard != jetstream.DiscardNew {
		a.add("discard", c.Discard, jetstream.DiscardNew, "Were a limit ever set, records would vanish without a word instead of appends being refused.",
			a.edit("--discard=new"))
	}
	if c.AllowMsgTTL {
		a.add("allow_msg_ttl", true, false, "Any publisher can make its records vanish.", mendRecreate)
	}
	if c.SubjectDeleteMarkerTTL > 0 {
		a.add("subject_delete_marker_ttl", c.SubjectDeleteMarkerTTL, "none", "The server writes records of its own under an entity's subject.", mendRecreate)
	}
}

// removal checks for ways to remove or replace single records.
func (a *auditor) removal() {
	c := &a.info.Config
	if !c.DenyDelete {
		a.add("deny_delete", false, true, "Single records can be deleted, which leaves holes.", a.edit("--deny-delete"))
	}
	if c.AllowRollup {
		a.add("allow_rollup_hdrs", true, false, "One message can replace an entity's history, or all of it.", a.edit("--no-allow-rollup"))
	}
	if c.AllowMsgCounter {
		a.add("allow_msg_counter", true, false, "The server replaces payloads with sums.", mendRecreate)
	}
	if c.AllowMsgSchedules {
		a.add("allow_msg_schedules", true, false, "The server writes and replaces records of its own.", mendRecreate)
	}
}

// writing checks what appending and reading rely on.
func (a *auditor) writing() {
	c := &a.info.Config
	if c.Sealed {
		a.add("sealed", true, false, "It accepts no appends, for ever.", "promote another region's copy")
	}
	if !c.AllowDirect {
		a.add("allow_direct", false, true, "Entities' histories cannot be read.", a.edit("--allow-direct"))
	}
	if len(c.Sources) > 0 {
		a.add("sources", len(c.Sources), "none", "Other streams' messages are written into the log past every expectation.", mendRecreate)
	}
	if a.cfg.Mirror || a.cfg.ReadOnly {
		return
	}
	if !c.AllowAtomicPublish {
		a.add("allow_atomic", false, true, "Several events cannot be appended together.", a.edit("--allow-batch"))
	}
	if c.NoAck {
		a.add("no_ack", true, false, "Appends are never acknowledged.", a.edit("--ack"))
	}
	if c.Duplicates < a.cfg.DuplicateWindow {
		a.add("duplicate_window", c.Duplicates, a.cfg.DuplicateWindow, "A retry after a lost answer would store an event twice.",
			a.edit("--dupe-window="+a.cfg.DuplicateWindow.String()))
	}
}

func (a *auditor) subjects() {
	c := &a.info.Config
	if t := c.SubjectTransform; t != nil {
		a.add("subject_transform", t.Source+" -> "+t.Destination, "none", "Records are stored under other subjects than the ones they were appended to.",
			a.edit("--no-transform"))
	}
	if a.cfg.Mirror || a.cfg.ReadOnly {
		return
	}
	want := Subjects(a.cfg.Origin)
	mend := a.edit("--subjects='" + strings.Join(want, ",") + "'")
	for _, s := range want {
		if !slices.Contains(c.Subjects, s) {
			a.add("subjects", "without "+s, strings.Join(want, ","), "Appends would be stored in another stream or nowhere.", mend)
		}
	}
	for _, s := range c.Subjects {
		if !slices.Contains(want, s) {
			a.add("subjects", "with "+s, strings.Join(want, ","), "Messages that are no records of this origin would be stored.", mend)
		}
	}
}

// state checks what is stored.
func (a *auditor) state() {
	s := &a.info.State
	begins := uint64(1)
	if b, err := BeginningOf(a.info.Config); err != nil {
		a.add("metadata", a.info.Config.Metadata[beginningKey], "what the copy was made with", "It is not known with which sequence the copy was made to begin, and of which history it is.", mendRecreate)
	} else if a.cfg.Mirror || a.cfg.ReadOnly { // the leader's own log has all of it
		begins = b.First()
	}
	if s.FirstSeq > begins {
		a.add("first_seq", s.FirstSeq, begins, "The beginning of the history is gone: it was purged or the stream began elsewhere.", mendCompare)
	}
	if s.NumDeleted > 0 {
		a.add("num_deleted", s.NumDeleted, 0, "Records are missing from the middle of the history.", mendCompare)
	}
	if s.Lost != nil && len(s.Lost.Msgs) > 0 {
		a.add("lost", len(s.Lost.Msgs), 0, "The server lost records to damage on disk.", mendCompare)
	}
}

// windowFor returns how long after its first attempt an append without expectation may be sent again: half of the window, so
// that the other half is left for a message that dawdles on its way.
func windowFor(duplicates time.Duration) time.Duration { return duplicates / 2 }
