package workers

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		a := newAlarms()
		set := func(kind alarmKind, after time.Duration) {
			a.set(alarm{at: time.Now().Add(after), kind: kind, incarnation: 1})
		}
		set(alarmReady, time.Hour)
		set(alarmTerm, 3*time.Second)
		set(alarmKill, time.Second)
		set(alarmClosed, 2*time.Second)
		set(alarmKill, 4*time.Second) // in place of the first
		a.clear(alarmClosed)
		if !a.has(alarmTerm) || a.has(alarmClosed) {
			t.Error("the wrong alarms are set")
		}
		for _, want := range []struct {
			kind alarmKind
			at   time.Duration
		}{{alarmTerm, 3 * time.Second}, {alarmKill, 4 * time.Second}, {alarmReady, time.Hour}} {
			<-a.timer.C
			got, ok := a.due(time.Now())
			if !ok || got.kind != want.kind || time.Since(begin) != want.at {
				t.Errorf("alarm %d after %s, want %d after %s", got.kind, time.Since(begin), want.kind, want.at)
			}
			if _, again := a.due(time.Now()); again {
				t.Error("a second alarm is due")
			}
		}
		set(alarmReady, time.Second)
		a.clearAll()
		select {
		case <-a.timer.C:
			t.Error("a cleared alarm rang")
		case <-time.After(time.Hour):
		}
	})
}
