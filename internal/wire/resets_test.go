package wire

import (
	"testing"
	"time"
)

func TestResetsAreBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	c := &resets{}
	for i := range resetsAtOnce {
		if c.tooMany(now) {
			t.Fatalf("the connection ends after %d", i+1)
		}
	}
	if !c.tooMany(now) {
		t.Error("one more is taken")
	}
	browser := &resets{}
	for range 10 * resetsAtOnce { // as fast as it may, for long
		now = now.Add(resetsInterval)
		if browser.tooMany(now) {
			t.Fatal("a connection ends that cancels no more than it may")
		}
	}
}
