package main

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// tree is what the rules are applied to: every Go file of every module.
type tree struct {
	layers map[string]layer
	files  []file
}

// file is one Go file and its imports.
type file struct {
	path         string // relative to the root, with slashes
	module       string // "events"
	pkg          string // "tidemark.dev/events/subject"
	test         bool
	externalTest bool // package x_test
	ignored      bool // "//go:build ignore": a program beside the package, not part of it
	imports      []spec
}

type spec struct {
	path string
	line int
}

// ours returns the imports of the project's own packages.
func (f file) ours() []string {
	var out []string
	for _, i := range f.imports {
		if strings.HasPrefix(i.path, domain) {
			out = append(out, i.path)
		}
	}
	return out
}

// readTree reads the import clauses of every module under root. It refuses a tree
// in which a layer's module is missing or empty, and one with a module that is in
// no layer: rules that apply to nothing would always hold.
func readTree(root string) (tree, error) {
	t := tree{layers: map[string]layer{}}
	for _, l := range layers() {
		t.layers[l.name] = l
	}
	if err := onlyKnownModules(root, t.layers); err != nil {
		return tree{}, err
	}
	for _, l := range layers() {
		before := len(t.files)
		if err := t.readModule(root, l.name); err != nil {
			return tree{}, err
		}
		if len(t.files) == before {
			return tree{}, fmt.Errorf("%s has no Go files", filepath.Join(root, l.name))
		}
	}
	return t, nil
}

// onlyKnownModules checks that each layer has its module, and that every other
// go.mod under root is that of the tools, which are outside the workspace.
func onlyKnownModules(root string, known map[string]layer) error {
	for name := range known {
		mod := filepath.Join(root, name, "go.mod")
		text, err := os.ReadFile(mod)
		if err != nil {
			return err
		}
		if line := "\nmodule " + domain + name + "\n"; !strings.Contains("\n"+string(text), line) {
			return fmt.Errorf("%s is not of module %s", mod, domain+name)
		}
	}
	return walk(root, func(at string) error {
		if path.Base(at) != "go.mod" {
			return nil
		}
		dir := path.Dir(at)
		if _, ok := known[dir]; !ok && dir != "scripts/tools" {
			return fmt.Errorf("%s: the module is in no layer", at)
		}
		return nil
	})
}

func (t *tree) readModule(root, module string) error {
	return walk(filepath.Join(root, module), func(at string) error {
		if path.Ext(at) != ".go" {
			return nil
		}
		f, err := readFile(root, path.Join(module, at))
		if err != nil {
			return err
		}
		f.module = module
		t.files = append(t.files, f)
		return nil
	})
}

func readFile(root, at string) (file, error) {
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, filepath.Join(root, filepath.FromSlash(at)), nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return file{}, err
	}
	f := file{
		path: at,
		pkg:  domain + path.Dir(at),
		test: strings.HasSuffix(at, "_test.go"),
	}
	f.externalTest = f.test && strings.HasSuffix(parsed.Name.Name, "_test")
	for _, group := range parsed.Comments {
		for _, c := range group.List {
			f.ignored = f.ignored || c.Pos() < parsed.Package && strings.TrimSpace(c.Text) == "//go:build ignore"
		}
	}
	for _, i := range parsed.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return file{}, fmt.Errorf("%s: import %s: %w", at, i.Path.Value, err)
		}
		f.imports = append(f.imports, spec{path: name, line: set.Position(i.Pos()).Line})
	}
	return f, nil
}

// walk calls visit with the slash path, relative to root, of each file that the go
// command would see: not below testdata, vendor, or a name that begins with a dot
// or an underscore.
func walk(root string, visit func(at string) error) error {
	return filepath.WalkDir(root, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if full == root {
			if !d.IsDir() {
				return errors.New(root + " is not a folder")
			}
			return nil
		}
		name := d.Name()
		hidden := strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
		if d.IsDir() {
			if hidden || name == "testdata" || name == "vendor" || name == "node_modules" {
				return filepath.SkipDir
			}
			return nil
		}
		if hidden {
			return nil
		}
		at, err := filepath.Rel(root, full)
		if err != nil {
			return err
		}
		return visit(filepath.ToSlash(at))
	})
}
