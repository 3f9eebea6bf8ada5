package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// ToDict returns a message as the flat dictionary that Encode writes, type included. Numbers are json.Number, so that
// nothing is lost. The errors are those of Encode.
func ToDict(m Message) (map[string]any, error) {
	b, err := Encode(m)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	var dict map[string]any
	if err := decoder.Decode(&dict); err != nil {
		return nil, fmt.Errorf("%s message to dictionary: %w", m.MessageType(), err)
	}
	return dict, nil
}

// FromDict is the inverse of ToDict. Values may be whatever encoding/json can write. The errors are those of Decode, and
// those of encoding/json for what it cannot write.
func FromDict(dict map[string]any) (Message, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(dict); err != nil {
		return nil, fmt.Errorf("message from dictionary: %w", err)
	}
	return Decode(b.Bytes())
}
