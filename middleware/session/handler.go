package session

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/jewgo/gateway/internal/bounded"
	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/problem"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/policy"
)

// touchInterval is how far the idle deadline must move to be worth a new cookie and a write. For
// sessions with a short idle time, a quarter of that time is enough.
const touchInterval = time.Minute

// Config configures a Manager.
type Config struct {
	Keys  *Keyring // seals cookies; required
	Store Store    // required
	Now   func() time.Time

	// Ended is called after the session of a request's Principal was revoked or, with everywhere,
	// all sessions of its user. It bounds the time itself; an error is noted. nil: not called.
	Ended func(ctx context.Context, ex *exchange.Exchange, everywhere bool) error

	// Forgotten returns a time: for sessions issued up to then, revocations may have been dropped.
	// They are not renewed, so that a copy of a revoked one expires at its idle deadline.
	// nil: no revocation is ever dropped.
	Forgotten func() time.Time

	// As is the session of every request, whatever its cookies say; nil: they say.
	As *Listed

	// Log gets warnings of signals that are not obeyed. nil: discarded.
	Log *slog.Logger
}

// Manager opens sessions for requests and changes them as upstreams say. Cookie, deadlines and
// routes come from the request's policy.
type Manager struct {
	sealer    Sealer
	store     Store
	now       func() time.Time
	ended     func(ctx context.Context, ex *exchange.Exchange, everywhere bool) error
	forgotten func() time.Time
	as        *Listed
	log       *slog.Logger
	warned    bounded.Map[string, time.Time] // time of the last warning, by route
}

// New returns a Manager.
func New(cfg Config) *Manager {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Ended == nil {
		cfg.Ended = func(context.Context, *exchange.Exchange, bool) error { return nil }
	}
	if cfg.Forgotten == nil {
		cfg.Forgotten = func() time.Time { return time.Time{} }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Manager{
		warned: bounded.Map[string, time.Time]{Limit: maxWarned},
		sealer: NewSealer(cfg.Keys), store: cfg.Store, now: cfg.Now, ended: cfg.Ended, forgotten: cfg.Forgotten, as: cfg.As, log: cfg.Log,
	}
}

// Handler sets the Exchange's Principal for next. It answers 401 if the route requires a session
// and there is none, and 403 if a page of another site uses the session. It strips the upstream's
// signal, and the cookies that stay in the session, from every response; Transport, below it, acts
// on them.
func (m *Manager) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := exchange.From(r.Context())
		if !used(ex.Route) && len(ex.Snapshot.Policy.Session.Offload) == 0 {
			s := &signalStripper{m: m, ex: ex}
			w = middleware.OnHeader(w, s)
			next.ServeHTTP(w, r)
			stripTrailer(w.Header(), s.out)
			if !s.out { // nothing was written: an empty 200 is about to go out
				s.OnHeader(http.StatusOK, w.Header())
			}
			return
		}
		v := &visit{m: m, ctx: r.Context(), ex: ex, policy: &ex.Snapshot.Policy.Session}
		if used(ex.Route) {
			if err := crossOrigin(r, ex.Snapshot.Policy); err != nil {
				ex.Refuse(w, err.Error(), problem.Problem{Status: http.StatusForbidden, Detail: "a page of another origin may not use the session"})
				return
			}
			v.open(r)
		}
		if ex.Route.Session == policy.SessionRequired && !v.live {
			// The field is required (RFC 9110, 15.5.2), and no registered scheme describes a login
			// by cookie. Browsers do not ask for a password for this one.
			w.Header().Set("WWW-Authenticate", `Cookie realm="gateway", cookie-name="`+ex.Snapshot.Policy.Session.Cookie.Name+`"`)
			ex.Refuse(w, cmp.Or(ex.Facts.Reason, "no session"), problem.Problem{Status: http.StatusUnauthorized, Detail: "a session is required"})
			return
		}
		v.bring(r.Header)
		w = middleware.OnHeader(w, v)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
		stripTrailer(w.Header(), v.finished)
		if !v.finished { // as above
			v.OnHeader(http.StatusOK, w.Header())
		}
		v.settle()
	})
}

type visitKey struct{}

