package httpapi_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/httpapi"
)

// operations returns the documented statuses of each resource and method.
var operations = sync.OnceValues(func() (map[string][]string, error) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]any
		}
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for path, methods := range doc.Paths {
		for method, operation := range methods {
			out[strings.ToUpper(method)+" "+path] = slices.Sorted(maps.Keys(operation.Responses))
		}
	}
	return out, nil
})

// documented fails when an answer is not in the document, and remembers it.
func documented(t *testing.T, seen map[string]bool, r *http.Request, status int) {
	t.Helper()
	known, err := operations()
	if err != nil {
		t.Fatal(err)
	}
	if status == http.StatusMethodNotAllowed {
		return // said once for all resources
	}
	method := r.Method
	if method == http.MethodHead { // is answered wherever GET is
		method = http.MethodGet
	}
	operation := method + " " + resource(r.URL.EscapedPath())
	statuses, ok := known[operation]
	code := strconv.Itoa(status)
	switch {
	case !ok && status == http.StatusNotFound:
		return
	case !ok:
		t.Errorf("%s answered %d and is not in openapi.yaml", operation, status)
	case !slices.Contains(statuses, code) && !slices.Contains(statuses, "default"):
		t.Errorf("%s answered %d, which openapi.yaml does not name", operation, status)
	}
	seen[operation+" "+code] = true
}

func resource(path string) string {
	if strings.HasPrefix(path, "/v1/projections/") && strings.HasSuffix(path, "/marks") {
		return "/v1/projections/{projection}/marks"
	}
	if strings.HasPrefix(path, "/v1/projections/") && strings.HasSuffix(path, "/findings") {
		return "/v1/projections/{projection}/findings"
	}
	if strings.HasPrefix(path, "/v1/projections/") && strings.HasSuffix(path, "/replays") {
		return "/v1/projections/{projection}/replays"
	}
	if strings.HasPrefix(path, "/v1/projections/") {
		return "/v1/projections/{projection}"
	}
	for _, operation := range []string{"/v1/lookup/", "/v1/count/", "/v1/watch/"} {
		if strings.HasPrefix(path, operation) {
			return operation + "{projection}"
		}
	}
	rest, ok := strings.CutPrefix(path, "/v1/models/")
	if strings.HasPrefix(path, "/v1/parked/") {
		return "/v1/parked/{projection}"
	}
	if !ok {
		return path
	}
	if strings.Contains(rest, "/") {
		return "/v1/models/{projection}/{key}"
	}
	return "/v1/models/{projection}"
}

func TestTheDocumentNamesEveryResourceAndNoOther(t *testing.T) {
	known, err := operations()
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	log := memlog.New("us", memlog.Options{})
	defer log.Close()
	for _, r := range httpapi.Routes(httpapi.New(log, &query.Reader{}, httpapi.Options{Metrics: http.NotFoundHandler()})) {
		routes = append(routes, strings.NewReplacer("...", "", "{$}", "").Replace(r))
	}
	slices.Sort(routes)
	if documented := slices.Sorted(maps.Keys(known)); !slices.Equal(routes, documented) {
		t.Errorf("the routes are\n%v\nand the document has\n%v", routes, documented)
	}
}

func TestEveryReferenceOfTheDocumentLeadsSomewhere(t *testing.T) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				used[ref] = true
				var at any = doc
				for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
					m, _ := at.(map[string]any)
					at = m[part]
				}
				if at == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for key, value := range v {
				if value == nil {
					t.Errorf("%s has no value: a text with a comma needs quotes", key)
				}
				walk(value)
			}
		case []any:
			for _, value := range v {
				walk(value)
			}
		}
	}
	walk(doc)
	for kind, members := range doc["components"].(map[string]any) {
		for name := range members.(map[string]any) {
			if !used["#/components/"+kind+"/"+name] {
				t.Errorf("the component %s/%s is not used", kind, name)
			}
		}
	}
}

