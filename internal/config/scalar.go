package config

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// kind is what a key's value is written as.
type kind uint8

const (
	kindText kind = iota + 1
	kindBool
	kindInt
	kindFloat
	kindDuration
	kindSize
	kindAmount // a size, or a count without unit
)

// example is how a value of each kind looks, for messages.
var example = map[kind]string{
	kindText:     "text",
	kindBool:     "true or false",
	kindInt:      "a whole number",
	kindFloat:    "a number",
	kindDuration: "a duration such as 30s",
	kindSize:     "a size such as 16MiB",
	kindAmount:   "a size such as 16MiB, or a whole number",
}

// kindOf tells the kind of a field, and false for sections and lists.
func kindOf(f reflect.StructField) (kind, bool) {
	if f.Type == reflect.TypeFor[time.Duration]() {
		return kindDuration, true
	}
	//exhaustive:ignore
	switch f.Type.Kind() {
	case reflect.String:
		return kindText, true
	case reflect.Bool:
		return kindBool, true
	case reflect.Int:
		return kindInt, true
	case reflect.Float64:
		return kindFloat, true
	case reflect.Int64:
		if f.Tag.Get("unit") == "amount" {
			return kindAmount, true
		}
		return kindSize, true
	default:
		return 0, false
	}
}

var (
	bareNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)
	intForm    = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	sizeForm   = regexp.MustCompile(`^([0-9]+)(B|KiB|MiB|GiB|TiB)$`)
	// sizeGuess is what people write who mean a size: a number, perhaps with a fraction, and a unit's first letter.
	sizeGuess = regexp.MustCompile(`^([0-9]+)(\.[0-9]+)? ?([kKmMgGtT])(i?[bB])?$`)
)

// parseScalar reads a value of kind k from its text; the result has the type of the fields of that kind.
func parseScalar(k kind, text string) (any, error) {
	switch k {
	case kindText:
		return text, nil
	case kindBool:
		switch strings.ToLower(text) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	case kindInt:
		// No leading zero: for some readers that makes a number octal.
		if !intForm.MatchString(text) {
			break
		}
		n, err := strconv.ParseInt(text, 10, 32)
		switch {
		case strings.HasPrefix(text, "-") && n != 0:
			return nil, negative(text)
		case err != nil:
			return nil, fmt.Errorf("%s is out of range", quote(text))
		}
		return int(n), nil
	case kindFloat:
		n, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil || math.IsNaN(n) || math.IsInf(n, 0):
		case n < 0:
			return nil, negative(text)
		default:
			return n, nil
		}
	case kindDuration:
		return parseDuration(text)
	case kindSize:
		return parseSize(text)
	case kindAmount:
		if !bareNumber.MatchString(text) {
			return parseSize(text)
		}
		if !isCount(text) {
			break
		}
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case strings.HasPrefix(text, "-") && n != 0:
			return nil, negative(text)
		case err != nil:
			return nil, fmt.Errorf("%s is out of range", quote(text))
		}
		return n, nil
	}
	return nil, fmt.Errorf("want %s, got %s", example[k], quote(text))
}

// isCount reports whether an amount is written without a unit.
func isCount(text string) bool { return bareNumber.MatchString(text) && !strings.Contains(text, ".") }

func negative(text string) error { return fmt.Errorf("%s is negative", quote(text)) }

// parseDuration reads a duration, which carries a unit unless it is 0, and is whole milliseconds, so that none becomes
// 0, which often means without limit, where it is counted in them. time.ParseDuration alone would do but for its
// messages: it says "missing unit" without saying what to write.
func parseDuration(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	if bareNumber.MatchString(text) && !strings.HasPrefix(text, "-") {
		return 0, fmt.Errorf("%s has no unit: write %ss for seconds (units: ms, s, m, h)", quote(text), text)
	}
	d, err := time.ParseDuration(text)
	switch {
	case d < 0 || err != nil && bareNumber.MatchString(text):
		return 0, negative(text)
	case err != nil:
		return 0, fmt.Errorf("want %s, got %s (units: ms, s, m, h)", example[kindDuration], quote(text))
	case d%time.Millisecond != 0:
		return 0, fmt.Errorf("%s is no whole number of milliseconds", quote(text))
	}
	return d, nil
}

// parseSize reads a number of bytes, which carries a unit unless it is 0.
func parseSize(text string) (int64, error) {
	if text == "0" {
		return 0, nil
	}
	if m := sizeForm.FindStringSubmatch(text); m != nil {
		n, err := strconv.ParseInt(m[1], 10, 64)
		factor := sizeFactor(m[2])
		if err != nil || n > math.MaxInt64/factor {
			return 0, fmt.Errorf("%s is out of range", quote(text))
		}
		return n * factor, nil
	}
	if strings.HasPrefix(text, "-") && (bareNumber.MatchString(text) || sizeForm.MatchString(text[1:])) {
		return 0, negative(text)
	}
	if isCount(text) {
		meant := text + "MiB"
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 64*kib {
			meant = formatSize(n)
		}
		return 0, fmt.Errorf("%s has no unit: write %s, or another of B, KiB, MiB, GiB, TiB", quote(text), meant)
	}
	if m := sizeGuess.FindStringSubmatch(text); m != nil {
		unit := strings.ToUpper(m[3]) + "iB"
		if m[2] == "" {
			return 0, fmt.Errorf("%s: write %s%s (units: B, KiB, MiB, GiB, TiB, each 1024 of the one before)", quote(text), m[1], unit)
		}
		return 0, fmt.Errorf("%s: write a whole number of a smaller unit than %s", quote(text), unit)
	}
	return 0, fmt.Errorf("want %s, got %s (units: B, KiB, MiB, GiB, TiB)", example[kindSize], quote(text))
}

func sizeFactor(unit string) int64 {
	switch unit {
	case "KiB":
		return kib
	case "MiB":
		return mib
	case "GiB":
		return gib
	case "TiB":
		return 1 << 40
	default:
		return 1
	}
}

// formatSize writes a number of bytes the way parseSize reads it, with the largest unit that leaves it whole.
func formatSize(n int64) string {
	for _, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if f := sizeFactor(unit); n != 0 && n%f == 0 {
			return strconv.FormatInt(n/f, 10) + unit
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// quote shows a value of the user's in a message, cut where it is long.
func quote(text string) string {
	const most = 80
	if len(text) > most {
		return strconv.Quote(strings.ToValidUTF8(text[:most], "")) + "…"
	}
	return strconv.Quote(text)
}
