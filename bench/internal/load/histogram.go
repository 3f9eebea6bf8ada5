package load

import (
	"math/bits"
	"time"
)

// stepBits sets how fine a histogram is: 2^stepBits steps to each power of two, so a value is off by 1.6 % at most.
const stepBits = 6

// histogram counts durations of at least a nanosecond. The zero value is empty.
type histogram struct {
	counts [(64 - stepBits) << stepBits]uint64
	total  uint64
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 1)))]++
	h.total++
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

// quantile returns the duration that a share q of all stays within, 0 when there are none.
func (h *histogram) quantile(q float64) time.Duration {
	want := uint64(q * float64(h.total))
	var seen uint64
	for i, n := range h.counts {
		seen += n
		if n > 0 && seen > want || seen == h.total && n > 0 {
			return time.Duration(lowest(i))
		}
	}
	return 0
}

func bucket(v uint64) int {
	shift := max(bits.Len64(v)-1-stepBits, 0)
	return shift<<stepBits + int(v>>shift)
}

// lowest is the smallest value that bucket maps to i.
func lowest(i int) uint64 {
	if i < 2<<stepBits {
		return uint64(i)
	}
	shift := i>>stepBits - 1
	return uint64(i-shift<<stepBits) << shift
}
