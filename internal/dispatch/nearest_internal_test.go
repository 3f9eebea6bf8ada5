package dispatch

import (
	"slices"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	few := []string{"reverse", "upper", "word_count"}
	many := []string{"llama-7b", "llama-13b", "llama-70b", "whisper-small", "whisper-large", "mistral-7b", "gpt-4.1"}
	for _, c := range []struct {
		name  string
		names []string
		want  []string
	}{
		{"revers", few, []string{"reverse"}},
		{"UPPER", few, []string{"upper"}},
		{"count", few, []string{"word_count"}},
		{"zzz", few, few},
		{"", few, []string{"upper", "reverse", "word_count"}}, // a part of each
		{"zzz", nil, nil},
		{"zzz", many, nil},
		{"llama-7", many, []string{"llama-7b", "llama-70b", "llama-13b"}},
		{"whisper", many, []string{"whisper-large", "whisper-small"}},
		{"-", many, []string{"gpt-4.1", "llama-7b", "llama-13b", "llama-70b", "mistral-7b"}},
		{strings.Repeat("x", 1<<20), many, nil},
		{"\xff\xfe", few, few},
	} {
		t.Run(short(c.name), func(t *testing.T) {
			if got := nearest(c.name, c.names); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"abc", "", 3},
		{"", "abc", 3},
		{"kitten", "sitting", 3},
		{"word_cuont", "word_count", 2},
		{strings.Repeat("x", 100), strings.Repeat("x", 64) + "y", 0},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance of %q and %q is %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
