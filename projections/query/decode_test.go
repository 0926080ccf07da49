package query_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

func TestADocumentIsReadBackAsItWas(t *testing.T) {
	fields := []projections.Field{{Name: "z", Kind: projections.KindInt}, {Name: "a", Kind: projections.KindString}, {Name: "m", Kind: projections.KindBool}}
	for _, d := range []query.Document{
		{Fields: fields, Values: []string{"-9223372036854775808", "<a> \"q\" \u2028 ö\x00", "true"}},
		{Fields: fields, Values: []string{"9223372036854775807", "", "false"}},
		{Values: []string{}},
		{},
	} {
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back query.Document
		if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, d) {
			t.Errorf("%s is read as %+v, %v", text, back, err)
		}
	}
	for _, text := range []string{`[]`, `1`, `"a"`, `{"a":1.5}`, `{"a":9223372036854775808}`, `{"a":1e3}`, `{"a":null}`, `{"a":{}}`, `{"a":[1]}`} {
		var d query.Document
		if err := json.Unmarshal([]byte(text), &d); err == nil {
			t.Errorf("%s is read as %+v", text, d)
		}
	}
}
