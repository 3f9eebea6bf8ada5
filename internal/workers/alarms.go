package workers

import (
	"slices"
	"time"
)

// alarmKind says what is due.
type alarmKind uint8

const (
	alarmRestart alarmKind = iota + 1 // the next start
	alarmReady                        // ready should have come
	alarmClosed                       // the process should have ended after its pipe did
	alarmTerm                         // it should have ended after stop
	alarmKill                         // it should have ended after SIGTERM
	alarmCancel                       // jobs should have ended after their cancel
	alarmDrain                        // the jobs beside an unresponsive one should have ended
	alarmAsk                          // a command should have been answered
	alarmAge                          // the process is old
	alarmLook                         // its memory may be looked at again
	alarmDue                          // its replacement, which has failed, may be tried again
	alarmFrame                        // a frame should have ended
)

// alarm is something that happens at a time unless it is cleared before. It belongs to one incarnation.
type alarm struct {
	at          time.Time
	kind        alarmKind
	incarnation uint64
}

// alarms are the timers of one worker: few, so a list on a single time.Timer does. They belong to the worker's owner.
type alarms struct {
	list  []alarm
	timer *time.Timer
}

func newAlarms() alarms {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return alarms{timer: t}
}

// set sets an alarm, in place of one of the same kind.
func (a *alarms) set(x alarm) {
	a.drop(func(y alarm) bool { return y.kind == x.kind })
	a.list = append(a.list, x)
	a.arm()
}

func (a *alarms) has(kind alarmKind) bool {
	return slices.ContainsFunc(a.list, func(x alarm) bool { return x.kind == kind })
}

func (a *alarms) clear(kind alarmKind) { a.drop(func(x alarm) bool { return x.kind == kind }) }

func (a *alarms) clearAll() { a.drop(func(alarm) bool { return true }) }

func (a *alarms) drop(which func(alarm) bool) {
	a.list = slices.DeleteFunc(a.list, which)
	a.arm()
}

// due takes the next alarm whose time has come. Its caller asks until there is none.
func (a *alarms) due(now time.Time) (alarm, bool) {
	for i, x := range a.list {
		if !x.at.After(now) {
			a.list = slices.Delete(a.list, i, i+1)
			a.arm()
			return x, true
		}
	}
	a.arm()
	return alarm{}, false
}

// arm sets the timer to the earliest alarm.
func (a *alarms) arm() {
	if len(a.list) == 0 {
		a.timer.Stop()
		return
	}
	first := slices.MinFunc(a.list, func(x, y alarm) int { return x.at.Compare(y.at) })
	a.timer.Reset(time.Until(first.at))
}
