package events

import "encoding/json"

// CheckJSON returns ErrInvalidData unless data is one JSON value.
func CheckJSON(data []byte) error {
	if !json.Valid(data) {
		return Errorf(ErrInvalidData, "the data is not valid JSON")
	}
	return nil
}
