package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/jewgo/gateway/internal/exchange"
)

// maxIdentityTTL bounds how long a stolen identity header is useful.
const maxIdentityTTL = time.Minute

// Identity makes the signed header that tells upstreams who is calling.
type Identity struct {
	keys *Keyring
	now  func() time.Time
}

// NewIdentity returns an Identity that signs with the first of keys. A nil now means time.Now.
func NewIdentity(keys *Keyring, now func() time.Time) *Identity {
	if now == nil {
		now = time.Now
	}
	return &Identity{keys, now}
}

// payload is what an upstream learns. It is valid for one method and until exp, Unix seconds.
type payload struct {
	Method  string   `json:"m"`
	User    string   `json:"u"` // "" for a guest
	Roles   []string `json:"r"`
	Session string   `json:"s"` // a hash of the session's ID
	Expires int64    `json:"exp"`
}

// Header returns the header's name, from the policy, and its value:
//
//	v1.<key ID>.<payload>.<HMAC-SHA256 over everything before the last dot>
//
// payload and HMAC are base64url without padding. The value is "" without a session, and if the
// response may be shared with others (Plan.Shared).
func (i *Identity) Header(ex *exchange.Exchange) (name, value string) {
	cfg := &ex.Snapshot.Policy.Session.Identity
	if ex.Principal.Anonymous() || ex.Plan != nil && ex.Plan.Shared {
		return cfg.Header, ""
	}
	p := payload{
		Method: ex.View.Method, User: ex.Principal.User, Roles: ex.Principal.Roles,
		Session: ex.Principal.SessionID,
		Expires: i.now().Add(min(cfg.TTL.Std(), maxIdentityTTL)).Unix(),
	}
	if p.Roles == nil {
		p.Roles = []string{}
	}
	text, err := json.Marshal(p)
	if err != nil { // strings and a number always marshal
		panic("session: " + err.Error())
	}
	k := &i.keys.keys[0]
	signed := "v1." + k.id + "." + base64.RawURLEncoding.EncodeToString(text)
	mac := hmac.New(sha256.New, k.secret[:])
	_, _ = mac.Write([]byte(signed)) // a hash never fails
	return cfg.Header, signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
