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
		{Fields: []projections.Field{{Name: "l", Kind: projections.KindList}, {Name: "m", Kind: projections.KindList}}, Values: []string{`["b",1,"<\u0000>",true,-7]`, `[]`}},
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
	for _, text := range []string{`[]`, `1`, `"a"`, `{"a":1.5}`, `{"a":9223372036854775808}`, `{"a":1e3}`, `{"a":null}`, `{"a":{}}`, `{"a":[1.5]}`, `{"a":[[1]]}`, `{"a":[null]}`} {
		var d query.Document
		if err := json.Unmarshal([]byte(text), &d); err == nil {
			t.Errorf("%s is read as %+v", text, d)
		}
	}
}

func TestAListThatIsASetIsSaidToBeOne(t *testing.T) {
	var d query.Document
	if err := json.Unmarshal([]byte(`{"n":1,"s":[ 1, "a" ]}`), &d); err != nil {
		t.Fatal(err)
	}
	if d.AsSet("n") || d.AsSet("x") || !d.AsSet("s") || d.AsSet("s") || d.Fields[1].Kind != projections.KindSet || d.Values[1] != `[1,"a"]` {
		t.Errorf("it is %+v", d)
	}
}
