package outq_test

import (
	"testing"

	"supervisord/internal/outq"
)

func BenchmarkAppendFlush(b *testing.B) {
	for _, tr := range transports[:2] {
		for _, batch := range []int{1, 16} {
			b.Run(tr.name+map[int]string{1: "/each", 16: "/16 at once"}[batch], func(b *testing.B) {
				w, r := tr.open(b)
				q := outq.New(w, outq.Options{Keep: 4 << 20})
				done := make(chan struct{})
				go func() {
					defer close(done)
					for p := make([]byte, 256<<10); ; {
						if _, err := r.Read(p); err != nil {
							return
						}
					}
				}()
				message := pattern(100)
				b.SetBytes(int64(len(message)))
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					q.Append(message)
					if n++; n%batch == 0 {
						q.Flush()
						if err := q.WaitBelow(256 << 10); err != nil {
							b.Fatal(err)
						}
					}
				}
				q.Flush()
				if err := q.WaitBelow(0); err != nil {
					b.Fatal(err)
				}
				q.End()
				w.Close()
				q.Wait()
				<-done
			})
		}
	}
}
