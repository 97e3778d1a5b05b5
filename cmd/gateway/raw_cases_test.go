package main

import (
	"fmt"
	"strings"
)

// rawHead is a head with a Host.
func rawHead(line string, fields ...string) string {
	return line + "\r\nHost: a.test\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

func rawGet(target string, fields ...string) string {
	return rawHead("GET "+target+" HTTP/1.1", fields...)
}

// rawPost is a POST of /p.
func rawPost(body string, fields ...string) string {
	return rawHead("POST /p HTTP/1.1", fields...) + body
}

// rawChunked is one with a chunked body.
func rawChunked(body string) string { return rawPost(body, "Transfer-Encoding: chunked") }

// passes is a request that the backend gets, after which the connection goes on.
func passes(sentence, sent string, saw ...string) rawCase {
	return rawCase{sentence, sent, []int{200}, false, saw}
}

// refused is a request of which the backend sees nothing; the connection goes on.
func refused(status int, sentence, sent string) rawCase {
	return rawCase{sentence, sent, []int{status}, false, nil}
}

// ends is a request of which the backend sees nothing, nor of what follows it.
func ends(status int, sentence, sent string) rawCase {
	return rawCase{sentence, sent + rawGet("/smuggled"), []int{status}, true, nil}
}

func rawCases() []rawCase {
	groups := [][]rawCase{rawLines(), rawHosts(), rawFields(), rawForged(), rawLengths(), rawCodings(), rawChunks(), rawPairs(), rawPaths(), rawQueries(), rawMethods()}
	var all []rawCase
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// The request line: RFC 9112, 2.2, 2.3 and 3.
func rawLines() []rawCase {
	return []rawCase{
		passes("a plain request", rawGet("/a"), "GET /a"),
		passes("an empty line before it", "\r\n"+rawGet("/a"), "GET /a"),
		ends(400, "three empty lines before it", "\r\n\r\n\r\n"+rawGet("/a")),
		ends(400, "a bare LF before it", "\n"+rawGet("/a")),
		ends(400, "a space before it", " "+rawGet("/a")),
		ends(400, "a bare LF after the request line", "GET /a HTTP/1.1\nHost: a.test\r\n\r\n"),
		ends(400, "a bare CR in the request line", "GET /a\rHTTP/1.1\r\nHost: a.test\r\n\r\n"),
		ends(400, "two spaces before the target", rawHead("GET  /a HTTP/1.1")),
		ends(400, "two spaces before the version", rawHead("GET /a  HTTP/1.1")),
		ends(400, "a tab before the target", rawHead("GET\t/a HTTP/1.1")),
		ends(400, "a space after the version", rawHead("GET /a HTTP/1.1 ")),
		ends(400, "a space in the target", rawHead("GET /a b HTTP/1.1")),
		ends(400, "no version, as in HTTP/0.9", "GET /a\r\n\r\n"),
		ends(400, "no target", rawHead("GET HTTP/1.1")),
		ends(400, "a version in lower case", rawHead("GET /a http/1.1")),
		ends(400, "a version without a dot", rawHead("GET /a HTTP/11")),
		ends(400, "a version of two digits", rawHead("GET /a HTTP/1.10")),
		ends(400, "another protocol", rawHead("GET /a FTP/1.1")),
		ends(505, "a later minor version", rawHead("GET /a HTTP/1.2")),
		ends(505, "HTTP/2 in the text of HTTP/1", rawHead("GET /a HTTP/2.0")),
		ends(505, "HTTP/3", rawHead("GET /a HTTP/3.0")),
		ends(505, "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		ends(400, "a record of TLS", "\x16\x03\x01\x00\x05hello\r\n\r\n"),
		ends(400, "NUL in the target", rawGet("/a\x00b")),
		ends(400, "a control character in the target", rawGet("/a\x01b")),
		ends(400, "DEL in the target", rawGet("/a\x7fb")),
		ends(400, "UTF-8 in the target", rawGet("/caf\xc3\xa9")),
		ends(400, "0xFF in the target", rawGet("/\xff")),
		ends(400, "a fragment", rawGet("/a#b")),
		ends(400, "a target without a slash", rawGet("a")),
		ends(400, "an asterisk for GET", rawGet("*")),
		ends(414, "a long target", rawGet("/"+strings.Repeat("a", 4000))),
		passes("the longest target", rawGet("/"+strings.Repeat("a", 3999)), "GET /"+strings.Repeat("a", 3999)),
		{"HTTP/1.0 ends the connection", "GET /a HTTP/1.0\r\nHost: a.test\r\n\r\n", []int{200}, true, []string{"GET /a"}},
		{"HTTP/1.0 may go on", "GET /a HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n", []int{200}, false, []string{"GET /a"}},
		{"the client may end the connection", rawGet("/a", "Connection: close") + rawGet("/b"), []int{200}, true, []string{"GET /a"}},
		{"requests in one packet are answered in turn", rawGet("/a") + rawGet("/b"), []int{200, 200}, false, []string{"GET /a", "GET /b"}},
		{"a malformed one comes after the others", rawGet("/a") + "GET /b HTTP/1.1\nHost: a.test\r\n\r\n" + rawGet("/c"), []int{200, 400}, true, []string{"GET /a"}},
	}
}

// Host and absolute targets: RFC 9112, 3.2, and RFC 9110, 4.2 and 7.4.
func rawHosts() []rawCase {
	with := func(fields string) string { return "GET /a HTTP/1.1\r\n" + fields + "\r\n" }
	return []rawCase{
		ends(400, "no Host", with("")),
		ends(400, "an empty Host", with("Host:\r\n")),
		ends(400, "two Hosts", with("Host: a.test\r\nHost: b.test\r\n")),
		ends(400, "two equal Hosts", with("Host: a.test\r\nHost: a.test\r\n")),
		ends(400, "a Host in another case beside it", with("Host: a.test\r\nhOST: b.test\r\n")),
		ends(400, "a list of hosts", with("Host: a.test, b.test\r\n")),
		ends(400, "a path in Host", with("Host: a.test/b\r\n")),
		ends(400, "a query in Host", with("Host: a.test?b\r\n")),
		ends(400, "user information in Host", with("Host: u@a.test\r\n")),
		ends(400, "a space in Host", with("Host: a.test b.test\r\n")),
		ends(400, "an escape in Host", with("Host: a%2etest\r\n")),
		ends(400, "a semicolon in Host", with("Host: a.test;b\r\n")),
		ends(400, "UTF-8 in Host", with("Host: \xc3\xa1.test\r\n")),
		refused(400, "a port that is no number", with("Host: a.test:http\r\n")),
		refused(400, "a port that is too large", with("Host: a.test:65536\r\n")),
		refused(400, "two ports", with("Host: a.test:1:2\r\n")),
		refused(421, "another host", with("Host: b.test\r\n")),
		refused(421, "a host that begins like ours", with("Host: a.test.evil\r\n")),
		passes("our host in capitals", with("Host: A.TEST\r\n"), "GET /a"),
		passes("our host with a port", with("Host: a.test:8080\r\n"), "GET /a host=a.test:8080"),
		passes("an absolute target", rawGet("http://a.test/a?b"), "GET /a?b"),
		passes("its host counts, not the field", "GET http://a.test/a HTTP/1.1\r\nHost: b.test\r\n\r\n", "GET /a"),
		refused(421, "nor does the field make up for it", "GET http://b.test/a HTTP/1.1\r\nHost: a.test\r\n\r\n"),
		ends(400, "an absolute target without Host", "GET http://a.test/a HTTP/1.1\r\n\r\n"),
		ends(400, "user information in the target", rawGet("http://u:p@a.test/a")),
		ends(400, "no host in the target", rawGet("http:///a")),
		ends(400, "a file", rawGet("file:///etc/passwd")),
		ends(400, "another scheme", rawGet("ftp://a.test/a")),
		ends(400, "a target without a scheme", rawGet("a.test/a")),
		refused(400, "a target that begins with two slashes", rawGet("//b.test/a")),
	}
}

// Header fields: RFC 9112, 5, and RFC 9110, 5.
func rawFields() []rawCase {
	many := func(n int) []string { return strings.Split(strings.Repeat("A: b\n", n-1)+"A: b", "\n") }
	return []rawCase{
		passes("a value with blanks around it", rawGet("/a", "X-A: \t b c\t "), "GET /a x-a=b c"),
		passes("an empty value", rawGet("/a", "X-A:"), "GET /a x-a="),
		passes("a tab in a value", rawGet("/a", "X-A: b\tc"), "GET /a x-a=b\tc"),
		passes("a name in capitals", rawGet("/a", "X-A: b"), "GET /a x-a=b"),
		ends(400, "a bare LF after a field", "GET /a HTTP/1.1\r\nHost: a.test\nX-A: b\r\n\r\n"),
		ends(400, "a bare LF before the end", "GET /a HTTP/1.1\r\nHost: a.test\r\nX-A: b\n\r\n"),
		ends(400, "a bare LF at the end", "GET /a HTTP/1.1\r\nHost: a.test\r\n\n"),
		ends(400, "bare LFs alone", "GET /a HTTP/1.1\nHost: a.test\n\n"),
		ends(400, "a bare CR in a value", rawGet("/a", "X-A: b\rX-B: c")),
		ends(400, "CR CR LF", rawGet("/a", "X-A: b\r")),
		ends(400, "a folded value", rawGet("/a", "X-A: b\r\n c")),
		ends(400, "a value folded with a tab", rawGet("/a", "X-A: b\r\n\tc")),
		ends(400, "a line of blanks", rawGet("/a", "X-A: b\r\n \r\nX-B: c")),
		ends(400, "blanks before the first field", "GET /a HTTP/1.1\r\n Host: a.test\r\n\r\n"),
		ends(400, "a space before the colon", rawGet("/a", "X-A : b")),
		ends(400, "a tab before the colon", rawGet("/a", "X-A\t: b")),
		ends(400, "no colon", rawGet("/a", "X-A")),
		ends(400, "no name", rawGet("/a", ": b")),
		ends(400, "a name with a space", rawGet("/a", "X A: b")),
		ends(400, "a name in brackets", rawGet("/a", "[X-A]: b")),
		ends(400, "a name with a control character", rawGet("/a", "X\x01A: b")),
		ends(400, "a name with UTF-8", rawGet("/a", "X-\xc3\xa9: b")),
		ends(400, "NUL in a value", rawGet("/a", "X-A: b\x00c")),
		ends(400, "DEL in a value", rawGet("/a", "X-A: b\x7fc")),
		ends(400, "an escape character in a value", rawGet("/a", "X-A: \x1b[31m")),
		ends(431, "a long field", rawGet("/a", "X-A: "+strings.Repeat("b", 8000))),
		ends(431, "a long name", rawGet("/a", strings.Repeat("b", 8000)+": c")),
		ends(431, "many fields", rawGet("/a", many(80)...)),
		passes("as many as may be", rawGet("/a", many(79)...), "GET /a"),
		ends(431, "a long head", rawGet("/a", strings.Split(strings.Repeat("A: "+strings.Repeat("b", 7000)+"\n", 4)+"A: "+strings.Repeat("b", 7000), "\n")...)),
		ends(417, "an unknown expectation", rawGet("/a", "Expect: gold")),
		passes("100-continue", rawPost("abc", "Expect: 100-continue", "Content-Length: 3"), "POST /p |abc"),
	}
}

// Names that only the gateway may send, and fields of one connection: RFC 9110, 7.6.1.
func rawForged() []rawCase {
	return []rawCase{
		passes("an identity", rawGet("/a", "X-Gw-Identity: forged", "X-Gw-User: forged"), "GET /a"),
		passes("an identity with underscores", rawGet("/a", "X_Gw_Identity: forged", "X-Gw_User: forged"), "GET /a"),
		passes("a path for WSGI", rawGet("/a", "SCRIPT_NAME: /a", "Script_Name: /a"), "GET /a"),
		passes("an address", rawGet("/a", "X-Real-IP: 10.0.0.1", "X_Real_IP: 10.0.0.1"), "GET /a"),
		passes("a path of a proxy", rawGet("/a", "X-Original-URL: /admin/b", "X-Rewrite-URL: /admin/b", "X-Forwarded-Prefix: /b"), "GET /a"),
		passes("another method", rawGet("/a", "X-HTTP-Method-Override: DELETE"), "GET /a"),
		passes("a proxy for the backend's own requests", rawGet("/a", "Proxy: http://evil.test"), "GET /a"),
		passes("fields that Connection names", rawGet("/a", "Connection: X-A, X-B", "X-A: b", "X-B: c"), "GET /a"),
		passes("Connection cannot name what the gateway sets", rawGet("/a", "Connection: X-Forwarded-For, Host, X-Request-Id"), "GET /a"),
		passes("Keep-Alive and TE", rawGet("/a", "Keep-Alive: timeout=1000", "TE: gzip", "Connection: TE"), "GET /a"),
		passes("an upgrade to h2c", rawGet("/a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"), "GET /a"),
		passes("a WebSocket where there is none", rawGet("/a", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"), "GET /a"),
		passes("another gateway on the way", rawGet("/a", "Via: 1.1 other, 1.1 edge (7JXBQ2RU)"), "GET /a"),
	}
}

// Content-Length: RFC 9112, 6.2 and 6.3, and RFC 9110, 8.6.
func rawLengths() []rawCase {
	length := func(value string) string { return rawPost("abc", "Content-Length: "+value) }
	return []rawCase{
		passes("a body with a length", length("3"), "POST /p |abc"),
		passes("leading zeros", length("0003"), "POST /p |abc"),
		passes("no body", length("0")[:len(length("0"))-3], "POST /p"),
		passes("neither length nor coding", rawPost(""), "POST /p"),
		ends(400, "an empty length", length("")),
		ends(400, "a plus sign", length("+3")),
		ends(400, "a minus sign", length("-3")),
		ends(400, "a fraction", length("3.0")),
		ends(400, "an exponent", length("3e0")),
		ends(400, "hex digits", length("0x3")),
		ends(400, "an underscore, which Python ignores", length("0_3")),
		ends(400, "a space between digits", length("0 3")),
		ends(400, "digits that are not ASCII", length("\xef\xbc\x93")),
		ends(400, "a vertical tab, which Python strips", length("\x0b3")),
		ends(400, "a number of more than 64 bits", length("18446744073709551619")),
		ends(400, "a list of equal numbers", length("3, 3")),
		ends(400, "a list of different numbers", length("3, 30")),
		ends(400, "two equal lengths", rawPost("abc", "Content-Length: 3", "Content-Length: 3")),
		ends(400, "two lengths", rawPost("abc", "Content-Length: 3", "Content-Length: 30")),
		{"a length that is too large", rawPost("abc", "Content-Length: 5000"), []int{413}, true, nil},
	}
}

// Transfer-Encoding: RFC 9112, 6.1 and 6.3.
func rawCodings() []rawCase {
	coding := func(fields ...string) string { return rawPost("0\r\n\r\n", fields...) }
	return []rawCase{
		passes("a chunked body", rawChunked("3\r\nabc\r\n0\r\n\r\n"), "POST /p |abc"),
		passes("chunked in capitals", rawPost("3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: Chunked"), "POST /p |abc"),
		ends(400, "a length before it", coding("Content-Length: 5", "Transfer-Encoding: chunked")),
		ends(400, "a length after it", coding("Transfer-Encoding: chunked", "Content-Length: 5")),
		ends(400, "a length of 0 beside it", coding("Content-Length: 0", "Transfer-Encoding: chunked")),
		ends(400, "in HTTP/1.0", "POST /p HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		ends(400, "in HTTP/1.0 that keeps alive", "POST /p HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		ends(501, "a coding before it", coding("Transfer-Encoding: gzip, chunked")),
		ends(400, "a coding after it", coding("Transfer-Encoding: chunked, gzip")),
		ends(400, "identity after it", coding("Transfer-Encoding: chunked, identity")),
		ends(400, "identity alone", coding("Transfer-Encoding: identity")),
		ends(400, "another coding alone", coding("Transfer-Encoding: gzip")),
		ends(400, "a coding that ends like it", coding("Transfer-Encoding: xchunked")),
		ends(400, "twice in one line", coding("Transfer-Encoding: chunked, chunked")),
		ends(400, "twice in two lines", coding("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")),
		ends(400, "another coding in a second line", coding("Transfer-Encoding: chunked", "Transfer-Encoding: x")),
		ends(400, "another coding in the first line", coding("Transfer-Encoding: x", "Transfer-Encoding: chunked")),
		ends(400, "an empty coding", coding("Transfer-Encoding:")),
		ends(400, "an empty element", coding("Transfer-Encoding: , chunked")),
		ends(400, "a parameter", coding("Transfer-Encoding: chunked;q=1")),
		ends(400, "in quotes", coding(`Transfer-Encoding: "chunked"`)),
		ends(400, "a vertical tab before it", coding("Transfer-Encoding: \x0bchunked")),
		ends(400, "a non-breaking space before it", coding("Transfer-Encoding: \xa0chunked")),
		ends(400, "a long s, which some fold to an s", coding("Transfer-Encoding: chunked\xc5\xbf")),
		ends(400, "folded", coding("Transfer-Encoding:\r\n chunked")),
		ends(400, "a space before its colon", coding("Transfer-Encoding : chunked")),
		passes("its name with an underscore is no coding", rawPost("abc", "Transfer_Encoding: chunked", "Content-Length: 3"), "POST /p |abc"),
		ends(400, "trailers that frame", coding("Transfer-Encoding: chunked", "Trailer: Content-Length")),
	}
}

// Chunks: RFC 9112, 7.1.
func rawChunks() []rawCase {
	broken := func(sentence, body string) rawCase { return ends(400, sentence, rawChunked(body)) }
	return []rawCase{
		passes("two chunks", rawChunked("3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"), "POST /p |abc0123456789"),
		passes("leading zeros in a size", rawChunked("0003\r\nabc\r\n00\r\n\r\n"), "POST /p |abc"),
		passes("an extension", rawChunked("3;a=\"b\"\r\nabc\r\n0\r\n\r\n"), "POST /p |abc"),
		passes("a trailer", rawChunked("3\r\nabc\r\n0\r\nX-A: b\r\n\r\n"), "POST /p |abc"),
		passes("data that looks like the end", rawChunked("7\r\n0\r\n\r\nab\r\n0\r\n\r\n"), `POST /p |0\r\n\r\nab`),
		broken("no size", "\r\nabc\r\n0\r\n\r\n"),
		broken("a plus sign before a size", "+3\r\nabc\r\n0\r\n\r\n"),
		broken("a minus sign", "-3\r\nabc\r\n0\r\n\r\n"),
		broken("0x before a size", "0x3\r\nabc\r\n0\r\n\r\n"),
		broken("an underscore in a size", "0_3\r\nabc\r\n0\r\n\r\n"),
		broken("a space before a size", " 3\r\nabc\r\n0\r\n\r\n"),
		broken("a space after a size", "3 \r\nabc\r\n0\r\n\r\n"),
		broken("a size in other digits", "\xef\xbc\x93\r\nabc\r\n0\r\n\r\n"),
		broken("a size that overflows 64 bits", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
		broken("a bare LF after a size", "3\nabc\r\n0\r\n\r\n"),
		broken("a bare CR after a size", "3\rabc\r\n0\r\n\r\n"),
		broken("a bare LF in an extension", "3;a\nabc\r\n0\r\n\r\n"),
		broken("a bare CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
		broken("NUL in an extension", "3;\x00\r\nabc\r\n0\r\n\r\n"),
		broken("a long extension", "3;"+strings.Repeat("a", 300)+"\r\nabc\r\n0\r\n\r\n"),
		broken("more data than its size", "3\r\nabcd\r\n0\r\n\r\n"),
		broken("less data than its size", "4\r\nabc\r\n0\r\n\r\n"),
		broken("a bare LF after data", "3\r\nabc\n0\r\n\r\n"),
		broken("nothing after data", "3\r\nabc0\r\n\r\n"),
		broken("a bare LF at the end", "3\r\nabc\r\n0\r\n\n"),
		broken("a bare LF after the last size", "3\r\nabc\r\n0\n\r\n"),
		broken("a folded trailer", "0\r\nX-A: b\r\n c\r\n\r\n"),
		broken("a trailer without a colon", "0\r\nX-A\r\n\r\n"),
		broken("NUL in a trailer", "0\r\nX-A: \x00\r\n\r\n"),
		{"too large a body", rawChunked("1388\r\n" + strings.Repeat("a", 5000) + "\r\n0\r\n\r\n"), []int{413}, true, nil},
	}
}

// Pairs in which a second request hides in the first, for one of two readers (RFC 9112, 11.2).
func rawPairs() []rawCase {
	hidden := "GET /admin/x HTTP/1.1\r\nHost: a.test\r\nX-A: "
	whole := "GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n"
	inside := strings.NewReplacer("\r", `\r`, "\n", `\n`).Replace(whole)
	return []rawCase{
		{"CL.TE", rawPost("0\r\n\r\n"+hidden, fmt.Sprintf("Content-Length: %d", 5+len(hidden)), "Transfer-Encoding: chunked") + rawGet("/b"), []int{400}, true, nil},
		{"TE.CL", rawPost(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(whole), whole), "Content-Length: 4", "Transfer-Encoding: chunked") + rawGet("/b"), []int{400}, true, nil},
		{"TE.TE with a space", rawPost("0\r\n\r\n"+hidden, "Transfer-Encoding : chunked", fmt.Sprintf("Content-Length: %d", 5+len(hidden))) + rawGet("/b"), []int{400}, true, nil},
		{"TE.TE with a name of its own", rawPost("0\r\n\r\n"+hidden, "X: y\x00Transfer-Encoding: chunked", fmt.Sprintf("Content-Length: %d", 5+len(hidden))) + rawGet("/b"), []int{400}, true, nil},
		{"TE.0", rawHead("OPTIONS /p HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 0") + "5\r\nabcde\r\n0\r\n\r\n" + rawGet("/b"), []int{400}, true, nil},
		{"a request in a body stays there", rawPost(whole, fmt.Sprintf("Content-Length: %d", len(whole))) + rawGet("/b"), []int{200, 200}, false, []string{"POST /p |" + inside, "GET /b"}},
		{"and in a chunk", rawChunked(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(whole), whole)) + rawGet("/b"), []int{200, 200}, false, []string{"POST /p |" + inside, "GET /b"}},
		{"and in the body of a GET", rawGet("/a", fmt.Sprintf("Content-Length: %d", len(whole))) + whole + rawGet("/b"), []int{200, 200}, false, []string{"GET /a |" + inside, "GET /b"}},
		{"and in that of a request that is refused", rawHead("POST /admin/a HTTP/1.1", fmt.Sprintf("Content-Length: %d", len(whole))) + whole + rawGet("/b"), []int{403, 200}, false, []string{"GET /b"}},
		{"and in that of a GET of a cached route", rawGet("/cached/1", fmt.Sprintf("Content-Length: %d", len(whole))) + whole + rawGet("/b"), []int{200, 200}, false, []string{"GET /cached/1 |" + inside, "GET /b"}},
		{"and in that of a HEAD", rawHead("HEAD /a HTTP/1.1", "Content-Length: 3") + "abc", []int{200}, false, []string{"HEAD /a |abc"}},
		{"after an upgrade that was refused", rawGet("/a", "Connection: Upgrade", "Upgrade: websocket") + whole, []int{200, 200}, false, []string{"GET /a", "GET /hidden"}},
		{"after 100-continue", rawPost("abc"+whole, "Expect: 100-continue", "Content-Length: 3"), []int{200, 200}, false, []string{"POST /p |abc", "GET /hidden"}},
		{"CR LF in an escape splits nothing", rawGet("/a?b=%0d%0aX-A:%20c"), []int{200}, false, []string{"GET /a?b=%0d%0aX-A:%20c"}},
		{"a chunked body for HTTP/1.0's reader", "POST /p HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc" + rawGet("/b"), []int{200, 200}, false, []string{"POST /p |abc", "GET /b"}},
	}
}

// Paths, which have one form (RFC 3986, 6.2.2) or are refused.
func rawPaths() []rawCase {
	bad := func(sentence, path string) rawCase { return refused(400, sentence, rawGet(path)) }
	return []rawCase{
		passes("an escape that need not be", rawGet("/%61cct/%7Eme"), "GET /acct/~me"),
		passes("an escape in lower case", rawGet("/caf%c3%a9"), "GET /caf%C3%A9"),
		passes("an escaped percent sign", rawGet("/a%252e%252e/b"), "GET /a%252e%252e/b"),
		passes("characters that must be escaped", rawGet("/a|b"), "GET /a%7Cb"),
		refused(403, "a denied path", rawGet("/admin/x")),
		refused(403, "a denied path in escapes", rawGet("/%61dmin/x")),
		bad("a dot segment", "/private/../admin/x"),
		bad("an escaped dot segment", "/private/%2e%2e/admin/x"),
		bad("half of one", "/private/.%2E/admin/x"),
		bad("a single dot", "/./admin/x"),
		bad("two slashes", "//admin/x"),
		bad("two slashes within", "/private//x"),
		bad("an escaped slash", "/private%2fadmin"),
		bad("an escaped slash beside a character that ought to be escaped", "/private|%2fadmin"),
		bad("an escaped slash and a dot segment", "/private/..%2fadmin/x"),
		bad("a backslash", `/private\..\admin/x`),
		bad("an escaped backslash", "/private%5cadmin"),
		bad("a semicolon", "/private/..;/admin/x"),
		bad("a path parameter", "/admin;a=b/x"),
		bad("an escaped NUL", "/admin%00/x"),
		bad("escaped line ends", "/a%0d%0aX-A:b"),
		bad("escaped bytes that are not UTF-8", "/%ff"),
		bad("an overlong slash", "/private%c0%afadmin"),
		ends(400, "a malformed escape", rawGet("/%zz")),
		ends(400, "a cut escape", rawGet("/a%2")),
		ends(400, "an escape of Microsoft's", rawGet("/%u002fadmin")),
	}
}

// Queries, which two parsers could read differently.
func rawQueries() []rawCase {
	bad := func(sentence, query string) rawCase { return refused(400, sentence, rawGet("/a?"+query)) }
	return []rawCase{
		passes("a query stays as it came", rawGet("/a?b=c&b=%41&%62=&=d&"), "GET /a?b=c&b=%41&%62=&=d&"),
		passes("an empty one", rawGet("/a?"), "GET /a"),
		passes("a question mark in it", rawGet("/a?b?c"), "GET /a?b?c"),
		bad("a semicolon", "b=c;d=e"),
		bad("a malformed escape", "b=%zz"),
		bad("a cut escape", "b=%4"),
		bad("too many parameters", strings.Repeat("a&", 600)),
		passes("a cached route sends what it keys", rawGet("/cached/2?q=1&utm=2"), "GET /cached/2?q=1"),
	}
}

// Methods: RFC 9110, 9.
func rawMethods() []rawCase {
	return []rawCase{
		passes("an unknown method", rawHead("M-SEARCH /a HTTP/1.1"), "M-SEARCH /a"),
		passes("a method that its route lists", rawHead("SYNC /own HTTP/1.1"), "SYNC /own"),
		passes("OPTIONS", rawHead("OPTIONS /a HTTP/1.1"), "OPTIONS /a"),
		{"one that is not, of a route with its own, is another route's", rawHead("PURGE /own HTTP/1.1"), []int{200}, false, []string{"PURGE /own"}},
		refused(501, "TRACE", rawHead("TRACE /a HTTP/1.1")),
		ends(501, "CONNECT", rawHead("CONNECT a.test:80 HTTP/1.1")),
		ends(501, "CONNECT of a path", rawHead("CONNECT /a HTTP/1.1")),
		ends(400, "a method in lower case", rawHead("get /a HTTP/1.1")),
		ends(400, "a method in mixed case", rawHead("Get /a HTTP/1.1")),
		ends(400, "a method with a digit", rawHead("GET1 /a HTTP/1.1")),
		ends(400, "a method with a control character", rawHead("GE\x00T /a HTTP/1.1")),
		ends(400, "a long method", rawHead(strings.Repeat("A", 33)+" /a HTTP/1.1")),
		ends(400, "a method of which the gateway makes use itself", rawHead("- * HTTP/1.1")),
		refused(204, "OPTIONS for the gateway", rawHead("OPTIONS * HTTP/1.1")),
		refused(204, "OPTIONS that goes no further", rawHead("OPTIONS /a HTTP/1.1", "Max-Forwards: 0")),
		passes("OPTIONS that may go on", rawHead("OPTIONS /a HTTP/1.1", "Max-Forwards: 7"), "OPTIONS /a max-forwards=6"),
		refused(400, "a count that is no number", rawHead("OPTIONS /a HTTP/1.1", "Max-Forwards: x")),
		passes("which says nothing to GET", rawGet("/a", "Max-Forwards: 0"), "GET /a max-forwards=0"),
	}
}
