package reconcile

import "context"

// pages reads page after page until one is not full, and looks at each. read gets the last element of the page before; nil: there is none. Without a bound on the work the next page is read while
// one is looked at.
func pages[T any](ctx context.Context, b *budget, full int, read func(last *T) ([]T, error), look func([]T)) error {
	type answer struct {
		page []T
		err  error
	}
	next := make(chan answer, 1)
	var last *T
	for ahead := false; ; {
		done := b.step()
		var a answer
		if ahead {
			a = <-next
		} else {
			a.page, a.err = read(last)
		}
		if a.err != nil {
			return a.err
		}
		more := len(a.page) >= full
		if more {
			last = &a.page[len(a.page)-1]
		}
		if ahead = more && b.share >= 1; ahead {
			go func() {
				var a answer
				a.page, a.err = read(last)
				next <- a
			}()
		}
		look(a.page)
		if err := done(ctx); err != nil || !more {
			if ahead {
				<-next // nobody reads once this has ended
			}
			return err
		}
	}
}
