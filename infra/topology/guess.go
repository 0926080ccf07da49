package topology

import (
	"slices"
	"strings"
)

// maxGuess bounds the texts that are compared; a longer one is like nothing that is known.
const maxGuess = 100

// didYouMean returns ", did you mean X?" when one of the known words is like the given one, and otherwise nothing.
func didYouMean(word string, known []string) string {
	if best := nearest(word, known); best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}

func nearest(word string, known []string) string {
	if len(word) > maxGuess {
		return ""
	}
	best, least := "", 1+max(2, len(word)/10)
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < least && d < len(k) {
			best, least = k, d
		}
	}
	if best != "" {
		return best
	}
	const enough = 3 // letters that must be the same for one word to be the other's beginning
	for _, k := range known {
		if w := strings.ToLower(word); min(len(w), len(k)) >= enough && (strings.HasPrefix(w, k) || strings.HasPrefix(k, w)) {
			return k
		}
	}
	return ""
}

// distance is how many letters must be added, taken away or changed to make one word the other (Levenshtein's).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
