package main

import (
	"cmp"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/certs"
	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/problem"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/policy"
)

// redirectPort is the port of HTTPS as clients see it: the policy's, or that of the listener.
func redirectPort(t *policy.TLS, https *net.TCPAddr) int {
	if t.RedirectPort == 0 && https != nil {
		return https.Port
	}
	return cmp.Or(t.RedirectPort, 443)
}

// toHTTPS redirects clients of plain HTTP to the same URL by HTTPS, at a port. Hosts that are not served, and
// malformed requests, are refused as by HTTPS.
func (g *gateway) toHTTPS(to int) http.Handler {
	port := ""
	if to != 443 {
		port = ":" + strconv.Itoa(to)
	}
	redirect := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := exchange.From(r.Context())
		host := ex.View.Host
		if host == "" { // HTTP/1.0
			ex.Refuse(w, "no host to redirect to", problem.Problem{Status: http.StatusBadRequest, Detail: "the request names no host"})
			return
		}
		ex.Facts.Reason = "redirected to HTTPS"
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		w.Header().Set("Location", "https://"+host+port+r.URL.RequestURI())
		w.WriteHeader(http.StatusPermanentRedirect)
	})
	return middleware.Chain(redirect, g.observer.Handler, g.certs.Plain, middleware.Hygiene(g.hop))
}

// certificatesPurpose is what the keys are derived for that seal certificates in Redis.
const certificatesPurpose = "gateway certificates"

func (g *gateway) openCertificates(p *policy.Policy, keys *secrets) (*certs.Keeper, error) {
	cfg := certs.Config{Now: time.Now, Every: time.Second, Log: g.log}
	if p.Server.TLS != nil && p.Server.TLS.ACME != nil {
		derived, err := keys.session.Derive(certificatesPurpose)
		if err != nil {
			return nil, err
		}
		cfg.ACME = &certs.ACMEConfig{Policy: p.Server.TLS.ACME, Dir: filepath.Join(p.Server.DataDir, "certificates"), Keys: derived}
		if r := g.stores.redis; r != nil {
			cfg.ACME.Shared, cfg.ACME.Health = redis.NewCertificates(r.client), r.health
		}
	}
	return certs.New(cfg)
}

// certificateConditions is the state of the certificates, for /readyz.
func (g *gateway) certificateConditions() (all []admin.Condition) {
	for _, c := range g.certs.Certificates() {
		condition := admin.Condition{Name: "certificate", Detail: c.String()}
		if c.Ending || c.Missing || c.Problem != "" {
			condition.Level = admin.Degraded // it is served, whatever clients think of it
		}
		all = append(all, condition)
	}
	return all
}

// certificates is the same for the metrics.
func (g *gateway) certificates() (all []metrics.Certificate) {
	for _, c := range g.certs.Certificates() {
		if c.Missing {
			continue
		}
		all = append(all, metrics.Certificate{Name: c.Names[0], Source: c.Source, NotAfter: c.NotAfter})
	}
	return all
}
