package main

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/middleware"
)

// toHTTPS redirects clients of plain HTTP to the same URL by HTTPS, at the port of that address. Hosts that
// are not served, and malformed requests, are refused as by HTTPS.
func (g *gateway) toHTTPS(to net.Addr) http.Handler {
	port := ""
	if tcp, ok := to.(*net.TCPAddr); ok && tcp.Port != 443 {
		port = ":" + strconv.Itoa(tcp.Port)
	}
	redirect := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := exchange.From(r.Context())
		ex.Facts.Reason = "redirected to HTTPS"
		host := ex.View.Host
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		w.Header().Set("Location", "https://"+host+port+r.URL.RequestURI())
		w.WriteHeader(http.StatusPermanentRedirect)
	})
	return middleware.Chain(redirect, g.observer.Handler, middleware.Hygiene)
}

// certificateConditions is the state of the certificates, for /readyz.
func (g *gateway) certificateConditions() (all []admin.Condition) {
	for _, c := range g.certs.Certificates() {
		condition := admin.Condition{Name: "certificate", Detail: c.String()}
		if c.Ending || c.Problem != "" {
			condition.Level = admin.Degraded // it is served, whatever clients think of it
		}
		all = append(all, condition)
	}
	return all
}

// certificates is the same for the metrics.
func (g *gateway) certificates() (all []metrics.Certificate) {
	for _, c := range g.certs.Certificates() {
		all = append(all, metrics.Certificate{Name: c.Names[0], Source: c.Source, NotAfter: c.NotAfter})
	}
	return all
}
