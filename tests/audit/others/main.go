// Others puts questions to verifiers that Custody's authors did not write: Go's sumdb/note and sumdb/tlog,
// and Go's ML-DSA. One question a line (JSON) on standard input, one answer a line on standard output;
// an answer without "refused" says that the verifier accepted.
package main

import (
	"bufio"
	"crypto/mldsa"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Height of the tiles: 256 hashes, as C2SP tlog-tiles demands.
const height = 8

// The only first line of a tree that tlog.ParseTree reads; ours names another log.
const goTree = "go.sum database tree"

type question struct {
	Ask       string   // which of the functions below
	Note      string   // a signed note
	Keys      []string // vkeys
	Secret    string   // a secret key, PRIVATE+KEY+…
	Text      string   // a note's text
	Size      int64    // of the tree
	Root      []byte   // of the tree
	Index     int64    // of a leaf
	Entry     []byte   // what is in that leaf
	Path      [][]byte // an inclusion or consistency proof
	Old       int64    // size of the earlier tree
	OldRoot   []byte   // its root
	Folder    string   // with tiles in it
	PublicKey []byte   // of ML-DSA-44
	Seed      []byte   // of ML-DSA-44
	Message   []byte   // what was or is to be signed
	Signature []byte
}

type answer struct {
	Refused   string   `json:"refused,omitempty"`
	Size      int64    `json:"size"`
	Root      []byte   `json:"root,omitempty"`
	Signed    int      `json:"signed"`
	Unknown   int      `json:"unknown"`
	Note      string   `json:"note,omitempty"`
	Path      [][]byte `json:"path,omitempty"`
	PublicKey []byte   `json:"public_key,omitempty"`
	Signature []byte   `json:"signature,omitempty"`
}

func main() {
	ask := map[string]func(question) (answer, error){
		"note":        openNote,
		"sign":        signNote,
		"inclusion":   checkInclusion,
		"consistency": checkConsistency,
		"tiles":       readTiles,
		"ml-dsa":      verifyMLDSA,
		"ml-dsa sign": signMLDSA,
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err) // what cannot be asked must not look like a refusal
		}
		said, err := ask[asked.Ask](asked)
		if err != nil {
			said = answer{Refused: err.Error()}
		}
		if err := out.Encode(said); err != nil {
			panic(err)
		}
	}
}

func openNote(q question) (answer, error) {
	var known []note.Verifier
	for _, key := range q.Keys {
		verifier, err := note.NewVerifier(key)
		if err != nil {
			return answer{}, err
		}
		known = append(known, verifier)
	}
	opened, err := note.Open([]byte(q.Note), note.VerifierList(known...))
	if err != nil {
		return answer{}, err
	}
	origin, rest, _ := strings.Cut(opened.Text, "\n")
	if origin != opened.Sigs[0].Name {
		return answer{}, fmt.Errorf("signed by %s for the log %s", opened.Sigs[0].Name, origin)
	}
	tree, err := tlog.ParseTree([]byte(goTree + "\n" + rest))
	if err != nil {
		return answer{}, err
	}
	return answer{Size: tree.N, Root: tree.Hash[:], Signed: len(opened.Sigs), Unknown: len(opened.UnverifiedSigs)}, nil
}

func signNote(q question) (answer, error) {
	signer, err := note.NewSigner(q.Secret)
	if err != nil {
		return answer{}, err
	}
	signed, err := note.Sign(&note.Note{Text: q.Text}, signer)
	return answer{Note: string(signed)}, err
}

func checkInclusion(q question) (answer, error) {
	root, err := hash(q.Root)
	if err != nil {
		return answer{}, err
	}
	path, err := hashes(q.Path)
	if err != nil {
		return answer{}, err
	}
	return answer{}, tlog.CheckRecord(path, q.Size, root, q.Index, tlog.RecordHash(q.Entry))
}

func checkConsistency(q question) (answer, error) {
	root, err := hash(q.Root)
	if err != nil {
		return answer{}, err
	}
	old, err := hash(q.OldRoot)
	if err != nil {
		return answer{}, err
	}
	path, err := hashes(q.Path)
	if err != nil {
		return answer{}, err
	}
	return answer{}, tlog.CheckTree(path, q.Size, root, q.Old, old)
}

// readTiles proves the entry at q.Index, and growth from q.Old leaves, out of nothing but tiles in a folder,
// each of which tlog authenticates against the root.
func readTiles(q question) (answer, error) {
	root, err := hash(q.Root)
	if err != nil {
		return answer{}, err
	}
	reader := tlog.TileHashReader(tlog.Tree{N: q.Size, Hash: root}, folder(q.Folder))
	again, err := tlog.TreeHash(q.Size, reader)
	if err != nil {
		return answer{}, err
	}
	if again != root {
		return answer{}, fmt.Errorf("the tiles lead to the root %v", again)
	}
	path, err := tlog.ProveRecord(q.Size, q.Index, reader)
	if err != nil {
		return answer{}, err
	}
	if err := tlog.CheckRecord(path, q.Size, root, q.Index, tlog.RecordHash(q.Entry)); err != nil {
		return answer{}, err
	}
	old, err := tlog.TreeHash(q.Old, reader)
	if err != nil {
		return answer{}, err
	}
	growth, err := tlog.ProveTree(q.Size, q.Old, reader)
	if err != nil {
		return answer{}, err
	}
	said := answer{Root: old[:]}
	for _, one := range growth {
		said.Path = append(said.Path, one[:])
	}
	return said, tlog.CheckTree(growth, q.Size, root, q.Old, old)
}

func verifyMLDSA(q question) (answer, error) {
	key, err := mldsa.NewPublicKey(mldsa.MLDSA44(), q.PublicKey)
	if err != nil {
		return answer{}, err
	}
	return answer{}, mldsa.Verify(key, q.Message, q.Signature, nil)
}

func signMLDSA(q question) (answer, error) {
	key, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), q.Seed)
	if err != nil {
		return answer{}, err
	}
	signature, err := key.Sign(nil, q.Message, nil)
	return answer{PublicKey: key.PublicKey().Bytes(), Signature: signature}, err
}

// A folder of tiles by the paths of C2SP tlog-tiles: those of sumdb without the height in them.
type folder string

func (f folder) Height() int { return height }

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
		data, err := os.ReadFile(filepath.Join(string(f), path))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func hash(data []byte) (tlog.Hash, error) {
	var one tlog.Hash
	if copy(one[:], data) != len(data) || len(data) != tlog.HashSize {
		return one, fmt.Errorf("a hash of %d bytes", len(data))
	}
	return one, nil
}

func hashes(all [][]byte) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, data := range all {
		one, err := hash(data)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	return found, nil
}
