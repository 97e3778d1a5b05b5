package drill

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/jewgo/gateway/test/env"
)

// Run calls play with a T outside of a test. Servers that play starts end when it returns, failures
// become the error, and the T's folder is removed.
func Run(play func(t env.T) error) (err error) {
	dir, err := os.MkdirTemp("", "gateway-drill-")
	if err != nil {
		return err
	}
	b := &bench{dir: dir}
	defer func() {
		for _, end := range slices.Backward(b.ends) {
			end()
		}
		err = errors.Join(err, b.err, os.RemoveAll(dir))
	}()
	defer func() {
		if failure, ok := recover().(fatal); ok {
			err = failure
		}
	}()
	return play(b)
}

// bench is an env.T outside of a test, for one goroutine.
type bench struct {
	dir  string
	dirs int
	ends []func()
	err  error
}

// fatal is the panic value of bench.Fatal, which must not return.
type fatal struct{ error }

func (b *bench) Helper()                           {}
func (b *bench) Cleanup(end func())                { b.ends = append(b.ends, end) }
func (b *bench) Error(args ...any)                 { b.err = errors.Join(b.err, errors.New(fmt.Sprint(args...))) }
func (b *bench) Errorf(format string, args ...any) { b.Error(fmt.Sprintf(format, args...)) }
func (b *bench) Fatal(args ...any)                 { panic(fatal{errors.New(fmt.Sprint(args...))}) }
func (b *bench) Fatalf(format string, args ...any) { b.Fatal(fmt.Sprintf(format, args...)) }

// TempDir makes a new folder.
func (b *bench) TempDir() string {
	b.dirs++
	dir := fmt.Sprint(b.dir, "/", b.dirs)
	if err := os.Mkdir(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	return dir
}
