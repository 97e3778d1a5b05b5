package policy

import (
	"reflect"
	"time"
)

// applyDefaults fills a struct of the surface, and those within it, with their
// defaults. It runs before a struct is decoded: what the file says comes on top.
func applyDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct || !v.CanAddr() || !v.Addr().CanInterface() {
		return
	}
	if d, ok := reflect.TypeAssert[interface{ setDefaults() }](v.Addr()); ok {
		d.setDefaults()
	}
	for i := range v.NumField() {
		applyDefaults(v.Field(i))
	}
}

func (s *Server) setDefaults() {
	s.Listen, s.Admin = ":8080", "127.0.0.1:9901"
	s.DataDir, s.SocketMode = "./data", 0o660
	s.MaxHeader, s.MaxBody, s.MinUploadRate = 32<<10, 10<<20, 1000
}

func (t *Timeouts) setDefaults() {
	t.ReadHeader, t.Progress = Duration(3*time.Second), Duration(30*time.Second)
	t.UploadGrace = Duration(30 * time.Second)
	t.Idle, t.Drain = Duration(75*time.Second), Duration(20*time.Second)
}

func (l *Log) setDefaults() { l.Access, l.Format = "on", "json" }

func (r *Redis) setDefaults() { r.Budget = Duration(50 * time.Millisecond) }

func (u *Upstream) setDefaults() {
	u.Balance, u.Timeout, u.Idle = "p2c", Duration(30*time.Second), Duration(60*time.Second)
}

func (r *Retries) setDefaults() { r.Attempts, r.Budget = 2, 0.2 }

func (h *Health) setDefaults() {
	h.Interval, h.Timeout, h.UnhealthyAfter = Duration(5*time.Second), Duration(time.Second), 3
}

func (r *RateLimit) setDefaults() { r.Keys = 262_144 }

func (h *RateLimitHeaders) setDefaults() { h.IETF, h.Legacy = "draft-10", true }

func (l *LimitDef) setDefaults() {
	l.Key, l.When, l.IPv6Prefix = StringList{"client_ip"}, "always", 64
}

func (s *Session) setDefaults() {
	s.Idle, s.Absolute = Duration(30*time.Minute), Duration(720*time.Hour)
}

func (c *Cookie) setDefaults() { c.Name, c.SameSite, c.Secure = "__Host-gw", "lax", true }

func (i *Identity) setDefaults() { i.Header, i.TTL = "X-Gw-Identity", Duration(60*time.Second) }

func (c *Cache) setDefaults() { c.Memory, c.MaxObject, c.Keep = 256<<20, 8<<20, Duration(time.Hour) }

func (c *CORS) setDefaults() {
	c.Methods = StringList{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
	c.MaxAge = Duration(10 * time.Minute)
}

func (r *RouteDef) setDefaults() { r.Session = "off" }

func (c *CacheDef) setDefaults() { c.Mode, c.Encode = "managed", true }

func (q *QueryDef) setDefaults() { q.Sort = true }
