package events

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestErrorTellsWhatHappenedAndWhatToDo(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{Errorf(ErrHole, "sequence %d is missing", 7), "hole: sequence 7 is missing"},
		{Errorf(ErrHole, "sequence %d is missing", 7).Hint("Compare %s.", "it"), "hole: sequence 7 is missing. Compare it."},
		{Errorf(ErrHole, "It is missing.").Hint("Look."), "hole: It is missing. Look."},
		{ErrHole, "hole"},
		{
			&ConflictError{Entity: Entity{"airport", "ORD"}, Expected: 3, Actual: 5},
			`conflict: "airport/ORD" is at sequence 5, expected 3; nothing was written. Read it again and decide anew`,
		},
		{
			&ConflictError{Control: "mark", Expected: 3},
			`conflict: "mark" is at sequence 0, expected 3; nothing was written. Read it again and decide anew`,
		},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	long := &ConflictError{Entity: Entity{"airport", "\r\n\x00" + strings.Repeat("é", 500)}}
	if got := long.Error(); len(got) > 250 || strings.ContainsAny(got, "\r\n\x00") || strings.ContainsRune(got, '\uFFFD') || strings.Contains(got, `\x`+"c3") {
		t.Errorf("an id breaks out of its error: %q", got)
	}
}

func TestErrorsKeepTheirCodeAndTheirCauses(t *testing.T) {
	one, two := errors.New("one"), errors.New("two")
	for _, c := range []struct {
		err  error
		code Code
		is   []error
		not  []error
	}{
		{ErrHole, ErrHole, []error{ErrHole}, []error{ErrDamaged}},
		{Errorf(ErrHole, "x"), ErrHole, []error{ErrHole}, []error{ErrDamaged, context.Canceled}},
		{Errorf(ErrUnreachable, "x: %w", context.Canceled), ErrUnreachable, []error{ErrUnreachable, context.Canceled}, []error{ErrHole}},
		{Errorf(ErrUnreachable, "x: %w and %w", one, two), ErrUnreachable, []error{one, two}, nil},
		{fmt.Errorf("reading: %w", Errorf(ErrHole, "x")), ErrHole, []error{ErrHole}, nil},
		{fmt.Errorf("appending: %w", &ConflictError{}), ErrConflict, []error{ErrConflict}, []error{ErrIDConflict}},
		{fmt.Errorf("appending: %w", ErrClosed), ErrClosed, []error{ErrClosed}, nil},
		{Errorf(ErrUnknownOutcome, "x: %w", &ConflictError{}), ErrUnknownOutcome, []error{ErrUnknownOutcome, ErrConflict}, nil},
		{errors.Join(one, Errorf(ErrHole, "x")), ErrHole, []error{one, ErrHole}, nil},
	} {
		if code, ok := CodeOf(c.err); !ok || code != c.code {
			t.Errorf("%v has the code %s, %v", c.err, code, ok)
		}
		for _, target := range c.is {
			if !errors.Is(c.err, target) {
				t.Errorf("%v is not %v", c.err, target)
			}
		}
		for _, target := range c.not {
			if errors.Is(c.err, target) {
				t.Errorf("%v is %v", c.err, target)
			}
		}
	}
	for _, err := range []error{nil, one, fmt.Errorf("%w", one)} {
		if code, ok := CodeOf(err); ok {
			t.Errorf("%#v has the code %s", err, code)
		}
	}
}

func TestCodesAreUniqueAndWellFormed(t *testing.T) {
	seen := map[Code]bool{}
	for _, c := range Codes() {
		if seen[c] || !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(string(c)) {
			t.Errorf("%q is there twice or not lower-case words", c)
		}
		seen[c] = true
	}
}

// Every `Err… = Code("…")` in the source of the package is in Codes: tables made from it are complete.
func TestCodesListsEveryCode(t *testing.T) {
	declared := declaredCodes(t)
	listed := Codes()
	for name, code := range declared {
		if !slices.Contains(listed, code) {
			t.Errorf("%s is not in Codes()", name)
		}
	}
	if len(declared) != len(listed) {
		t.Errorf("%d codes are declared, %d listed", len(declared), len(listed))
	}
}

func declaredCodes(t *testing.T) map[string]Code {
	t.Helper()
	files := token.NewFileSet()
	packages, err := parser.ParseDir(files, ".", func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0) //nolint:staticcheck // no build tags here
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]Code{}
	ast.Inspect(packages["events"], func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			if !strings.HasPrefix(name.Name, "Err") || i >= len(spec.Values) {
				continue
			}
			call, ok := spec.Values[i].(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				t.Errorf("%s is not declared as Code(…)", name.Name)
				continue
			}
			text, err := strconv.Unquote(call.Args[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared[name.Name] = Code(text)
		}
		return true
	})
	if len(declared) < 20 {
		t.Fatalf("only %d codes were found in the source", len(declared))
	}
	return declared
}
