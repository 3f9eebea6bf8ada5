package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"
)

// printJSON prints a value: indented for people on a terminal, in one line for all others.
func (c *cli) printJSON(raw json.RawMessage) error {
	var b bytes.Buffer
	format := json.Compact
	if c.onTerminal() {
		format = func(b *bytes.Buffer, raw []byte) error { return json.Indent(b, raw, "", "  ") }
	}
	if err := format(&b, raw); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := c.stdout.Write(b.Bytes())
	return err
}

// printValue is printJSON for a Go value.
func (c *cli) printValue(v any) error {
	raw, err := encodeJSON(v)
	if err != nil {
		return err
	}
	return c.printJSON(raw)
}

// encodeJSON is json.Marshal that keeps <, > and &.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil // with the newline that Encode writes
}

func (c *cli) onTerminal() bool { return isTerminal(c.stdout) }

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// printTable prints rows of cells below a header, which is left out where empty.
func (c *cli) printTable(header []string, rows [][]string) error {
	var table, trimmed bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	if len(header) > 0 {
		rows = append([][]string{header}, rows...)
	}
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			// A tab would begin another cell.
			cells[i] = strings.ReplaceAll(printable(cell), "\t", " ")
		}
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) // its error comes again with Flush
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range bytes.Lines(table.Bytes()) {
		// An empty last cell leaves the padding of the one before it.
		trimmed.Write(append(bytes.TrimRight(line, " \n"), '\n'))
	}
	_, err := c.stdout.Write(trimmed.Bytes())
	return err
}

// counted is "1 pool" or "3 pools".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
