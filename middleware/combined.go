package middleware

import (
	"context"
	"io"
	"log/slog"
	"strconv"
)

// combinedLog writes access log lines in Apache's combined format. Fields that it has no room for are
// left out.
type combinedLog struct{ to io.Writer }

// NewCombinedLog returns a handler for the access log alone. Each line is one call of Write.
func NewCombinedLog(to io.Writer) slog.Handler { return combinedLog{to} }

// Enabled implements slog.Handler.
func (combinedLog) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs and WithGroup implement slog.Handler. The access log calls neither.
func (c combinedLog) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c combinedLog) WithGroup(string) slog.Handler      { return c }

// Handle implements slog.Handler.
func (c combinedLog) Handle(_ context.Context, r slog.Record) error {
	fields := make(map[string]string, 16)
	r.Attrs(func(a slog.Attr) bool {
		if a.Value.Kind() == slog.KindGroup {
			for _, in := range a.Value.Group() {
				fields[in.Key] = in.Value.String()
			}
		} else {
			fields[a.Key] = a.Value.String()
		}
		return true
	})
	line := make([]byte, 0, 256)
	add := func(before, text, after string) {
		line = append(line, before...)
		line = appendEscaped(line, text)
		line = append(line, after...)
	}
	add("", fields["client"], " - - ")
	line = append(line, r.Time.Format("[02/Jan/2006:15:04:05 -0700]")...)
	add(` "`, fields["method"]+" "+fields["uri"]+" "+fields["proto"], `" `)
	line = append(line, fields["status"]+" "+fields["bytes_out"]...)
	for _, name := range []string{"Referer", "user_agent"} {
		text := fields[name]
		if text == "" {
			text = "-"
		}
		add(` "`, text, `"`)
	}
	_, err := c.to.Write(append(line, '\n'))
	return err
}

// appendEscaped escapes as Apache does: a client can write neither a line nor the end of a field.
func appendEscaped(line []byte, text string) []byte {
	for i := range len(text) {
		switch b := text[i]; {
		case b == '"' || b == '\\':
			line = append(line, '\\', b)
		case b < ' ' || b > '~':
			line = append(line, `\x`...)
			if b < 0x10 {
				line = append(line, '0')
			}
			line = strconv.AppendUint(line, uint64(b), 16)
		default:
			line = append(line, b)
		}
	}
	return line
}
