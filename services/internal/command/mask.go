package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
)

// maskJSON returns JSON in which every string, number and boolean is replaced by a text that says what it is: "<string>". Names, order and nesting stay.
func maskJSON(data []byte) (json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var b bytes.Buffer
	if err := maskValue(d, &b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// maskValue copies the next value of d.
func maskValue(d *json.Decoder, b *bytes.Buffer) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	switch t := t.(type) {
	case json.Delim:
		return maskInside(d, b, t)
	case string:
		b.WriteString(`"<string>"`)
	case json.Number:
		b.WriteString(`"<number>"`)
	case bool:
		b.WriteString(`"<boolean>"`)
	default:
		b.WriteString("null")
	}
	return nil
}

// maskInside copies an object or a list that was opened.
func maskInside(d *json.Decoder, b *bytes.Buffer, open json.Delim) error {
	b.WriteByte(byte(open)) //nolint:gosec // one of four ASCII characters
	for n := 0; d.More(); n++ {
		if n > 0 {
			b.WriteByte(',')
		}
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			text, err := json.Marshal(name)
			if err != nil {
				return err
			}
			b.Write(text)
			b.WriteByte(':')
		}
		if err := maskValue(d, b); err != nil {
			return err
		}
	}
	end, err := d.Token()
	if err != nil {
		return err
	}
	fmt.Fprint(b, end)
	return nil
}

// mask hides the event's data: of JSON its structure and types stay, of anything else its size.
func (e *past) mask() {
	if e.Data != nil {
		masked, err := maskJSON(e.Data)
		if err != nil {
			masked = json.RawMessage(`"<JSON>"`) // it was checked before
		}
		e.Data = masked
	}
	if len(e.Base64) > 0 {
		e.Hidden, e.Base64 = fmt.Sprintf("%s of %s", display.Count(len(e.Base64), "byte"), e.ContentType), nil
	}
}

// maskedDocument writes a document with the kinds of its fields instead of their values.
type maskedDocument struct{ fields []projections.Field }

func (m maskedDocument) MarshalJSON() ([]byte, error) {
	d := query.Document{}
	for _, f := range m.fields {
		d.Fields = append(d.Fields, projections.Field{Name: f.Name, Kind: projections.KindString})
		d.Values = append(d.Values, "<"+string(f.Kind)+">")
	}
	return d.MarshalJSON()
}

func (m maskedDocument) write(w io.Writer) {
	for _, f := range m.fields {
		fmt.Fprintf(w, "  %s\t<%s>\n", f.Name, f.Kind)
	}
}