// documentedMany has a lookup with a body answered in every way.
func (f *fixture) documentedMany(t *testing.T) {
	t.Helper()
	const many = "/v1/lookup/airports"
	as := []string{"Content-Type", "application/json"}
	status(t, f.to(t, many, `{"keys":["ORD"]}`, as...), http.StatusOK)
	status(t, f.to(t, many, `{"keys":[]}`, as...), http.StatusBadRequest)
	status(t, f.to(t, "/v1/lookup/nothing", `{"keys":["ORD"]}`, as...), http.StatusNotFound)
	status(t, f.to(t, many+"?at-least=us.ffff@1:2", `{"keys":["ORD"]}`, as...), http.StatusGone)
	status(t, f.to(t, many+"?at-least=us.abcd@1:99&wait=0", `{"keys":["ORD"]}`, as...), http.StatusServiceUnavailable)
	status(t, f.to(t, many, `{"keys":["`+strings.Repeat("x", httpapi.MaxLookupBytes)+`"]}`, as...), http.StatusRequestEntityTooLarge)
	status(t, f.to(t, many, "ORD", "Content-Type", "text/plain"), http.StatusUnsupportedMediaType)
	status(t, f.to(t, many, `{"keys":["ORD"]}`, append(as, "Sec-Fetch-Site", "cross-site")...), http.StatusForbidden)
	status(t, f.to(t, many, `{"keys":["ORD"]}`, append(as, "Host", "evil.example")...), http.StatusMisdirectedRequest)
}

// documentedWatch has a watch answered in every way.
func (f *fixture) documentedWatch(t *testing.T, watch string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodHead, watch, nil)
	status(t, f.do(t, r), http.StatusOK)
	status(t, f.get(t, watch+"?token=x"), http.StatusBadRequest)
	status(t, f.get(t, "/v1/watch/nothing"), http.StatusNotFound)
	var page struct{ Watch string }
	decode(t, f.get(t, "/v1/models/airports").Body, &page)
	far := httpapi.New(f.log, query.New("eu", f.store, f.kv, query.NewHeads(f.log)), httpapi.Options{})
	w := httptest.NewRecorder()
	r = httptest.NewRequestWithContext(t.Context(), http.MethodGet, watch+"?token="+page.Watch, nil)
	far.ServeHTTP(w, r)
	problem(t, w, http.StatusGone, projections.ErrResync)
	documented(t, f.seen, r, w.Code)
	f.store.Fail(memstore.Fault{Op: memstore.OpHeaders, Nth: 1})
	status(t, f.get(t, watch), http.StatusServiceUnavailable)
	f.store.Disarm()
}

