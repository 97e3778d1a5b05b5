package field

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

// ServeProxy forwards by httputil.ReverseProxy, tuned as one would for production. With a Redis every
// request takes one token of redis_rate first.
func ServeProxy(ctx context.Context, stdout io.Writer, o Options) error {
	to, err := url.Parse(o.To)
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 256
	forward := &httputil.ReverseProxy{
		Transport:  transport,
		BufferPool: &buffers{sync.Pool{New: func() any { return new([32 << 10]byte) }}},
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(to); r.SetXForwarded() },
	}
	if o.Redis == "" {
		return serve(ctx, stdout, o, forward, nil)
	}
	db := redis.NewClient(&redis.Options{Addr: o.Redis})
	defer func() { _ = db.Close() }() // everything was answered
	limiter := redis_rate.NewLimiter(db)
	return serve(ctx, stdout, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr) // always has both
		res, err := limiter.AllowN(r.Context(), "bench:"+host, redis_rate.PerSecond(100000), 1)
		if err != nil || res.Allowed == 0 {
			http.Error(w, "limited", http.StatusTooManyRequests)
			return
		}
		forward.ServeHTTP(w, r)
	}), nil)
}

// buffers is a httputil.BufferPool. It holds pointers to arrays, since a slice in an interface is an
// allocation.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte  { return b.pool.Get().(*[32 << 10]byte)[:] }
func (b *buffers) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }
