package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"tidemark.dev/projections"
)

// UnmarshalJSON reads what MarshalJSON writes, with the fields in the order of the text: what a whole number is was an integer, and so on.
func (d *Document) UnmarshalJSON(text []byte) error {
	*d = Document{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
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
		value, err := decoder.Token()
		if err != nil {
			return err
		}
		field := projections.Field{Name: name.(string)} // the decoder takes nothing else
		var as string
		switch v := value.(type) {
		case json.Number:
			if _, err := strconv.ParseInt(v.String(), 10, 64); err != nil {
				return fmt.Errorf("the field %s of a document is %s, which is no integer", field.Name, v)
			}
			field.Kind, as = projections.KindInt, v.String()
		case string:
			field.Kind, as = projections.KindString, v
		case bool:
			field.Kind, as = projections.KindBool, strconv.FormatBool(v)
		default:
			return fmt.Errorf("the field %s of a document is no integer, text or boolean", field.Name)
		}
		d.Fields, d.Values = append(d.Fields, field), append(d.Values, as)
	}
	_, err := decoder.Token()
	return err
}
