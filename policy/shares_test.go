package policy_test

import (
	"testing"

	"github.com/jewgo/gateway/policy"
)

func TestLogOffForOddStatuses(t *testing.T) {
	if (&policy.Shares{}).Logs(700, 0) {
		t.Error("access: off logs a status of 700")
	}
}
