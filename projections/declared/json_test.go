package declared

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"tidemark.dev/events"
)

// plain returns a node as encoding/json would decode it.
func (n *node) plain() any {
	switch n.shape() {
	case aBool:
		return n.flag()
	case aNumber:
		return json.Number(n.text)
	case aString:
		return n.str()
	case aList:
		list := []any{}
		for i := range n.items() {
			list = append(list, n.items()[i].plain())
		}
		return list
	case anObject:
		object := map[string]any{}
		n.open()
		for i := range n.in.members {
			object[n.in.members[i].name] = n.in.members[i].value.plain()
		}
		return object
	default:
		return nil
	}
}

func FuzzDataIsReadAsTheStandardLibraryReadsIt(f *testing.F) {
	for _, text := range []string{`{"a":[1,-2.5e+7,true,false,null,"x\"\\\u00e9\ud83d\ude00"],"":{}}`, ` [ ] `, `"x"`, `0`, `{"a":{"b":{"c":[[],{}]}} , "d" : 1}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := dataText(&events.Event{Data: data})
		if err != nil || len(data) == 0 {
			if len(data) > 0 && events.CheckJSON(data) == nil {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		var want any
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		if err := decoder.Decode(&want); err != nil {
			t.Fatal(err)
		}
		n := node{text: text}
		if got := n.plain(); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %#v, want %#v", got, want)
		}
	})
}
