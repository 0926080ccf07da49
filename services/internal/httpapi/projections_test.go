package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/declared"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/httpapi"
)

const countsFile = "projection: counts # of departures\nversion: 1\nfields: {n: int}\non: [{event: FlightDeparted, do: [{count: n}]}]\n"

// applied enters a projection from a file, and those of the fixture's projectors, in the catalog. Nobody builds the file's.
func (f *fixture) applied(t *testing.T) catalog.Done {
	t.Helper()
	p, _, err := declared.Parse("counts.yaml", []byte(countsFile))
	if err != nil {
		t.Fatal(err)
	}
	airports := compiledIn(t)
	if _, err := catalog.Change(t.Context(), f.log, nil, func(c catalog.Catalog) (catalog.Decision, error) { return c.Register(airports) }); err != nil {
		t.Fatal(err)
	}
	done, err := catalog.Change(t.Context(), f.log, nil, func(c catalog.Catalog) (catalog.Decision, error) { return c.Apply(p.Definition(), []byte(countsFile)) })
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// everyStatusOfProjections brings their resources to every status that the document names.
func (f *fixture) everyStatusOfProjections(t *testing.T) {
	t.Helper()
	f.kv.Disarm()
	f.applied(t)
	const all, one = "/v1/projections", "/v1/projections/counts"
	for _, path := range []string{all, one} {
		status(t, f.get(t, path), http.StatusOK)
		status(t, f.get(t, path+"?x=1"), http.StatusBadRequest)
		status(t, f.get(t, path, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden)
		status(t, f.get(t, path, "Host", "evil.example"), http.StatusMisdirectedRequest)
	}
	status(t, f.get(t, "/v1/projections/nothing"), http.StatusNotFound)
	f.kv.Fail(memstore.Fault{Op: memstore.OpKVKeys})
	f.kv.Fail(memstore.Fault{Op: memstore.OpKVGet})
	for _, path := range []string{all, one} {
		status(t, f.get(t, path), http.StatusServiceUnavailable)
	}
}

func TestTheProjectionsAreListedAndShown(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	var l query.Listing
	w := f.get(t, "/v1/projections")
	status(t, w, http.StatusOK)
	decode(t, w.Body, &l)
	if l.Region != "us" || !l.Position.IsZero() || l.Projections == nil || len(l.Projections) != 0 {
		t.Errorf("without a catalog the list is %+v", l)
	}
	done := f.applied(t)
	w = f.get(t, "/v1/projections")
	status(t, w, http.StatusOK)
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("it may be cached")
	}
	decode(t, w.Body, &l)
	if !l.Position.Equal(done.Position) || len(l.Projections) != 2 || l.Projections[0].Kind != catalog.Go || l.Projections[0].Here == nil || l.Projections[0].Here.State != "live" ||
		l.Projections[1].Name != "counts" || l.Projections[1].Here != nil || l.Projections[1].Definition.String() != "us.abcd@1:3" {
		t.Errorf("the list is %+v", l)
	}
	var d query.Definition
	w = f.get(t, "/v1/projections/counts")
	status(t, w, http.StatusOK)
	decode(t, w.Body, &d)
	if d.Text != countsFile || d.Fingerprint != done.After.Fingerprint || len(d.Fields) != 0 {
		t.Errorf("it is %+v", d)
	}
	w = f.get(t, "/v1/projections/airports")
	status(t, w, http.StatusOK)
	d = query.Definition{}
	decode(t, w.Body, &d)
	if d.Text != "" || len(d.Fields) != 6 || d.Here == nil || !d.Definition.IsZero() {
		t.Errorf("it is %+v", d)
	}
}

// A definition is everybody's, and the API has no users: it can be read here and not changed.
func TestNoProjectionIsChangedOverHTTP(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	f.applied(t)
	before := f.head(t)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		for _, path := range []string{"/v1/projections", "/v1/projections/counts"} {
			r, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(countsFile))
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			status(t, f.do(t, r), http.StatusMethodNotAllowed)
		}
	}
	if f.head(t) != before {
		t.Error("something was written")
	}
}
