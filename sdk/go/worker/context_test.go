package worker_test

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"supervisord/sdk/go/worker"
)

// lateReset is a pipe whose deadline is cleared a moment later than asked, as a busy machine may have it.
type lateReset struct{ *os.File }

func (l lateReset) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		time.Sleep(50 * time.Millisecond)
	}
	return l.File.SetReadDeadline(t) //nolint:wrapcheck // a stand-in for the file
}

// A context that has ended before ServeConn waits for its first frame ends it all the same.
func TestContextEndsDuringTheStart(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan error, 1)
	go func() { done <- worker.New().ServeConn(ctx, lateReset{r}, io.Discard) }()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("ServeConn goes on although its context has ended")
	}
}