// Transport acts on upstreams' signals and cookies before the response goes to the client. It wraps
// everything that may answer in an upstream's place, such as the cache.
func (m *Manager) Transport(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if v, ok := r.Context().Value(visitKey{}).(*visit); ok && err == nil {
			v.hearAll(resp.Header)
		}
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// visit is the state of one request's session.
type visit struct {
	m      *Manager
	ctx    context.Context
	ex     *exchange.Exchange
	policy *policy.Session

	live     bool         // the request has a session, in seal and record
	known    bool         // record is what the Store has, so it may be written back
	seal     Seal         // as it was opened or begun
	record   Record       // of the latest generation that the request has seen
	brought  []string     // offloaded names among the browser's cookies
	cookie   *http.Cookie // to set; nil: none
	begun    bool         // the session began with this response
	ended    bool         // the request's session ended while its response was made
	late     bool         // the request brought a guest's session that had already ended
	heard    bool         // an upstream answered, and hearAll has seen its header
	untold   time.Time    // idle deadline not yet in the record; zero: none
	finished bool         // the response's header is out
}

// used reports whether a route uses sessions.
func used(r *policy.Route) bool { return r.Session != policy.SessionOff || r.SessionSignal }

// maxSeals bounds the sessions of one request that are looked up in the Store.
const maxSeals = 8

// open finds the request's session, if it has one. A browser may send one cookie for each domain
// and path; the first valid one counts.
func (v *visit) open(r *http.Request) {
	v.ex.Facts.Session = "none"
	var refused error
	if v.m.as != nil {
		if err := v.enterAs(*v.m.as); err != nil {
			v.refuse(err)
		}
		return
	}
	name, asked := v.policy.Cookie.Name, 0
	for value := range policy.CookieValues(r.Header, name) {
		seal, err := v.m.sealer.Open(name, v.ex.View.Host, value, v.m.now())
		if err == nil && asked < maxSeals {
			asked++
			if err = v.enter(seal, seal.Ref()); err == nil {
				return
			}
			v.late = v.late || seal.User == "" && errors.Is(err, ErrRevoked)
		}
		if refused == nil {
			refused = err
		}
	}
	if refused != nil {
		v.refuse(refused)
	}
}

// enter makes a session the request's own, unless it was revoked. ref is the seal's.
func (v *visit) enter(seal Seal, ref Ref) error {
	record, err := v.m.store.Load(v.ctx, ref)
	switch {
	case err == nil:
	case errors.Is(err, ErrRevoked):
		return err
	default: // no revocation is known: the seal is enough
		record = Record{}
		if !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrUnknown) {
			v.note(err)
		}
	}
	v.known = err == nil || errors.Is(err, ErrUnknown)
	v.live, v.seal = true, seal
	v.seal.Apart = seal.Apart && !v.known
	v.adopt(record)
	v.ex.Facts.Session = "valid"
	v.ex.Principal = exchange.Principal{SessionID: ref.Key[:shortKeyLen], User: seal.User, Roles: seal.Roles}
	return nil
}

// shortKeyLen is how much of its key names a session in logs, in keys of limits and private cache
// entries, and to upstreams: 128 bits.
const shortKeyLen = 32

// refuse rejects the session cookie. The client does not see why: the request just has no session.
func (v *visit) refuse(err error) {
	v.live = false
	switch {
	case errors.Is(err, ErrRevoked):
		v.ex.Facts.Session = "revoked"
	case errors.Is(err, ErrExpired):
		v.ex.Facts.Session = "expired"
	default:
		v.ex.Facts.Session = "invalid"
	}
	v.note(err)
}

// adopt takes the Store's record of the session, or a zero one. The later of its cookies and those
// of the seal count: the store may have been unavailable when the seal was made, or be restored from
// an old copy. Generations do not tell, since gateways that are cut off from each other count their
// own. Cookies of the seal that were deleted since do not count.
func (v *visit) adopt(record Record) {
	if v.seal.Jar.Changed.After(record.Jar.Changed) && !v.seal.Apart && !v.voided(v.seal.Jar) {
		record.Jar = v.seal.Jar
	}
	if record.Generation == 0 {
		record.Claims = v.seal.Claims
	}
	record.Generation = max(record.Generation, v.seal.Generation)
	v.record = record
}

// due returns the new idle deadline, and whether moving it is worth a write.
func (v *visit) due() (idle time.Time, worth bool) {
	idle = v.idle(v.m.now(), v.seal.Absolute)
	worth = idle.Sub(v.seal.Idle) >= min(touchInterval, v.policy.Idle.Std()/4)
	return idle, worth && v.seal.Issued.After(v.m.forgotten())
}

