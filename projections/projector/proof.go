package projector

import (
	"context"
	"fmt"

	"tidemark.dev/projections"
)

// Witness is what another region says that its read model was at the marks that it passed.
type Witness struct {
	Region     string
	Definition string
	Marks      []projections.PartitionMark // of all its partitions together, by rising sequence
}

// SumMarks returns what a read model was at the marks that each of its partitions recorded, by rising sequence. It takes what Store.Marks returns.
func SumMarks(partitions [][]projections.PartitionMark) []projections.PartitionMark {
	if len(partitions) == 0 {
		return nil
	}
	var sums []projections.PartitionMark
	at := make([]int, len(partitions))
	for _, m := range partitions[0] {
		sum := m
		everywhere := true
		for p := 1; p < len(partitions); p++ {
			list := partitions[p]
			for at[p] < len(list) && list[at[p]].Sequence < m.Sequence {
				at[p]++
			}
			if at[p] == len(list) || list[at[p]].Sequence != m.Sequence || list[at[p]].Number != m.Number {
				everywhere = false
				continue
			}
			sum.Documents += list[at[p]].Documents
			sum.Digest = sum.Digest.Add(list[at[p]].Digest)
		}
		if everywhere {
			sums = append(sums, sum)
		}
	}
	return sums
}

// testify compares what a read model was at its marks, those above a sequence, with what other regions say of theirs. One that says the same proves it, whatever others say: two that folded apart
// do not come to the same by mistake.
func testify(finger string, mine []projections.PartitionMark, above uint64, witnesses []Witness) projections.Proof {
	proof := projections.Proof{Result: projections.ProofUnknown, Why: "no other region has a read model of this version"}
	for i := range witnesses {
		w := &witnesses[i]
		if w.Definition != finger {
			continue
		}
		a, b, ok := newestCommon(mine, w.Marks, above)
		switch {
		case !ok:
			if proof.Result == projections.ProofUnknown {
				proof.Why = fmt.Sprintf("there is no mark behind %d that %s has passed too", above, w.Region)
			}
		case a == b:
			return projections.Proof{
				Result: projections.ProofEqual, With: w.Region, Sequence: a.Sequence, Why: fmt.Sprintf("%s had the same %d documents at mark %d", w.Region, a.Documents, a.Number),
			}
		default:
			proof = projections.Proof{
				Result: projections.ProofDifferent, With: w.Region, Sequence: a.Sequence,
				Why: fmt.Sprintf("at mark %d it had %d documents with the digest %s, and %s had %d with %s", a.Number, a.Documents, a.Digest, w.Region, b.Documents, b.Digest),
			}
		}
	}
	return proof
}

// newestCommon returns the newest mark above a sequence that is in both lists.
func newestCommon(a, b []projections.PartitionMark, above uint64) (x, y projections.PartitionMark, ok bool) {
	for i, j := len(a)-1, len(b)-1; i >= 0 && j >= 0 && a[i].Sequence > above; {
		switch {
		case a[i].Sequence > b[j].Sequence:
			i--
		case a[i].Sequence < b[j].Sequence:
			j--
		case a[i].Number != b[j].Number:
			i, j = i-1, j-1
		default:
			return a[i], b[j], true
		}
	}
	return x, y, false
}

// witnesses asks other regions, if anybody can.
func (p *Projector) witnesses(ctx context.Context) []Witness {
	if p.options.Witnesses == nil || p.def.Source != nil {
		return nil
	}
	return p.options.Witnesses(ctx, p.def.Name)
}

// secondFold folds the read model again, in memory and without the store, some partitions at a time, and compares it with what a generation says that it is.
func secondFold(ctx context.Context, v Version, headers []projections.Header) (projections.Proof, error) {
	const most = 500_000 // documents in memory at once
	origin := v.Log.Origin()
	for from := 0; from < len(headers); {
		var surveys []*Survey
		documents := uint64(0)
		for ; from < len(headers) && (len(surveys) == 0 || documents+headers[from].Documents <= most); from++ {
			at, _ := headers[from].Checkpoint.Point(origin)
			surveys = append(surveys, &Survey{Partition: headers[from].Partition, Upto: at.Sequence})
			documents += headers[from].Documents
		}
		if err := FoldPartitions(ctx, v, len(headers), surveys); err != nil {
			return projections.Proof{}, err
		}
		for _, s := range surveys {
			h := &headers[s.Partition]
			if h.Digest != s.Digest || h.Documents != uint64(len(s.Documents)) {
				return projections.Proof{
					Result: projections.ProofDifferent, With: "a second fold", Sequence: s.Upto,
					Why: fmt.Sprintf("partition %d has %d documents, and folding it a second time makes %d", s.Partition, h.Documents, len(s.Documents)),
				}, nil
			}
		}
	}
	at, _ := headers[0].Checkpoint.Point(origin)
	return projections.Proof{Result: projections.ProofEqual, With: "a second fold", Sequence: at.Sequence, Why: "folding it a second time made the same"}, nil
}
