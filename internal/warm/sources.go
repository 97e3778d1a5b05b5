package warm

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// UserAgent is that of the requests; those in an access log do not count.
const UserAgent = "gateway-warm"

// MaxURLs bounds the URLs of one run, maxLine the bytes of one line.
const MaxURLs, maxLine = 100_000, 64 << 10

// ErrTooMany means that a source has more than MaxURLs.
var ErrTooMany = fmt.Errorf("more than %d URLs", MaxURLs)

// List reads one URL a line; empty lines, and those that begin with #, are skipped.
func List(r io.Reader) (urls []string, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if len(urls) == MaxURLs {
			return nil, ErrTooMany
		}
		urls = append(urls, line)
	}
	return urls, lines.Err()
}

// Sitemap reads a sitemap (sitemaps.org): the URLs of pages, and those of further sitemaps.
func Sitemap(r io.Reader) (urls, sitemaps []string, err error) {
	var doc struct {
		XMLName xml.Name
		Pages   []struct {
			Loc string `xml:"loc"`
		} `xml:"url"`
		Sitemaps []struct {
			Loc string `xml:"loc"`
		} `xml:"sitemap"`
	}
	if err := xml.NewDecoder(r).Decode(&doc); err != nil {
		return nil, nil, fmt.Errorf("not a sitemap: %w", err)
	}
	if name := doc.XMLName.Local; name != "urlset" && name != "sitemapindex" {
		return nil, nil, fmt.Errorf("not a sitemap: its root is %q, not urlset or sitemapindex", name)
	}
	for _, p := range doc.Pages {
		urls = append(urls, strings.TrimSpace(p.Loc))
	}
	for _, s := range doc.Sitemaps {
		sitemaps = append(sitemaps, strings.TrimSpace(s.Loc))
	}
	if len(urls) > MaxURLs {
		return nil, nil, ErrTooMany
	}
	return urls, sitemaps, nil
}

// combined is a line of the log formats common and combined, as Apache and nginx write them: the method, the
// target, the status.
var combined = regexp.MustCompile(`"([A-Z]+) (\S+) HTTP/[0-9.]+" ([0-9]{3}) `)

// AccessLog reads the targets of successful GETs, and of those answered with 304, from an access log: the gateway's own in JSON, or one in the
// formats common or combined. The most frequent come first. Lines in other forms are skipped; if none is in such
// a form, that is an error.
func AccessLog(r io.Reader) ([]string, error) {
	counts, read := map[string]int{}, 0
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) { // too long to be a request that a cache answers
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = lines.ReadSlice('\n')
			}
			line = nil
		}
		method, target, status, ok := logged(line)
		if ok {
			read++
		}
		if ok && method == "GET" && (status[0] == '2' || status == "304") && !bytes.Contains(line, []byte(UserAgent)) {
			if _, known := counts[target]; known || len(counts) < MaxURLs {
				counts[target]++
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if read == 0 {
		return nil, errors.New("not an access log: no line is in JSON as the gateway writes it, or in the formats common or combined")
	}
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	}), nil
}

// logged reads a line of an access log. The target of the gateway's own has its host.
func logged(line []byte) (method, target, status string, ok bool) {
	if line = bytes.TrimSpace(line); len(line) > 0 && line[0] == '{' {
		var l struct {
			Method, Host, URI string
			Status            int
		}
		if json.Unmarshal(line, &l) != nil || l.Method == "" || l.Status == 0 {
			return "", "", "", false
		}
		if strings.HasPrefix(l.URI, "/") && l.Host != "" {
			l.URI = "//" + l.Host + l.URI
		}
		return l.Method, l.URI, fmt.Sprint(l.Status), true
	}
	m := combined.FindSubmatch(line)
	if m == nil {
		return "", "", "", false
	}
	return string(m[1]), string(m[2]), string(m[3]), true
}
