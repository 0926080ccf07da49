package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"tidemark.dev/projections"
)

// UnmarshalJSON reads what MarshalJSON writes, with the fields in the order of the text: what a whole number is was an integer, and so on. An array is read as a list: that it was a set
// JSON does not say.
func (d *Document) UnmarshalJSON(text []byte) error {
	*d = Document{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	switch open, err := decoder.Token(); {
	case err != nil:
		return err
	case open == nil:
		return nil
	case open != json.Delim('{'):
		return fmt.Errorf("a document is an object, and this is %v", open)
	}
	d.Values = []string{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return err
		}
		kind, value, err := decodeValue(raw)
		if err != nil {
			return fmt.Errorf("the field %s of a document: %w", name, err)
		}
		d.Fields = append(d.Fields, projections.Field{Name: name.(string), Kind: kind}) // the decoder takes nothing else
		d.Values = append(d.Values, value)
	}
	_, err := decoder.Token()
	return err
}

// decodeValue returns the kind of a field, and its value as it is stored.
func decodeValue(raw json.RawMessage) (kind projections.Kind, value string, err error) {
	if raw[0] == '[' {
		var items []json.RawMessage
		if err := json.Unmarshal(raw, &items); err != nil {
			return "", "", err
		}
		list := make([]projections.Element, len(items))
		for i, item := range items {
			if list[i], err = decodeElement(item); err != nil {
				return "", "", err
			}
		}
		return projections.KindList, projections.FormatElements(list), nil
	}
	e, err := decodeElement(raw)
	if err != nil {
		return "", "", err
	}
	switch e.Kind() {
	case projections.KindInt:
		value = strconv.FormatInt(e.Int(), 10)
	case projections.KindBool:
		value = strconv.FormatBool(e.Bool())
	default:
		value = e.Text()
	}
	return e.Kind(), value, nil
}

func decodeElement(raw json.RawMessage) (e projections.Element, err error) {
	switch raw[0] {
	case '"':
		var s string
		err = json.Unmarshal(raw, &s)
		return projections.StringElement(s), err
	case 't', 'f':
		return projections.BoolElement(raw[0] == 't'), nil
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return e, fmt.Errorf("%.80s is no integer, text, boolean, or array of these", raw)
	}
	return projections.IntElement(n), nil
}

// AsSet says that a field that was read as a list is a set. It reports whether the document has that list.
func (d *Document) AsSet(name string) bool {
	for i := range d.Fields {
		if d.Fields[i].Name == name && d.Fields[i].Kind == projections.KindList {
			d.Fields[i].Kind = projections.KindSet
			return true
		}
	}
	return false
}
