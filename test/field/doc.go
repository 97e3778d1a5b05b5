// Package field measures the gateway in a field of other servers: bare net/http, httputil.ReverseProxy,
// nginx, HAProxy, Varnish and Caddy. All stand in front of the same upstream on the same machine and get
// the same requests, in turns. What a request costs in CPU time, compared with a baseline that was
// measured beside it, says more than a throughput, which depends on the machine and on who else uses it.
package field