// again reloads the session before the response changes it: other requests may have changed or
// ended it meanwhile, and the browser may have another session's cookie by now.
func (v *visit) again() {
	record, err := v.m.store.Load(v.ctx, v.seal.Ref())
	now, idle := v.m.now(), v.seal.Idle
	if err == nil && record.Idle.After(idle) {
		idle = record.Idle
	}
	switch {
	case errors.Is(err, ErrRevoked):
		v.disown(err)
	case !now.Before(idle) || !now.Before(v.seal.Absolute):
		v.disown(ErrExpired)
	case err == nil:
		v.known, v.seal.Apart = true, false
		v.adopt(record)
	}
}

// touch moves the idle deadline in the cookie; settle moves it in the record.
func (v *visit) touch() {
	idle, due := v.due()
	if !due || !v.live || v.begun {
		return
	}
	v.seal.Idle, v.untold = idle, idle
	if _, err := v.setCookie(); err != nil {
		v.note(err)
	}
}

// settle moves the idle deadline in the record too.
func (v *visit) settle() {
	if v.untold.IsZero() || !v.known || !v.live {
		return
	}
	idle := v.untold
	v.untold, v.ctx = time.Time{}, context.WithoutCancel(v.ctx)
	err := v.save(func(r *Record) {
		if idle.After(r.Idle) {
			r.Idle = idle
		}
	})
	switch {
	case err == nil:
	case errors.Is(err, ErrRevoked):
		v.disown(err)
	case !errors.Is(err, ErrStale): // stale: parallel requests were faster
		v.note(err)
	}
}

// disown is refuse for a session that ended while its response was being made.
func (v *visit) disown(err error) {
	v.refuse(err)
	v.ended, v.cookie = true, nil
}

// overtaken reports whether the browser has, or is about to get, another session's cookie: the
// request's session ended, so only a login may set a cookie now. A guest's session only ends in its
// own browser, by a login or logout. A user's may have ended elsewhere, and a request may have come
// without a session: these may begin a new one.
func (v *visit) overtaken() bool { return !v.live && (v.ended || v.late) }

func (v *visit) idle(now, absolute time.Time) time.Time {
	idle := now.Add(v.policy.Idle.Std()).Truncate(time.Millisecond)
	if absolute.Before(idle) {
		return absolute
	}
	return idle
}

// setCookie puts the seal into the response, with the jar if it fits. Otherwise the jar stays apart,
// in the record.
func (v *visit) setCookie() (apart bool, err error) {
	name, host := v.policy.Cookie.Name, v.ex.View.Host
	seal := v.seal
	seal.Generation, seal.Jar = v.record.Generation, v.record.Jar
	value, err := v.m.sealer.Seal(name, host, seal)
	if errors.Is(err, ErrTooLarge) && len(seal.Jar.Cookies) > 0 {
		v.note(errors.New("the session's cookies do not fit into the seal and are kept only in the record"))
		seal.Jar, seal.Apart = Jar{}, true
		value, err = v.m.sealer.Seal(name, host, seal)
	}
	if err == nil {
		v.cookie = newCookie(v.policy.Cookie, value, seal.Idle.Sub(v.m.now()))
	}
	return seal.Apart, err
}

func (v *visit) clearCookie() { v.cookie = newCookie(v.policy.Cookie, "", 0) }

// hearAll acts on an upstream's signal and cookies, and removes them from its header.
func (v *visit) hearAll(h http.Header) {
	v.heard = true
	// A client that disconnects must not stop a logout half-way. The Store has its own time bounds.
	v.ctx = context.WithoutCancel(v.ctx)
	dropOwn(v.ex, h)
	signal, cookies := h[SignalHeader], takeCookies(h, v.policy.Offload)
	delete(h, SignalHeader)
	if _, due := v.due(); v.live && (due || len(signal)+len(cookies) > 0) {
		v.again()
	}
	if len(signal) > 0 {
		v.hear(signal)
	}
	v.keepCookies(h, cookies)
	v.touch()
	v.settle() // before the cookie is sent: the session may have ended meanwhile
}

// finish adds the cookie to the response's header.
func (v *visit) finish(h http.Header) {
	v.finished = true
	if !v.heard {
		v.touch()
	}
	if v.cookie != nil {
		h.Add("Set-Cookie", v.cookie.String())
	}
	if v.cookie != nil || !v.ex.Principal.Anonymous() && ofOneSession(v.ex.Route) {
		makePrivate(h)
	}
}

// ofOneSession reports whether responses on the route belong to one session.
func ofOneSession(r *policy.Route) bool {
	if r.Session == policy.SessionRequired {
		return true
	}
	return r.Cache != nil && r.Cache.OfSession()
}

// note adds an unusual event to the request's log line.
func (v *visit) note(err error) {
	v.ex.Facts.Note(err.Error())
}
