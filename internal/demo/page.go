package demo

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strconv"
)

var errCursor = errors.New("invalid cursor")

const (
	defaultLimit = 20
	listLimit    = 50
	searchLimit  = 100
)

// page is a part of a result.
type page struct{ offset, limit int }

// pageOf reads limit, page and cursor; a cursor wins over a page.
func pageOf(q url.Values, most int) (page, error) {
	p := page{limit: min(positive(q.Get("limit"), defaultLimit), most)}
	p.offset = (min(positive(q.Get("page"), 1), 1_000_000) - 1) * p.limit
	if cursor := q.Get("cursor"); cursor != "" {
		text, err := base64.RawURLEncoding.DecodeString(cursor)
		if err != nil {
			return page{}, errCursor
		}
		if p.offset = positive(string(text), -1); p.offset < 0 {
			return page{}, errCursor
		}
	}
	return p, nil
}

func positive(text string, otherwise int) int {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return n
	}
	return otherwise
}

func cursor(offset int) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(offset)))
}

// cut returns the rows of the page and its description for the client.
func (p page) cut(rows []*record) ([]*record, map[string]any) {
	total := len(rows)
	from, to := min(p.offset, total), min(p.offset+p.limit, total)
	about := map[string]any{
		"page": p.offset/p.limit + 1, "limit": p.limit, "total_count": total,
		"total_pages": (total + p.limit - 1) / p.limit, "has_more": to < total, "next_cursor": nil, "prev_cursor": nil,
	}
	if to < total {
		about["next_cursor"] = cursor(to)
	}
	if before := p.offset - p.limit; before > 0 {
		about["prev_cursor"] = cursor(before)
	}
	return rows[from:to], about
}
