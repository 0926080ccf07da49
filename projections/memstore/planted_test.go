package memstore_test

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/storetest"
)

// The suites are tested here, because they need an adapter that keeps every promise but one.

// plantedBug names, in the environment, the bug that TestASuiteWithAPlantedBug runs with.
const plantedBug = "STORETEST_PLANTED_BUG"

// bugs are what an adapter may get wrong, and the test of a suite that must find it.
func bugs() map[string]string {
	return map[string]string{
		"the owner is not checked":                      "Store/apply is refused when another owner, older or newer, is stored",
		"the checkpoint is not checked":                 "Store/apply is refused at another checkpoint, behind or ahead",
		"only sequences are compared":                   "Store/apply is refused at another checkpoint, behind or ahead",
		"a commit makes the partition it needs":         "Store/apply is refused where the partition is absent",
		"a refusal says nothing":                        "Store/a refusal says what was found",
		"writes come before the check of types":         "Store/a key of another type refuses the whole commit",
		"commits fail together":                         "Store/each commit succeeds or fails by itself",
		"a header loses its nanoseconds":                "Store/a header comes back as it was created",
		"a write leaves other fields":                   "Store/a write puts right whatever fields a document has",
		"a removed document stays listed":               "Store/a removed document is gone from the index too",
		"a create takes an existing partition":          "Store/create refuses a partition that exists",
		"left-over documents stay":                      "Store/create removes what is left over of an earlier partition",
		"a claim goes on after a refusal":               "Store/claim is refused by a newer owner and changes nothing from there on",
		"owners are floats":                             "Store/owners are compared as 64-bit numbers",
		"a state changes for everybody":                 "Store/set state is refused where another owns",
		"missing documents are left out":                "Store/load keeps the order of the references, with nil for what is not there",
		"missing fields are empty":                      "Store/a document that lacks a field, or has another one, has no values",
		"get reads twice":                               "Store/get never mixes a header and a document of different commits",
		"get ignores the header":                        "Store/get tells a missing document from an absent partition",
		"lookup answers for partitions that are absent": "Store/lookup tells a missing document from an absent partition",
		"lookup sorts":                                  "Store/lookup keeps the order of the references, each with its header",
		"lookup reads headers last":                     "Store/lookup never gives a document that is older than its header, or none where there is one",
		"lookup leaves out what was removed by hand":    "Store/lookup tells a document that was removed by hand, or damaged",
		"pages are in another order":                    "Store/pages follow the byte order of keys",
		"a page begins with the last of before":         "Store/pages of every size meet without a gap",
		"lost documents are left out of pages":          "Store/a document that is listed and lost has no values",
		"a drop leaves what is not listed":              "Store/drop finishes what an interrupted drop left",
		"a drop takes similar names along":              "Store/generations and projections with similar names do not mix",
		"an ended context is ignored":                   "Store/a call whose context has ended says that the store was not reached",

		"an index entry is lost":                            "Store/an index has each document under its value",
		"a document stays under its old value":              "Store/entries move with their documents",
		"a removed document stays in the indexes":           "Store/a removed document leaves the indexes",
		"values end at a zero byte":                         "Store/every value and every key come back from an index",
		"indexes are one":                                   "Store/sixteen indexes of four fields are kept apart",
		"indexes are written before the check of types":     "Store/a refused commit leaves the indexes alone",
		"left-over entries stay":                            "Store/create and drop remove indexes",
		"left-over changes stay":                            "Store/create and drop remove indexes",
		"reverse begins at the first":                       "Store/pages of an index meet without a gap, both ways",
		"a range has its end too":                           "Store/a range begins with its first value and ends before its second",
		"a page of an index begins with the last of before": "Store/a page of an index begins behind an entry that need not exist",
		"a page of an index forgets its range":              "Store/a page of an index begins behind an entry that need not exist",
		"bare entries are left out that have no document":   "Store/an entry whose document was removed by hand has no values",
		"bare entries have no keys":                         "Store/an index has each document under its value",
		"entries without documents are left out":            "Store/an entry whose document was removed by hand has no values",
		"find takes the header afterwards":                  "Store/what is found is at least as new as its header",
		"count ignores the range":                           "Store/a range begins with its first value and ends before its second",
		"count takes an index that is not there for empty":  "Store/an index that is not there is named",

		"a change is not logged":                                "Store/changes name the keys of each commit under its sequence",
		"removed documents are no changes":                      "Store/changes name the keys of each commit under its sequence",
		"changes are logged under the checkpoint before":        "Store/changes name the keys of each commit under its sequence",
		"changes begin with the sequence itself":                "Store/changes name the keys of each commit under its sequence",
		"a commit without writes is logged":                     "Store/a commit without writes is no change",
		"a change log begins without an entry":                  "Store/a change log begins where its partition becomes live by a commit",
		"a change log begins with the commit before":            "Store/a change log begins where its partition becomes live by a commit",
		"a change log has no beginning when it is made live":    "Store/a change log begins where its partition is made live",
		"a change log begins anew whenever it is made live":     "Store/a change log begins where its partition is made live",
		"a change log goes on when its partition is live again": "Store/a partition that becomes live again begins its change log anew",
		"a refused commit is logged":                            "Store/a refused commit is no change",
		"changes end inside of a commit":                        "Store/changes come in whole commits",
		"a change log is cut off too early":                     "Store/a change log keeps its newest entries and says from where on",
		"the floor is zero":                                     "Store/a change log that was cut off by hand says so",
		"the floor of an empty change log is where it began":    "Store/a change log that was removed by hand says so",
		"a change log that is ahead stops its partition":        "Store/a change log that is ahead of its partition begins anew",
		"changes take the header afterwards":                    "Store/changes and their header are of one step",
		"a change log that is cut off says so late":             "Store/a reader of changes misses none while the log is cut off",

		"marks are sorted as words":                          "Store/marks come back as they were recorded, by rising sequence",
		"a mark is not recorded":                             "Store/marks come back as they were recorded, by rising sequence",
		"a mark stays that is to be forgotten":               "Store/marks come back as they were recorded, by rising sequence",
		"a mark loses its number":                            "Store/marks come back as they were recorded, by rising sequence",
		"a mark is forgotten by its sequence":                "Store/a mark is recorded again, and forgotten again, without a trace",
		"marks come before those that go":                    "Store/a mark is recorded again, and forgotten again, without a trace",
		"what is not live records no marks":                  "Store/marks are recorded whatever the state of the partition",
		"an absent partition has marks":                      "Store/an absent partition has no marks",
		"a refused commit records its marks":                 "Store/a refused commit records no mark and forgets none",
		"a refused commit forgets marks":                     "Store/a refused commit records no mark and forgets none",
		"left-over marks stay":                               "Store/create and drop remove marks",
		"a drop leaves marks":                                "Store/create and drop remove marks",
		"a mark that cannot be read is an error":             "Store/what cannot be read as a mark is left out",
		"a mark that cannot be read ends them":               "Store/what cannot be read as a mark is left out",
		"a page ends at what is no document":                 "Store/a document whose key is of another type has no values",
		"marks of another type are none":                     "Store/marks of another type refuse the whole commit",
		"documents are written before the type of the marks": "Store/marks of another type refuse the whole commit",
		"marks are looked at by every commit":                "Store/marks of another type refuse the whole commit",
		"marks take the header afterwards":                   "Store/marks and their header are of one step",
		"one mark of a commit is lost":                       "Store/as many marks as a partition keeps are recorded at once",

		"a commit has to move the checkpoint":                    "Store/a commit that does not move the checkpoint writes",
		"what does not move is not checked":                      "Store/a commit that does not move the checkpoint is refused as any other",
		"what is put right is not logged":                        "Store/what is put right at a checkpoint is a change behind it",
		"what is put right is logged at the checkpoint":          "Store/what is put right at a checkpoint is a change behind it",
		"what is put right is told before its time":              "Store/a reader of changes misses nothing that is put right",
		"what is put right makes the change log begin anew":      "Store/a reader of changes misses nothing that is put right",
		"what is put right comes one entry at a time":            "Store/what is put right at a checkpoint comes in whole commits",
		"what is put right is logged while nothing else is":      "Store/what is put right while a partition is not live is not logged",
		"what is put right is all that is known to have changed": "Store/what is put right after the change log was lost is not taken for all that changed",

		"an inspection sorts":                                      "Store/an inspection says what is under each key, in order",
		"an inspection answers each key once":                      "Store/an inspection says what is under each key, in order",
		"an inspection takes what is there for listed":             "Store/an inspection tells what was removed, altered or put there by hand",
		"an inspection takes what is damaged for missing":          "Store/an inspection tells what was removed, altered or put there by hand",
		"an inspection computes digests":                           "Store/an inspection tells what was removed, altered or put there by hand",
		"an inspection takes something else for nothing":           "Store/an inspection tells what was removed, altered or put there by hand",
		"an inspection believes entries":                           "Store/an inspection tells which entries there are",
		"an inspection looks for entries in one index":             "Store/an inspection tells which entries there are",
		"an inspection cuts entries":                               "Store/every key and every entry can be inspected",
		"an inspection answers for partitions that are absent":     "Store/an inspection of an absent partition is its header",
		"an inspection has no bound":                               "Store/an inspection of too much, or of an index that is not there, is refused",
		"an inspection takes an index that is not there for empty": "Store/an inspection of too much, or of an index that is not there, is refused",
		"an inspection ends early":                                 "Store/a thousand keys are inspected at once",
		"an inspection reads documents afterwards":                 "Store/an inspection is of one step",
		"an inspection reads entries afterwards":                   "Store/an inspection is of one step",
		"an inspection takes a spoilt index for empty":             "Store/inspection and sizes of an index of another type say so",
		"sizes count what the header says":                         "Store/sizes count keys and entries",
		"sizes leave out the index of those that expire":           "Store/sizes count keys and entries",
		"sizes leave out what is empty":                            "Store/sizes count keys and entries",
		"sizes take the header afterwards":                         "Store/sizes are of one step",
		"sizes take a spoilt index for empty":                      "Store/inspection and sizes of an index of another type say so",

		"strays of partitions that are absent": "Store/strays are what no list of keys has",
		"what is missing is a stray":           "Store/strays are what no list of keys has",
		"what was seen listed is yielded too":  "Store/strays are what no list of keys has",
		"a stray has to be a document":         "Store/strays are what no list of keys has",
		"strays of similar names":              "Store/strays of other generations and projections are not ours",
		"a walk for strays goes on":            "Store/a walk for strays can be ended",
		"a walk for strays ends early":         "Store/thousands of strays are found",
		"a stray is not looked at again":       "Store/a document that is being made is no stray",

		"a put ignores the revision":        "KV/put at another revision is refused and changes nothing",
		"a delete ignores the revision":     "KV/delete removes at the current revision only",
		"an empty value is none":            "KV/values come back as they were put",
		"deleted keys are listed":           "KV/keys are listed by prefix, sorted, without the deleted ones",
		"a watch begins with a change":      "KV/watch yields the current entry first",
		"a put loses races":                 "KV/of many writers at one revision one wins",
		"the watch of a deletion is silent": "KV/watch yields changes and the deletion",

		"two have the lease":               "Leases/a lease lasts until it is released",
		"tokens begin anew":                "Leases/tokens grow for ever",
		"a loss has no cause":              "Leases/a holder that stops renewing is told before it is replaced",
		"a late release frees the name":    "Leases/a release after the loss leaves the successor alone",
		"names are one":                    "Leases/names are independent",
		"waiting does not look at the end": "Leases/waiting ends with its context and leaves nothing behind",

		"what fails is kept as far as it came":    "Snapshots/a body that fails leaves nothing behind",
		"an early end is an end":                  "Snapshots/a body that fails leaves nothing behind",
		"the error of a body is another":          "Snapshots/a body that fails leaves nothing behind",
		"a body ends with its first empty read":   "Snapshots/a body that comes in pieces is one snapshot",
		"a body is cut at a size":                 "Snapshots/a body of twenty megabytes is kept as it comes",
		"a given length is believed":              "Snapshots/a description comes back as it was put, with the length",
		"an id that is taken is replaced":         "Snapshots/an id that is taken is refused and nothing changes",
		"two may have one id":                     "Snapshots/of many who put one id one wins",
		"a snapshot is listed before it is whole": "Snapshots/what is listed is whole",
		"a body outlives its context":             "Snapshots/a body during which the context ends leaves nothing behind",
		"an ended context is ignored by readers":  "Snapshots/a reading can be left, and ends with its context",
		"the oldest is listed first":              "Snapshots/a list has the largest sequence first",
		"sequences are signed":                    "Snapshots/a list has the largest sequence first",
		"names of projections are prefixes":       "Snapshots/projections are kept apart",
		"names are made to fit":                   "Snapshots/names that are none are refused",
		"what is unknown is empty":                "Snapshots/what is not there is unknown",
		"damage is not looked for":                "Snapshots/what was altered is told at the end of it",
		"a second deletion fails":                 "Snapshots/a snapshot that was deleted is gone and its id is free",
		"a deletion is forgotten":                 "Snapshots/a snapshot that was deleted is gone and its id is free",

		"sets lose their end":            "Signals/a demand arrives as it was sent",
		"what was written is what moved": "Signals/a notice arrives as it was sent",
		"names are prefixes":             "Signals/signals of other projections are not heard",
		"one hears":                      "Signals/everybody who listens hears",
		"a stop is ignored":              "Signals/whoever stopped hears nothing more",
		"sending waits for somebody":     "Signals/nobody who sends waits",
	}
}

