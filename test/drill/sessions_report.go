package drill

import (
	"io"
	"strings"
)

// SessionsReport is the result of a drill of the sessions.
type SessionsReport struct {
	Seed   uint64        `json:"seed"`
	Passed bool          `json:"passed"`
	Rows   []SessionsRow `json:"rows"`
}

// SessionsRow is the result of one world: of gateways that share a Redis.
type SessionsRow struct {
	Gateways int  `json:"gateways"`
	Peers    bool `json:"peers"` // they tell each other of logouts; false: they hear of them through Redis alone
	Users    int  `json:"users"`
	Requests int  `json:"requests"` // answered, replays among them
	Logins   int  `json:"logins"`
	Logouts  int  `json:"logouts"`  // answered; some of them of all sessions of a user
	Replays  int  `json:"replays"`  // requests with a copied cookie of an ended session
	Outages  int  `json:"outages"`  // faults of Redis that were played
	Overlaps int  `json:"overlaps"` // outages in which a gateway restarted

	Denied    int `json:"denied"`    // requests of live sessions that got 401
	Revived   int `json:"revived"`   // ended sessions that a gateway accepted which had handled or heard of the logout
	Lost      int `json:"lost"`      // writes that were answered, and are gone
	Strangers int `json:"strangers"` // requests for which the application got another user's session
	Failed    int `json:"failed"`    // answered with 5xx, or not at all though the gateway ran

	// Unheard counts replays that a gateway accepted because it had not heard of the logout yet. It is no failure.
	Unheard  int      `json:"unheard"`
	Problems []string `json:"problems"` // empty: it passes
}

// OK implements Result.
func (r SessionsReport) OK() bool { return r.Passed }

// Table implements Result. Remarks are the problems.
func (r SessionsReport) Table(w io.Writer) error {
	var t table
	t.row("gateways\theard by\tusers\trequests\tlogins\tlogouts\treplays\toutages\toverlaps\tdenied\trevived\tlost writes\t5xx\tunheard\tverdict")
	outages, overlaps := 0, 0
	for _, r := range r.Rows {
		by := "redis"
		if r.Peers {
			by = "peers"
		}
		t.row("%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s", r.Gateways, by, r.Users, r.Requests, r.Logins, r.Logouts, r.Replays,
			r.Outages, r.Overlaps, r.Denied, r.Revived, r.Lost, r.Failed, r.Unheard, verdict(r.Problems))
		outages, overlaps = outages+r.Outages, overlaps+r.Overlaps
		if len(r.Problems) > 0 {
			t.remark("%d gateways, by %s: %s", r.Gateways, by, strings.Join(r.Problems, "; "))
		}
	}
	t.remark("%d outages of Redis, a gateway restarted inside %d of them", outages, overlaps)
	return t.write(w)
}