// Every status that the document names is answered here once.
func TestTheHandlerAnswersEveryDocumentedStatus(t *testing.T) {
	f := newFixture(t, httpapi.Options{MaxWaits: 1, Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	status(t, f.post(t, flight, departed("1")...), http.StatusCreated)
	status(t, f.post(t, flight, departed("1")...), http.StatusOK)
	status(t, f.post(t, flight, departed("2", "Tidemark-Expect", "none")...), http.StatusConflict)
	status(t, f.post(t, "{", departed("2")...), http.StatusBadRequest)
	status(t, f.post(t, `"`+strings.Repeat("x", 1<<20)+`"`, departed("2")...), http.StatusRequestEntityTooLarge)
	status(t, f.post(t, "<a/>", "Content-Type", "text/xml"), http.StatusUnsupportedMediaType)
	f.log.Unreachable(-1)
	status(t, f.post(t, flight, departed("2")...), http.StatusServiceUnavailable)
	f.log.Unreachable(0)
	f.log.LoseReplies(memlog.Attempts)
	status(t, f.post(t, flight, departed("2")...), http.StatusGatewayTimeout)

	const here, lost = "us.abcd@1:3", "us.ffff@1:2" // the event whose reply was lost is stored too
	const document, page = "/v1/models/airports/ORD", "/v1/models/airports"
	w := f.get(t, document+"?at-least="+here)
	status(t, w, http.StatusOK)
	status(t, f.get(t, page+"?at-least="+here), http.StatusOK)
	status(t, f.get(t, document, "If-None-Match", w.Header().Get("ETag")), http.StatusNotModified)
	const lookup, count, watch = "/v1/lookup/airports?key=ORD", "/v1/count/airports?", "/v1/watch/airports"
	for _, path := range []string{page, lookup, count} {
		w := f.get(t, path)
		status(t, w, http.StatusOK)
		status(t, f.get(t, path, "If-None-Match", w.Header().Get("ETag")), http.StatusNotModified)
	}
	f.documentedMany(t)
	f.documentedWatch(t, watch)
	for _, path := range []string{document + "?", page + "?", lookup + "&", count} {
		status(t, f.get(t, path+"at-least=x"), http.StatusBadRequest)
		status(t, f.get(t, path+"at-least="+lost), http.StatusGone)
		status(t, f.get(t, path+"at-least=us.abcd@1:99&wait=0"), http.StatusServiceUnavailable)
		status(t, f.get(t, strings.Replace(path, "airports", "nothing", 1)), http.StatusNotFound)
	}
	for _, path := range []string{document, page} {
		status(t, f.get(t, path+"?at-least=x"), http.StatusBadRequest)
		status(t, f.get(t, path+"?at-least="+lost), http.StatusGone)
		status(t, f.get(t, path+"?at-least=us.abcd@1:99&wait=0"), http.StatusServiceUnavailable)
	}
	status(t, f.get(t, "/v1/models/airports/NONE"), http.StatusNotFound)
	status(t, f.get(t, "/v1/models/nothing"), http.StatusNotFound)
	const parked = "/v1/parked/airports"
	status(t, f.get(t, parked), http.StatusOK)
	status(t, f.get(t, parked+"?limit=0"), http.StatusBadRequest)
	status(t, f.get(t, "/v1/parked/nothing"), http.StatusNotFound)
	f.store.Fail(memstore.Fault{Op: memstore.OpFind})
	status(t, f.get(t, parked), http.StatusServiceUnavailable)
	f.store.Disarm()
	for _, path := range []string{"/v1/status", "/metrics", "/healthz", "/readyz", "/openapi.yaml", "/"} {
		status(t, f.get(t, path), http.StatusOK)
	}
	f.kv.Fail(memstore.Fault{Op: memstore.OpKVKeys})
	status(t, f.get(t, "/v1/status"), http.StatusServiceUnavailable)
	status(t, f.get(t, "/readyz"), http.StatusServiceUnavailable)
	for _, path := range []string{"/v1/status", "/readyz"} {
		status(t, f.get(t, path+"?x=1"), http.StatusBadRequest)
	}
	for _, path := range []string{document, page, lookup, count, watch, parked, "/v1/status", "/metrics", "/healthz", "/readyz", "/openapi.yaml", "/"} {
		status(t, f.get(t, path, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden)
		status(t, f.get(t, path, "Host", "evil.example"), http.StatusMisdirectedRequest)
	}
	status(t, f.post(t, flight, departed("3", "Origin", "https://evil.example")...), http.StatusForbidden)
	status(t, f.post(t, flight, departed("3", "Host", "evil.example:7070")...), http.StatusMisdirectedRequest)

	f.everyStatusOfMarks(t)
	f.everyStatusOfFindings(t)
	f.everyStatusOfReplays(t)
	f.everyStatusOfProjections(t)

	known, err := operations()
	if err != nil {
		t.Fatal(err)
	}
	for operation, statuses := range known {
		for _, code := range statuses {
			if code != "default" && !f.seen[operation+" "+code] {
				t.Errorf("%s was never seen to answer %s", operation, code)
			}
		}
	}
}
