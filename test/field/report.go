package field

import "context"

// Report is the result with its circumstances.
type Report struct {
	Command string            `json:"command"`
	Tables  []Table           `json:"tables"`
}

// NewReport adds what should be known about the circumstances to the tables.
func NewReport(_ context.Context, _ Config, command string, tables []Table) Report { return Report{Command: command, Tables: tables} }

// SVG x
func (r Report) SVG() string { return "" }

// Markdown x
func (r Report) Markdown(string) string { return "" }
