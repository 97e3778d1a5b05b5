package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/jewgo/gateway/test/env"
)

func TestCacheVerbs(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	f := startPurgeFleet(t, server.URL)
	for _, path := range []string{"/item/7", "/item/7", "/item/7", "/item/8", "/plain"} {
		f.a.get(path)
	}
	f.b.get("/item/7")
	f.b.get("/item/9?page=2")
	base := strings.TrimSuffix(f.a.base, "/")
	f.prints(0, `^memory +2 responses +\d+ B of 256 MiB\nredis +4 responses +\d+ B\n\nhits +last minute +last hour +last day\n`, "cache show")
	f.prints(0, `\nitem +50\.0% of 4 +50\.0% of 4 +50\.0% of 4\n`, "cache show")
	f.prints(0, `\nlist +- +- +-\n`, "cache show")
	f.prints(0, `\nhottest +hits +now +size\n`+base+`/item/7 +2 +[12] +\d+ B\n`+base+`/item/8 +0 +0 +`, "cache show")
	f.prints(0, `\nlargest +hits +now +size\n`+base+`/item/[78] `, "cache show")
	f.prints(0, `(?s)`+base+`/item/7\n  status +200\n  age +\d+s\n  fresh for +(1h0m0|59m\d+)s\n  tags +item:7\n  size +\d+ B\n  in +l1 l2\n  hits +2, now [12]\n`, "cache find", "/item/7")
	f.prints(0, `(?s)`+f.b.base+`/item/7\n.*  in +l2\n`, "cache find", "/item/7")
	f.prints(0, `^`+f.b.base+`/item/9\?page=2\n(?s:.*)  in +l2\n  hits +0, now 0\n$`, "cache find", "http://127.0.0.1/item/9")
	f.prints(0, `^nothing is stored of it\n$`, "cache find", "/item/10")
	f.prints(1, `host "elsewhere.example" is not served: server.hosts has`, "cache find", "http://elsewhere.example/item/7")
	f.prints(1, `write http://HOST/PATH`, "cache find", "item/7")
	f.prints(2, `accepts 1 arg`, "cache find")
	f.prints(1, `no gateway at 127\.0\.0\.1:1`, "cache show", "--admin", "127.0.0.1:1")

	login := f.a.get("/auth/login").Cookies()
	f.a.get("/mine", "Cookie", login[0].Name+"="+login[0].Value)
	f.prints(0, `/mine\n(?s:.*)  in +l1 l2\n`, "cache find", "/mine")
	f.prints(0, `ended on all gateways`, "sessions revoke", "--user", "42")
	f.prints(0, `^nothing is stored of it\n$`, "cache find", "/mine")

	server.Kill()
	f.awaitHealth("degraded\n")
	f.prints(0, `(?s)^memory +3 responses .*\nredis +down +.*connect`, "cache show")
	f.prints(0, `(?s)^`+base+`/item/7\n.*  in +l1\n.*\nredis was not searched: redis is unavailable\n$`, "cache find", "/item/7")
	server.Restart(true)
	f.awaitHealth("ok\n")
	f.a.get("/item/11")
	f.prints(0, `(?s)  in +l1\n`, "cache find", "/item/7") // the server came back empty
	f.prints(0, `(?s)  in +l1 l2\n`, "cache find", "/item/11")
	f.prints(0, `\nredis +1 responses`, "cache show")
	if r := f.a.get(f.a.admin + "/v1/cache/entries"); r.StatusCode != http.StatusBadRequest {
		t.Errorf("without a URL: %s", r.Status)
	}
}
