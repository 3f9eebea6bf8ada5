package dispatch

import (
	"cmp"
	"slices"
	"strings"
)

// maxNearest is how many names an error suggests.
const maxNearest = 5

// nearest returns those of names that name was probably meant to be, best first: those it can be made into with few
// changes, and those that it is a part of. With none near, all of a few names are better help than nothing.
func nearest(name string, names []string) []string {
	name = short(name)
	type candidate struct {
		name     string
		distance int
	}
	var near []candidate
	folded := strings.ToLower(name)
	for _, n := range names {
		other := strings.ToLower(n)
		d := distance(folded, other)
		if d > max(1, len(name)/2) && !strings.Contains(other, folded) {
			continue
		}
		near = append(near, candidate{n, d})
	}
	if len(near) == 0 {
		if len(names) > maxNearest {
			return nil
		}
		return slices.Sorted(slices.Values(names))
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	best := make([]string, 0, maxNearest)
	for _, c := range near[:min(len(near), maxNearest)] {
		best = append(best, c.name)
	}
	return best
}

// short is the beginning of a name that a caller has sent, which may be as long as a message.
func short(name string) string {
	const longest = 64
	return name[:min(len(name), longest)]
}

// distance is the number of bytes to insert, delete or replace that make a into b (Levenshtein); of long names only the
// beginnings count.
func distance(a, b string) int {
	a, b = short(a), short(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
