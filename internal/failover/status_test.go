package failover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestStatusCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		<-r.Probed()
		time.Sleep(9 * time.Second)
		for _, c := range []behaviour{{}, {err: errNotFound}, {err: errType}, {delay: time.Hour}, {delay: time.Hour}, {err: errRefused}} {
			r.store.now(c)
			_, _ = do(t.Context(), r.Switch, r.store.Call, local)
		}
		r.store.now(behaviour{})
		time.Sleep(time.Second)
		r.mustBe(t, Up)
		_, _ = do(t.Context(), r.Switch, func(context.Context) (string, error) {
			r.report(r.load(), Fault, errRefused)
			return "late", nil
		}, local)
		r.store.now(behaviour{probe: errRefused})
		time.Sleep(650 * time.Millisecond) // after the hold of a second trip and one probe
		synctest.Wait()

		st := r.Status()
		want := Counts{Trips: 2, Rejoins: 2, Rejections: 1, Timeouts: 2, Faults: 1, Late: 1}
		if st.Counts.ProbeErrors == 0 || st.Counts.ProbeErrors > 2 {
			t.Errorf("%d errors of probes", st.Counts.ProbeErrors)
		}
		if st.Counts.ProbeErrors = 0; st.Counts != want {
			t.Errorf("%+v, want %+v", st.Counts, want)
		}
		var sum time.Duration
		for _, d := range st.TimeIn {
			sum += d
		}
		if whole := 9*time.Second + 100*time.Millisecond + time.Second + 650*time.Millisecond; sum != whole || st.TimeIn[Up] < 9*time.Second {
			t.Errorf("time in the states: %v, sum %v, want %v", st.TimeIn, sum, whole)
		}
	})
}

func TestHistoryIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for range 40 {
			time.Sleep(700 * time.Millisecond)
			r.report(r.load(), Fault, errRefused)
		}
		time.Sleep(time.Second)
		st := r.Status()
		if len(st.History) != historySize {
			t.Fatalf("%d changes kept", len(st.History))
		}
		for i, c := range st.History {
			if want := st.Generation - historySize + 1 + uint64(i); c.Generation != want || c.At.IsZero() {
				t.Errorf("change %d: %+v, want generation %d", i, c, want)
			}
		}
		st.History[0].Generation = 0
		if r.Status().History[0].Generation == 0 {
			t.Error("a status shares its history with the switch")
		}
	}, func(r *rig) { r.cfg.StableAfter = time.Millisecond })
}

func TestStatusInJSON(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	st := Status{
		State: Up, Generation: 5, Since: at, Reason: errEmpty, Epoch: Epoch{"a", 7, "s"},
		Counts: Counts{Trips: 1, Late: 2}, TimeIn: Times{1500 * time.Millisecond, 0, time.Minute},
		History:  []Change{{At: at, From: Up, To: Down, Generation: 3, Reason: errRefused}, {At: at, From: Down, To: Rejoining, Generation: 4}},
		Backlogs: []Waiting{{"sessions", 3}},
	}
	got, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"state":"up","generation":5,"since":"2026-01-02T03:04:05Z","epoch":{"incarnation":"a","counter":7,"server":"s"},` +
		`"counts":{"trips":1,"rejoins":0,"failed_rejoins":0,"losses":0,"probe_errors":0,"rejections":0,"timeouts":0,"faults":0,"late":2,"crowded":0},` +
		`"seconds_in":{"down":1.5,"rejoining":0,"up":60},` +
		`"history":[{"at":"2026-01-02T03:04:05Z","from":"up","to":"down","generation":3,"reason":"connection refused"},` +
		`{"at":"2026-01-02T03:04:05Z","from":"down","to":"rejoining","generation":4}],"backlogs":[{"name":"sessions","items":3}],` +
		`"reason":"the store has lost data: it came back empty"}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	fresh, err := json.Marshal(New(Config{Probe: (&epochs{}).Probe, Classify: classify}).Status().History)
	if err != nil || string(fresh) != "[]" {
		t.Errorf("no history: %s, %v", fresh, err)
	}
}

func ExampleSwitch_Status() {
	s := New(Config{
		Probe:    func(context.Context) (Epoch, error) { return Epoch{}, errors.New("connection refused") },
		Classify: classify,
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	<-s.Probed()
	st := s.Status()
	fmt.Println(st.State, st.Reason, st.Counts.ProbeErrors)
	stop()
	<-ended
	// Output: down connection refused 1
}