func TestASuiteWithAPlantedBug(t *testing.T) {
	bug, planted := os.LookupEnv(plantedBug)
	if !planted {
		return // TestTheSuitesFindPlantedBugs runs this one, in processes of its own
	}
	t.Run("Store", func(t *testing.T) {
		storetest.RunStore(t, func(*testing.T) storetest.Subject {
			s := memstore.New()
			return storetest.Subject{Store: &buggyStore{Store: s, bug: bug}, Tamper: tamper{s}}
		})
	})
	t.Run("KV", func(t *testing.T) {
		storetest.RunKV(t, func(*testing.T) projections.KV { return &buggyKV{KV: memstore.NewKV(), bug: bug} })
	})
	t.Run("Leases", func(t *testing.T) {
		storetest.RunLeases(t, func(*testing.T) storetest.LeaseSubject {
			l := &buggyLeases{Leases: memstore.NewLeases(), other: memstore.NewLeases(), bug: bug}
			return storetest.LeaseSubject{A: l, B: l, Kill: func(_ testing.TB, name string) { l.Expire(l.name(name)) }}
		})
	})
	t.Run("Snapshots", func(t *testing.T) {
		storetest.RunSnapshots(t, func(*testing.T) storetest.SnapshotSubject {
			s := &buggySnapshots{Snapshots: memstore.NewSnapshots(), bug: bug}
			return storetest.SnapshotSubject{Snapshots: s, Tamper: tamperSnapshots(s.Snapshots)}
		})
	})
	t.Run("Signals", func(t *testing.T) {
		storetest.RunSignals(t, func(*testing.T) (x, y projections.Signals) {
			s := &buggySignals{Signals: memstore.NewSignals(), bug: bug}
			return s, s
		})
	})
}

func TestTheSuitesFindPlantedBugs(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	suite := func(bug, pattern string) (string, error) {
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestASuiteWithAPlantedBug$/"+pattern, "-test.v", "-test.timeout=10m") //nolint:gosec // ourselves
		cmd.Env = append(os.Environ(), plantedBug+"="+bug)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := suite("none", ""); err != nil || strings.Count(out, "--- PASS: TestASuiteWithAPlantedBug/") < len(bugs()) {
		t.Fatalf("without a bug the suites must pass: %v\n%s", err, out)
	}
	for bug, finder := range bugs() {
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			group, name, _ := strings.Cut(finder, "/")
			name = strings.ReplaceAll(name, " ", "_")
			out, err := suite(bug, "^"+group+"$/^"+regexp.QuoteMeta(name)+"$")
			if _, failed := errors.AsType[*exec.ExitError](err); !failed {
				t.Fatalf("the suite did not fail: %v\n%s", err, out)
			}
			if want := "--- FAIL: TestASuiteWithAPlantedBug/" + group + "/" + name + " "; !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		})
	}
}
