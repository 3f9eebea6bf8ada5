package protocol

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestProseCodes(t *testing.T) {
	rows := readProse(t).tables("code")["Errors"]
	var codes []Code
	for _, row := range rows {
		n, err := strconv.Atoi(row[0])
		if err != nil {
			t.Fatal(err)
		}
		code := Code(n)
		codes = append(codes, code)
		if want := "`" + code.Kind() + "`"; row[1] != want {
			t.Errorf("%d: kind %s, want %s", n, row[1], want)
		}
		if want := map[bool]string{true: "yes", false: "no"}[code.Retryable()]; row[2] != want {
			t.Errorf("%d: retryable %s, want %s", n, row[2], want)
		}
	}
	if !reflect.DeepEqual(codes, Codes()) {
		t.Errorf("codes %v\nwant  %v", codes, Codes())
	}
	// Every member of the data stands in some row, or above the table.
	for _, member := range membersOf(reflect.TypeFor[ErrorData]()) {
		if slices.Contains([]string{"kind", "retryable", "job_id"}, member) {
			continue
		}
		if !slices.ContainsFunc(rows, func(row []string) bool { return strings.Contains(row[3], "`"+member+"`") }) {
			t.Errorf("no code has the data member %s", member)
		}
	}
}

func TestProseFeatures(t *testing.T) {
	p := readProse(t)
	var features []string
	for _, row := range p.tables("feature")["Features"] {
		features = append(features, strings.Trim(row[0], "`"))
	}
	if !reflect.DeepEqual(features, Features()) {
		t.Errorf("features %v\nwant     %v", features, Features())
	}
	for _, f := range Features() {
		if !slices.Contains(p.lines, "#### "+f) {
			t.Errorf("feature %s has no section", f)
		}
	}
}

func TestProseMethods(t *testing.T) {
	p := readProse(t)
	var methods, served []string
	for _, row := range p.tables("method")["Methods"] {
		name := strings.Trim(row[0], "`")
		methods = append(methods, name)
		switch row[3] {
		case "yes":
			served = append(served, name)
		case "reserved":
		default:
			t.Errorf("%s: served %q", name, row[3])
		}
	}
	if !reflect.DeepEqual(methods, Methods()) {
		t.Errorf("methods %v\nwant    %v", methods, Methods())
	}
	for _, b := range p.blocks {
		if strings.Contains(b.text, `"methods":[`) && !strings.Contains(b.text, `"methods":["`+strings.Join(served, `","`)+`"]`) {
			t.Errorf("line %d: daemon.info does not list the methods that are served: %v", b.line, served)
		}
	}
	var notifications []string
	for _, row := range p.tables("notification")["Methods"] {
		notifications = append(notifications, strings.Trim(row[0], "`"))
	}
	want := []string{
		NotificationCancelRequest, NotificationStreamChunk, NotificationJobProgress, NotificationProgress, NotificationEvent,
	}
	if !reflect.DeepEqual(notifications, want) {
		t.Errorf("notifications %v\nwant          %v", notifications, want)
	}
}

// TestProseMessages: every type has a section, whose table lists its members. The required ones are those without which
// the section's examples are refused.
func TestProseMessages(t *testing.T) {
	p := readProse(t)
	tables := p.tables("member")
	for typ, d := range decoders {
		if !slices.Contains(p.lines, "### `"+typ+"`") {
			t.Errorf("message %s has no section", typ)
			continue
		}
		var members []string
		required := make(map[string]bool)
		for _, row := range tables[typ] {
			if name := strings.Trim(row[0], "`"); name != row[0] {
				members = append(members, name)
				required[name] = row[2] == "yes"
				if row[2] != "yes" && row[2] != "no" {
					t.Errorf("%s: %s: required %q", typ, name, row[2])
				}
			}
		}
		want := slices.Sorted(slices.Values(d.members))
		if !slices.Equal(slices.Sorted(slices.Values(members)), want) {
			t.Errorf("%s: members %v, want %v", typ, members, want)
		}
		example := firstExample(p, typ)
		if example == nil {
			t.Errorf("%s has no example", typ)
			continue
		}
		for _, name := range members {
			without := make(map[string]any)
			for k, v := range example {
				if k != name {
					without[k] = v
				}
			}
			_, err := FromDict(without)
			e, refused := errors.AsType[*MessageError](err)
			if refused != required[name] || refused && (e.Fault != MemberMissing || e.Member != name) {
				t.Errorf("%s without %s: %v, but required is %v", typ, name, err, required[name])
			}
		}
	}
}

func firstExample(p *prose, typ string) map[string]any {
	for _, b := range p.blocks {
		if b.section != typ || b.info != "json worker" {
			continue
		}
		var example map[string]any
		if json.NewDecoder(strings.NewReader(b.text)).Decode(&example) == nil {
			return example
		}
	}
	return nil
}

// TestProseTables: the tables of params, chunks and the job record have the members of their types.
func TestProseTables(t *testing.T) {
	p := readProse(t)
	for _, c := range []struct {
		first, section string
		typ            reflect.Type
	}{
		{"param", "Running a plugin", reflect.TypeFor[ExecuteParams]()},
		{"member", "Chunks", reflect.TypeFor[StreamChunkParams]()},
		{"member", "Job record", reflect.TypeFor[JobRecord]()},
		{"member", "meta", reflect.TypeFor[Meta]()},
		{"member", "error_info", reflect.TypeFor[ErrorInfo]()},
	} {
		var members []string
		for _, row := range p.tables(c.first)[c.section] {
			for name := range strings.SplitSeq(row[0], ", ") {
				members = append(members, strings.Trim(name, "`"))
			}
		}
		if want := membersOf(c.typ); !slices.Equal(members, want) {
			t.Errorf("%s: %v\nwant %v", c.section, members, want)
		}
	}
}

func membersOf(typ reflect.Type) (names []string) {
	for field := range typ.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}
