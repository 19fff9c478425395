#!/usr/bin/env python3
"""Executable model of the merge rules (docs/merging.md), with an oracle.

The merge is a function of three contents: ancestor (several nearest common ones folded), base, orphan. Random peers edit texts,
members, subtrees, plain lists, lists with ids, lists of nameless objects; delete, empty and make again files; re-format documents;
sync over a hub or a mesh and lose one side's commit now and then. Scalars and words are unique: each is a fact that is put in and
taken out. The oracle looks at each merge and at the one tip left:
  - every edit is reachable; a fact that nobody took out is there once, where it was put; one that was taken out wherever it was put
    in is gone; else a recorded conflict names it. Lines and elements of plain lists are never lost or doubled at all;
  - of two documents that parse the merge parses; merge(a, x, a) = merge(a, a, x) = merge(a, x, x) = x, byte for byte;
  - each conflict has three different values; polite peers, who touch only what is theirs, have none.

merge_model.py run [RUNS] [SEED]      RUNS histories per setting from SEED on; prints violations, exit 1 if there are any
merge_model.py frames RUNS SEED       prints RUNS random histories, a line of JSON each step: a seed, the frame of an edit, or two
                                      tips and the merge of them, with the addresses that ibgibs have. tests/model.rs plays them
merge_model.py golden < merging.md    prints the table of examples as the model has it; exit 1 if a row says something else
"""
import functools, hashlib, itertools, json, random, re, sys
from collections import Counter, namedtuple
sys.setrecursionlimit(10000)
CELLS_MAX = 4_000_000   # cells of one LCS table, after common ends and lines that stand once on each side are taken
DEPTH_MAX = 64          # levels of a document; what is deeper is one value
FOLDS_MAX = 64          # folds of several nearest ancestors in one merge; sets of ancestors beyond count as their first frame
IDS = ('id', 'uuid', 'key')
TRIVIA = re.compile(r'(?:[ \t\r\n]|//[^\n]*(?:\n|\Z)|/\*.*?\*/)*', re.S)
TOKEN = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
                   r'|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null|[][{},:]')
WORD = re.compile(r'[A-Za-z0-9_\x80-\U0010ffff]+|.', re.S)
SURROGATE = re.compile('[\ud800-\udfff]')
class TooBig(Exception): pass
def quoted(text): return json.dumps(text, ensure_ascii=False)

# -- documents ------------------------------------------------------------------------------------------------------
Kid = namedtuple('Kid', 'name lead key node trail nth', defaults=[0])  # nth of that name; lead: white space and comments before it; key: `"k" : ` as written
Doc = namedtuple('Doc', 'lead node tail')

class Node:
    """kind: 's' a scalar (or what is too deep), 'o' an object, 'l' a list. canon tells equal values, whatever their layout."""
    __slots__ = ('kind', 'raw', 'kids', 'close', 'canon', 'src')
    def __init__(self, kind, raw='', kids=(), close='', src=''):
        self.kind, self.raw, self.kids, self.close, self.src = kind, raw, list(kids), close, src or raw
        if kind == 's':
            self.canon = json.dumps(json.loads(raw)) if raw[0] == '"' else raw
        else:
            parts = [json.dumps([k.name, k.nth]) + k.node.canon for k in self.kids]
            self.canon = kind + hashlib.sha256('\n'.join(sorted(parts) if kind == 'o' else parts).encode()).hexdigest()[:24]
    def __str__(self):
        inner = ','.join(k.lead + k.key + str(k.node) + k.trail for k in self.kids) + self.close
        return self.raw if self.kind == 's' else '{' + inner + '}' if self.kind == 'o' else '[' + inner + ']'

@functools.lru_cache(50000)
def parse(text):
    """The document, or None: no JSON, or no object or list. Comments count as white space; a name may repeat."""
    def gap(i):
        j = TRIVIA.match(text, i).end()
        return text[i:j], j
    def token(i, among=None):
        m = TOKEN.match(text, i)
        if not m or among and m.group() not in among:
            raise ValueError(i)
        return m.group(), m.end()
    def member(i):
        t, j = token(i)
        if t[0] != '"':
            raise ValueError(i)
        return gap(token(gap(j)[1], ':')[1])[1]
    def value(i, depth):
        t, j = token(i)
        if t not in '{[':
            return Node('s', t if t not in '}],:' else token(i, '"')[0]), j
        if depth > DEPTH_MAX:
            ends = []
            while True:  # the same grammar, however deep
                t, j = token(j) if ends else (t, j)
                if t in '{[':
                    ends.append('}]'[t == '['])
                    j = gap(j)[1]
                    if text[j:j + 1] != ends[-1]:
                        j = member(j) if ends[-1] == '}' else j
                        continue
                elif t in '}],:':
                    raise ValueError(j)
                while ends:
                    t, j = token(gap(j)[1], ',' + ends[-1])
                    if t == ',':
                        j = member(gap(j)[1]) if ends[-1] == '}' else gap(j)[1]
                        break
                    ends.pop()
                if not ends:
                    break
            return Node('s', text[i:j]), j
        kind, end, kids, seen = ('o', '}', [], Counter()) if t == '{' else ('l', ']', [], None)
        lead, j = gap(j)
        if text[j:j + 1] == end:
            return Node(kind, close=lead, src=text[i:j + 1]), j + 1
        while True:
            name, nth, start = '', 0, j
            if kind == 'o':
                t, j = token(j)
                name = json.loads(t) if t[0] == '"' else token(i, '"')  # the latter fails
                nth, seen[name] = seen[name], seen[name] + 1
                j = gap(token(gap(j)[1], ':')[1])[1]
            key = text[start:j]
            node, j = value(j, depth + 1)
            trail, j = gap(j)
            t, j = token(j, ',' + end)
            if t == end:
                return Node(kind, kids=kids + [Kid(name, lead, key, node, '', nth)], close=trail, src=text[i:j]), j
            kids.append(Kid(name, lead, key, node, trail, nth))
            lead, j = gap(j)
    try:
        bom = '\ufeff' * (text[:1] == '\ufeff')
        lead, i = gap(len(bom))
        node, i = value(i, 1)
        tail, end = gap(i)
    except ValueError:
        return None
    return Doc(bom + lead, node, tail) if node.kind != 's' and end == len(text) else None

# -- sequences ------------------------------------------------------------------------------------------------------
@functools.lru_cache(200000)
def lcs(a, b):
    """Matched index pairs of a longest common subsequence. Ends first; of two ways the one that skips an item of a."""
    n, m, p, q = len(a), len(b), 0, 0
    while p < min(n, m) and a[p] == b[p]:
        p += 1
    while q < min(n, m) - p and a[n - 1 - q] == b[m - 1 - q]:
        q += 1
    s, t = a[p:n - q], b[p:m - q]
    if len(s) * len(t) > CELLS_MAX:  # the engine first splits at items that stand once on each side (lcs.rs)
        raise TooBig
    d = [[0] * (len(t) + 1) for _ in range(len(s) + 1)]
    for i in range(len(s) - 1, -1, -1):
        for j in range(len(t) - 1, -1, -1):
            d[i][j] = d[i + 1][j + 1] + 1 if s[i] == t[j] else max(d[i + 1][j], d[i][j + 1])
    r, i, j = [(k, k) for k in range(p)], 0, 0
    while i < len(s) and j < len(t):
        if s[i] == t[j]:
            r.append((p + i, p + j))
            i, j = i + 1, j + 1
        elif d[i + 1][j] >= d[i][j + 1]:
            i += 1
        else:
            j += 1
    return tuple(r + [(n - q + k, m - q + k) for k in range(q)])

def merge_seq(a, b, o, collapse, join=None, again=()):
    """Merges lists of hashable items. Returns places (index in a, b, o or None, joined) and the ranges in conflict.
    An item of the ancestor stays iff both keep it; what was put in a gap is base's, then orphan's, once if the same. An item
    unique in the ancestor, taken out and put in again by one side, is a move: a delete wins over it, of two moves the base's
    stands. Where both replaced, what both have in common stands once. `collapse`: the same item put in by both anywhere is one. Without ancestor (None) the ancestor is what both
    have in common. An item replaced one for one on both sides is joined if `join` can. `again`: ranges of the ancestor, places of
    conflicts that both sides settled. With the runs that overlap it each is a region, and what a side kept there counts as put in."""
    two_way = a is None
    if two_way:
        pairs = lcs(b, o)
        a, pairs_b, pairs_o = tuple(b[i] for i, _ in pairs), [(n, i) for n, (i, _) in enumerate(pairs)], [(n, j) for n, (_, j) in enumerate(pairs)]
    else:
        pairs_b, pairs_o = lcs(a, b), lcs(a, o)
    ca, cb, co = Counter(a), Counter(b), Counter(o)
    def read(side, pairs):
        gaps, hunks, instead, i, j = {}, [], {}, 0, 0
        for x, y in list(pairs) + [(len(a), len(side))]:
            if i == x:
                gaps[i - 1, 1] = list(range(j, y))  # put in between two items that were kept
            else:
                hunks.append((i, x, j, y))  # stands instead of the ancestor's items i to x: one for one, or all at the last
                instead.update(zip(range(i, x), range(j, y)) if x - i == y - j else ())
                gaps.update({(k, 0): [instead[k]] for k in range(i, x)} if x - i == y - j else {(x - 1, 0): list(range(j, y))})
            i, j = x + 1, y + 1
        return dict(pairs), gaps, hunks, instead
    kept_b, gaps_b, hunks_b, instead_b = read(b, pairs_b)
    kept_o, gaps_o, hunks_o, instead_o = read(o, pairs_o)
    moved_b = {x for i, x in enumerate(a) if ca[x] == 1 and i not in kept_b and cb[x] == 1}
    moved_o = {x for i, x in enumerate(a) if ca[x] == 1 and i not in kept_o and co[x] == 1}
    drop_b = {x for x in moved_b if co[x] == 0}
    drop_o = {x for x in moved_o if cb[x] == 0} | (moved_b & moved_o)
    fresh_b, fresh_o = [Counter(side[j] for g in gaps.values() for j in g) for side, gaps in ((b, gaps_b), (o, gaps_o))]
    twice = {x: min(fresh_b[x], fresh_o[x]) for x in fresh_b if collapse and (two_way or ca[x] == 0)}
    new = lambda x, y: ca[x] + co[x] + ca[y] + cb[y] == 0  # what only one side has
    both = [i for i in instead_b if join and i in instead_o and not any(i in r for r in again) and a[i] not in moved_b | moved_o and new(b[instead_b[i]], o[instead_o[i]])]
    joined = {i: x for i, x in ((i, join(i, instead_b[i], instead_o[i])) for i in both) if x is not None}
    for i in joined:  # counts as kept
        kept_b[i], kept_o[i] = instead_b[i], instead_o[i]
        del gaps_b[i, 0], gaps_o[i, 0]
    cut = lambda x, y, j, n: [list(g) for gone, g in itertools.groupby(range(x, y), joined.__contains__) if not gone]
    hunks_b, hunks_o = [[(g[0], g[-1] + 1, h[2] + g[0] - h[0], h[3] + g[-1] + 1 - h[1]) for h in hunks for g in cut(*h)]
                        for hunks in (hunks_b, hunks_o)]
    regions, clashes = [], []  # what both replaced or took out: overlapping runs, and what lies between them
    for (x, y, bi, bj), (u, v, oi, oj) in itertools.product(hunks_b, hunks_o):
        if any(a[i] not in moved_b | moved_o for i in range(max(x, u), min(y, v))):
            new = [range(min(x, u), max(y, v)), range(bi, bj), range(oi, oj)]
            if regions and regions[-1][0].stop > new[0].start:
                new = [range(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(regions.pop(), new)]
            regions.append(new)
    forced, hunks = set(), [range(h[0], h[1]) for h in hunks_b + hunks_o]
    for at in again:
        grown = None
        while grown != at:  # with everything that overlaps
            at, grown = grown or at, functools.reduce(lambda r, h: range(min(r.start, h.start), max(r.stop, h.stop)) if meet(r, h) else r, hunks + list(again), grown or at)
        forced |= {at} if any(meet(at, h) for h in hunks) else set()
    held = {a[k] for at in forced for k in at} & (drop_b | drop_o - moved_b)
    drop_b, drop_o = drop_b - held, drop_o - held  # of what is settled again a delete does not win over a move
    regions = sorted([r for r in regions if not any(meet(r[0], f) for f in forced)] + [[f, (), ()] for f in forced], key=lambda r: r[0].start)
    for at, *runs in regions:
        for n, kept, gaps in ((0, kept_b, gaps_b), (1, kept_o, gaps_o)):
            put, own = [], [kept[i] for i in at if i in kept]
            for k, after in [(k, after) for k in at for after in (0, 1)][:-1]:
                put += [kept[k]] if at in forced and not after and k in kept and a[k] not in moved_b | moved_o else []
                put += gaps.pop((k, after), ())
            gaps[at[-1], 0], own = put, put + own
            runs[n] = range(min(own), max(own) + 1) if own else ()
        for kept in (kept_b, kept_o) if at in forced else ():
            for k in at:
                kept.pop(k, None)
        new_b, new_o = [[side[j] for j in gaps[at[-1], 0]] for side, gaps in ((b, gaps_b), (o, gaps_o))]
        clashes += [[at, *runs]] if new_b != new_o or at in forced and held & {a[k] for k in at} else []
    out, places = [], []
    for k, after in [(k, after) for k in range(-1, len(a)) for after in (0, 1)]:
        gap_b, gap_o = gaps_b.get((k, after), []), gaps_o.get((k, after), [])
        if [b[j] for j in gap_b] != [o[j] for j in gap_o]:
            gap_b, gap_o = [j for j in gap_b if b[j] not in drop_b], [j for j in gap_o if o[j] not in drop_o]
        new_b, new_o = tuple(b[j] for j in gap_b), tuple(o[j] for j in gap_o)
        same = lcs(new_b, new_o) if new_b == new_o or not after else ()  # replaced on both: what both have stands once
        for u, _ in same:
            twice[new_b[u]] = twice.get(new_b[u], 0) - 1
        places.append((k, after, gap_b, gap_o, same))
    for k, after, gap_b, gap_o, same in places:
        if not after and k in kept_b and k in kept_o:
            out.append((k, kept_b[k], kept_o[k], joined.get(k)))
        p, q = 0, 0
        for u, v in same + ((len(gap_b), len(gap_o)),):
            own = []
            for j in gap_o[q:v]:
                own, twice[o[j]] = own + [j] * (twice.get(o[j], 0) <= 0), twice.get(o[j], 0) - 1
            out += [(None, j, None, None) for j in gap_b[p:u]] + [(None, None, j, None) for j in own]
            out += [(None, gap_b[u], gap_o[v], None)] if u < len(gap_b) and v < len(gap_o) else []
            if two_way and gap_b[p:u] and own:
                clashes.append([None, gap_b[p:u], own])
            p, q = u + 1, v + 1
    return out, clashes

def meet(r, s): return r.start < s.stop and s.start < r.stop
TEXTS = {'/data/t', '/data/j', '/data/text'}
def took(b, o, sides):
    """Whether one of two objects lacks a member that the other has as one of the sides had it, here or inside."""
    member = lambda n, k: next((m.node for m in n.kids if (m.name, m.nth) == (k.name, k.nth)), None)
    for k in [k for s in sides if s and s.kind == b.kind == o.kind == 'o' for k in s.kids]:
        nb, no = member(b, k), member(o, k)
        if nb and no and took(nb, no, [k.node]) or (nb or no) and not (nb and no) and (nb or no).canon == k.node.canon:
            return True
    return False
def find(items, base, orphan, strict=False):
    """Where the merge of two sides stands in items, once: its range in a list, else none."""
    try:
        both = tuple(base[j] if j is not None else orphan[k] for _, j, k, _ in merge_seq(None, tuple(base), tuple(orphan), True)[0])
    except TooBig:
        return []
    at = [i for i in range(len(items) + 1 - len(both)) if both and tuple(items[i:i + len(both)]) == both]
    if len(at) == 1: return [range(at[0], at[0] + len(both))]
    if strict: return []
    n = Counter(items)
    return [range(i, i + 1) for i, x in enumerate(items) if n[x] == 1 and x in both]

# -- contents -------------------------------------------------------------------------------------------------------
class Merge:
    def __init__(self, several=False, known=None):
        """known: what is told by the stones that frames have."""
        self.several, self.known, self.stones, self.settled, self.quick = several, known or {}, [], {}, True
    def settled_at(self, path):
        return [told for told in self.settled.values() if told[0] == path]
    def below(self, path):
        """Whether both sides settled a conflict there or inside."""
        return any(told[0].startswith(path) and told[0][len(path):len(path) + 1] in ('', '/', '#') for told in self.settled.values())
    def again(self, path):
        """What a new conflict is, too: one that both settled."""
        return min((stone for stone, told in self.settled.items() if told[0].startswith(path)), default=None)
    def whole(self, path, three, read=lambda v: v, full=lambda v: False):
        """Whether both sides settled a conflict of this very value differently. It stands in the ancestor as one of the two had it,
        now they differ: what is `full` on both sides was edited since, and merges, unless each has what one of the two had."""
        a, b, o = three
        for told in self.settled_at(path) if a is not None and b != o else ():
            sides = [v and read(v) for v in told[2:]]
            both = full(b) and full(o)
            if {a, b, o} & set(sides) and not both or both and {b, o} == set(sides):
                return True
        return False
    def taken(self, path, b, o, read):
        """Whether both settled a conflict of this very value, and one took from it what the other kept."""
        return b is not None and o is not None and any(took(b, o, [v and read(v) for v in told[2:]]) for told in self.settled_at(path))
    def choose(self, path, a, b, o, chosen=None):
        """Records a conflict."""
        self.stones.append((path,) + tuple(None if v is None else str(v) for v in (a, b, o)))
        return chosen
    def files(self, a, b, o):
        had, *have = [json.loads(x.get('conflict', '[]')) for x in (a, b, o)]
        had += json.loads(a.get('found', '[]'))
        self.settled = {x: self.known[x] for x in had if x not in have[0] + have[1]}
        out = {}
        for name in sorted((set(b) | set(o)) - {'found'}):
            rule = {'ib': self.ib, 'value': self.value, 'conflict': self.relation}.get(name, self.file)
            out[name] = rule(a.get(name), b.get(name), o.get(name), {'ib': '/ib'}.get(name, '/data/' + name))
        return {name: v for name, v in out.items() if v is not None}
    def ib(self, a, b, o, path):
        again = self.whole(path, (a, b, o))
        return (o if a == b else b) if not again and (b in (a, o) or a == o) else self.choose(path, a, b, o, b)
    def relation(self, a, b, o, path):
        """Addresses, as JSON. Never in conflict."""
        a, b, o = [v and tuple(json.loads(v)) for v in (a, b, o)]
        b, o = b or (), o or ()
        places = merge_seq(a, b, o, True)[0]
        return json.dumps([b[j] if j is not None else o[k] for _, j, k, _ in places]) if places else None
    def value(self, a, b, o, path):
        """A member of data, written as the hash reads it."""
        if b == o or a in (b, o) and not self.below(path):
            return o if a == b else b
        node = self.tree(*(None if v is None else parse(v).node for v in (a, b, o)), path)
        return None if node is None else canonical(parse(str(node)).node)
    def file(self, a, b, o, path):
        again = self.whole(path, (a, b, o), full=lambda v: bool(v) and path != '/data/blob')
        root = lambda v: (doc := parse(v or '')) and doc.node
        if not again and a is not None and b != o and self.taken(path, root(b), root(o), root):
            self.choose(path, a, b, o)  # they merge all the same
        if b == o or a in (b, o) and not (again or self.below(path) and None not in (b, o)):
            return o if a == b else b
        if b is None or o is None:  # deleted here, edited there, if there was an ancestor
            return self.choose(path, a, b, o, o if b is None else b) if a is not None else o if b is None else b
        if again or path == '/data/blob':
            return self.choose(path, a, b, o, b or o)
        da, db, do = parse(a or ''), parse(b), parse(o)
        if db and do:
            node = self.tree(da and da.node, db.node, do.node, path + '#')
            return pick(da and da.lead, db.lead, do.lead) + str(node) + pick(da and da.tail, db.tail, do.tail)
        return self.text(a, b, o, path, self.settled_lines(a, b, o, path, str))
    def text(self, a, b, o, path, again, show=lambda text: text):
        """Merges lines. An empty ancestor says as much as none."""
        a_told, b_told, o_told = [v and show(v) for v in (a, b, o)]
        la, lb, lo = map(lines_of, (a, b, o))
        if b == o or a in (b, o) and not again:
            return o if a == b else b
        join = lambda i, j, k: by_words(la[i], lb[j], lo[k])
        try:
            places, clashes = merge_seq(la, lb, lo, self.several, join, again) if a else merge_seq(None, lb, lo, True)
        except TooBig:
            self.choose(path, a_told, b_told, o_told)
            return b
        if a and clashes and not (b and o):  # emptied here, edited there
            self.choose(path, a_told, show(b), show(o))
            return b or o
        for c in clashes:
            self.choose(path, *(None if r is None else show('\n'.join(side[i] for i in r)) for side, r in zip((la, lb, lo), c)))
        lines = [x if x is not None else lb[j] if j is not None else lo[k] for _, j, k, x in places]
        ends = [t[-1] == '\n' for t in (b, o) if t]
        end = ends[0] if len(set(ends)) == 1 or not a else not a.endswith('\n')  # the last line's end is its own change
        return '\n'.join(lines) + '\n' * bool(end and lines)
    def tree(self, a, b, o, path):
        """Three values, None where there is none. Deleted here and edited there: the edited one stands whole."""
        below, again = a is not None and self.below(path), []
        if below and a.kind == 'l' and b is not None and o is not None and b.kind == o.kind == 'l':
            again = self.settled_items([k.node.canon for k in a.kids], path)
        text = all(n is not None and n.kind == 's' and n.raw[0] == '"' for n in (a, b, o)) and '\n' in json.loads(a.raw) \
            and not any(SURROGATE.search(json.loads(n.raw)) for n in (a, b, o))
        lines = self.settled_lines(*(json.loads(n.raw) for n in (a, b, o)), path, json.loads) if below and text else []
        canon = [n and n.canon for n in (a, b, o)]
        full = {n.canon for n in (b, o) if n and n.kids} if b and o and b.kind == o.kind else ()
        if below and not again and not lines and self.whole(path, canon, lambda v: json_node(v).canon, full.__contains__):
            return self.choose(path, a, b, o, b if b and (b.kids or not (o and o.kids)) else o)
        if below and canon[1] != canon[2] and self.taken(path, b, o, json_node):
            self.choose(path, a, b, o)  # they merge all the same
        if self.quick and not below and None not in (a, b, o) and a.src and a.src in (b.src, o.src):
            return o if a.src == b.src else b  # the same bytes: for speed only
        if b is None or o is None:
            live = o if b is None else b
            if a is None or live is None or a.canon == live.canon:
                return live if a is None else None
            return self.choose(path, a, b, o, live)
        if b.kind == o.kind != 's':
            like = a if a is not None and a.kind == b.kind else None
            if b.kind == 'o' and like and bool(b.kids) != bool(o.kids):  # emptied here, edited there
                live, old = b if b.kids else o, {(k.name, k.nth): k.node.canon for k in like.kids}
                if any(k.node.canon != old.get((k.name, k.nth), k.node.canon) for k in live.kids):
                    return self.choose(path, a, b, o, live)
            return self.container(like, b, o, path, again)
        if b.canon == o.canon:
            return Node('s', pick(a and a.raw, b.raw, o.raw))
        if a is not None and a.canon in (b.canon, o.canon) and not lines:
            return o if b.canon == a.canon else b
        if text:
            return Node('s', quoted(self.text(*(json.loads(n.raw) for n in (a, b, o)), path, lines, quoted)))
        return self.choose(path, a, b, o, o if a is not None and a.kind == o.kind != 's' else b)  # edited inside beats replaced
    def settled_items(self, items, path):
        """Where conflicts of a list's elements stand that both sides settled."""
        out = []
        for at, _, *sides in [told for told in self.settled.values() if path in (told[0], told[0].rpartition('/')[0])]:
            nodes = [None if v is None else json_node(v) for v in sides]
            if at == path and all(n is None or n.kind == 'l' for n in nodes):
                out += find(items, *([k.node.canon for k in n.kids] if n else [] for n in nodes))
            elif at.rpartition('/')[0] == path:  # one id, put in by both
                out += find(items, *([n.canon] if n else [] for n in nodes))
        return out
    def settled_lines(self, text, b, o, path, read):
        """The same for lines. Where the whole text was in conflict with an empty one it is the place, if one side kept nothing of it."""
        sides = [[v and read(v) for v in told[2:]] for told in self.settled_at(path)] if text else ()
        sides = [two for two in sides if all(v is None or isinstance(v, str) for v in two)]
        out = [r for two in sides if text not in two for r in find(lines_of(text), *map(lines_of, two))]
        kept = [bool(set(lines_of(text)) & set(lines_of(x)) - {''}) for x in (b, o) if x]
        return out + [range(len(lines_of(text)))] if set(kept) == {True, False} and any(not all(two) for two in sides) else out
    def container(self, a, b, o, path, again=()):
        sides = [n for n in (a, b, o) if n is not None]
        name = (lambda k: (k.name, k.nth)) if b.kind == 'o' else None if again else id_of(sides)
        try:
            kids = self.by_name(a, b, o, path, name) if name else self.by_item(a, b, o, path, again)
        except TooBig:
            return self.choose(path, a, b, o, b)
        out = []
        for node, i, j, k in kids:
            near = [n.kids[x] if x is not None else None for n, x in ((a, i), (b, j), (o, k))]
            leads = [None if kid is None else lead(n, x, not out) for kid, n, x in zip(near, (a, b, o), (i, j, k))]
            part = lambda f: pick(*(kid and getattr(kid, f) for kid in near))
            out.append(Kid(part('name'), pick(*leads), part('key'), node, part('trail')))
        close = pick(*(n.close if n is not None and bool(n.kids) == bool(out) else None for n in (a, b, o)))
        return Node(b.kind, kids=out, close=close or '')
    def by_name(self, a, b, o, path, name):
        """Members of an object, elements with ids: each name by itself; the order merges, too, but is no conflict."""
        A, B, O = [{name(k): i for i, k in enumerate(n.kids)} if n is not None else {} for n in (a, b, o)]
        out = {}
        for x in list(B) + [x for x in O if x not in B]:
            i, j, k = A.get(x), B.get(x), O.get(x)
            na, nb, no = [n.kids[p].node if p is not None else None for n, p in ((a, i), (b, j), (o, k))]
            step = x[0] if b.kind == 'o' else json.loads(x[0]) if x[0][0] == '"' else x[0]
            at = path + '/' + step.replace('~', '~0').replace('/', '~1')
            if b.kind == 'l' and a is not None and na is None and nb and no and nb.canon != no.canon:
                self.choose(at, None, nb, no)  # one id, two new elements: both stay
                out[x], out[x[0], 1] = (nb, None, j, None), (no, None, None, k)
                continue
            out[x] = (self.tree(na, nb, no, at), i, j, k)
        out = {x: kid for x, kid in out.items() if kid[0] is not None}
        B, O = tuple(B), tuple((y[0], 1) if b.kind == 'l' and (y[0], 1) in out else y for y in O)
        try:
            order = [B[j] if j is not None else O[k] for _, j, k, _ in merge_seq(tuple(A) if a is not None else None, B, O, True)[0]]
        except TooBig:
            order = list(B)
        order, placed = [x for x in order if x in out], set(order)
        for side in (B, O):
            for n, x in enumerate(side):
                if x in out and x not in placed:  # kept because it was edited: after what stood before it
                    before = [order.index(y) for y in side[:n] if y in order]
                    order.insert(before[-1] + 1 if before else 0, x)
                    placed.add(x)
        return [out[x] for x in order]
    def by_item(self, a, b, o, path, again):
        """Elements without ids are items as lines are."""
        ka, kb, ko = [None if n is None else tuple(k.node.canon for k in n.kids) for n in (a, b, o)]
        def join(i, j, k):
            three, inner = [n.kids[x].node for n, x in ((a, i), (b, j), (o, k))], Merge(self.several)
            inner.quick = self.quick  # what stands inside an element without a name has no place of its own
            node = inner.tree(*three, path) if len({n.kind for n in three}) == 1 and three[0].kind != 's' else None
            return None if inner.stones else node
        places, clashes = merge_seq(ka, kb, ko, True, a is not None and join, again)
        show = lambda n, r: None if r is None else '[' + ','.join(str(n.kids[i].node) for i in r) + ']'
        for c in clashes:
            self.choose(path, *(show(n, r) for n, r in zip((a, b, o), c)))
        out = []
        for i, j, k, x in places:
            if x is None and j is not None and k is not None:  # equal but for the layout
                x = self.tree(a.kids[i].node if i is not None and a is not None else None, b.kids[j].node, o.kids[k].node, path)
            out.append((x or (b.kids[j] if j is not None else o.kids[k]).node, i if a is not None else None, j, k))
        return out

def lines_of(text): return tuple(text.removesuffix('\n').split('\n')) if text else ()
def json_node(text): return parse('[%s]' % text).node.kids[0].node
def pick(a, b, o):  # layout: what was changed; base's if both changed it
    return o if b is None or b == a and o is not None else b
def lead(n, x, first):
    """White space before a child of n, for a place that is the first or not."""
    own, other = n.kids[x].lead, n.kids[0 if first else min(1, len(n.kids) - 1)].lead
    return own if (x == 0) == first or (own + other).strip() else other
def id_of(lists):
    """How to name elements: by the first of IDS that every element of every side has, without repeats."""
    for name in IDS:
        get = lambda kid, name=name: next(((k.node.canon, 0) for k in kid.node.kids if k.name == name and k.nth == 0 and k.node.kind == 's'), None)
        ids = [[get(k) for k in n.kids] for n in lists]
        if any(ids) and all(None not in i and len(set(i)) == len(i) for i in ids):
            return get
    return None
def by_words(a, b, o):
    """A line replaced on both sides, if every word of the ancestor's survives on both."""
    a, b, o = [tuple(WORD.findall(x)) for x in (a, b, o)]
    inside = lambda side: all(w in rest for rest in [iter(side)] for w in a)
    try:
        merged = merge_seq(a, b, o, False)[0] if a and inside(b) and inside(o) else None
    except TooBig:
        return None
    return merged and ''.join(b[j] if j is not None else o[k] for _, j, k, _ in merged)

def canonical(node, sort=True):
    """As the hash reads a value: without layout, members outside lists sorted (names here are no array indices)."""
    if node.kind == 's':
        return quoted(json.loads(node.raw)) if node.raw[0] == '"' else node.raw.removesuffix('.0')
    kids = sorted(node.kids, key=lambda k: k.name.encode('utf-16-be')) if node.kind == 'o' and sort else node.kids
    inner = [(quoted(k.name) + ':') * (node.kind == 'o') + canonical(k.node, sort and node.kind == 'o') for k in kids]
    return '{%s}' % ','.join(inner) if node.kind == 'o' else '[%s]' % ','.join(inner)

# -- frames and ancestry ----------------------------------------------------------------------
Frame = namedtuple('Frame', 'id n files past orphan merge put taken stones')
class World:
    def __init__(self):
        self.frames, self.anc, self._join, self._fold, self.bad, self.count, self.told, self.away = {}, {}, {}, {}, Counter(), Counter(), {}, {}
    def put(self, n, files, past, orphan, stones=()):
        i = hashlib.sha256(json.dumps([n, sorted(files.items()), past, orphan]).encode()).hexdigest()[:12]
        if i not in self.frames:
            now, was = facts(files), facts(self.frames[past].files) if past else Counter()
            put, taken = (set(), set()) if orphan else (set(now) - set(was), set(was) - set(now))
            self.frames[i] = Frame(i, n, files, past, orphan, orphan is not None, put, taken, stones)
            self.anc[i] = frozenset({i}).union(*(self.anc[p] for p in (past, orphan) if p))
        return i
    def edits(self, i): return frozenset(x for x in self.anc[i] if not self.frames[x].merge)
    def key(self, i): return (self.frames[i].n, i)
    def maximal(self, frames):
        rest = set(frames)
        for x in list(rest):
            rest -= self.anc[x] - {x}
        return tuple(sorted(rest, key=self.key, reverse=True))
    def below(self, frames):
        """For each frame but the first the nearest common ancestors of it and those before it."""
        return [self.maximal(frozenset().union(*(self.anc[f] for f in frames[:i])) & self.anc[c]) for i, c in enumerate(frames) if i]
    def ancestor(self, nearest):
        """Files of the nearest common ancestors, several of them folded into one by the same merge, recursively."""
        sets, order, folds = {}, [nearest], 0
        for x in order:  # the sets next to the merge first; what is beyond FOLDS_MAX counts as its first frame
            more = len(x) - 1
            sets[x] = (x, self.below(x)) if folds + more <= FOLDS_MAX else (x[:1], [])
            folds += more if folds + more <= FOLDS_MAX else 0
            order += [y for n, y in enumerate(sets[x][1]) if y not in order and y not in sets[x][1][:n]]
        cut = any(len(x) > len(sets[x][0]) for x in order)
        self.count['cut'] += cut
        known = {} if cut else self._fold
        def fold(x):
            if x not in known:
                frames, below = sets[x]
                known[x] = self.frames[frames[0]].files
                for c, y in zip(frames[1:], below):
                    merge, found = Merge(True, self.told), json.loads(known[x].get('found', '[]'))
                    known[x] = merge.files(fold(y), known[x], self.frames[c].files)
                    # A conflict that the ancestor has. Not lines: to those of a text the others' merges added more.
                    new = self.relate({}, tuple(s + (merge.again(s[0]),) for s in merge.stones if s[0] not in TEXTS)).get('conflict', '[]')
                    known[x] = dict(known[x], found=json.dumps(found + json.loads(new)))
                    self.count['folds'] += 1
            return known[x]
        return fold(nearest)
    def join(self, x, y):
        """The tip that a sync of tips x and y leaves on both sides."""
        x, y = sorted((x, y), key=self.key, reverse=True)
        if (x, y) not in self._join:
            ex, ey = self.edits(x), self.edits(y)
            self._join[x, y] = x if ey <= ex else y if ex < ey else self.merge(x, y)
        return self._join[x, y]
    def merge(self, base, orphan):
        b, o, nearest = self.frames[base], self.frames[orphan], self.maximal(self.anc[base] & self.anc[orphan])
        a, merge = self.ancestor(nearest), Merge(len(nearest) > 1, self.told)
        files = merge.files(a, b.files, o.files)
        self.count.update(merges=1, several=len(nearest) > 1, conflicts=len(merge.stones))
        self.bad.update(wrong_merge(a, b.files, o.files, files, merge.stones, merge.settled.values(), self.count['merges'] % 8 == 5))
        stones = tuple(s + (merge.again(s[0]),) for s in merge.stones)
        self.count['settled by both'] += len(merge.settled)
        self.count['told again'] += sum(s[4] is not None for s in stones)
        return self.put(b.n + 1, self.relate(files, stones), base, orphan, stones)
    def relate(self, files, stones):
        """Files with the conflicts that a merge found."""
        of = lambda path, v: Raw(canonical(json_node(v))) if path.startswith('/data/value') else v
        told = {}
        for path, *values, again in stones:
            data = {k: of(path, v) for k, v in zip(('ancestor', 'base', 'orphan'), values) if v is not None}
            told[address('conflict', {'path': path, **data, **({'again': again} if again else {})})[1]] = (path, *values)
        self.told.update(told)
        old = json.loads(files.get('conflict', '[]'))
        return dict(files, conflict=json.dumps(old + sorted(set(told) - set(old)))) if told else files

class Ledger(World):
    """Frames with the addresses that ibgibs have, told a line of JSON each. `data.text` is a document, or lines beside a value."""
    def __init__(self, mixed):
        super().__init__()
        self.keys, self.addr = {'j': 'value', 't': 'text'} if mixed else {'j': 'text', 't': 'text'}, {}
    def put(self, n, files, past, orphan, stones=()):
        data = {k: v if k != 'value' else Raw(v) for k, v in files.items() if k not in ('ib', 'conflict')}
        rel8ns = {'conflict': json.loads(files['conflict'])} if 'conflict' in files else {}
        data.update({'n': n} if past else {'n': n, 'isTjp': True})
        if past:
            rel8ns.update(past=[self.addr[past]], tjp=[self.tjp])
        if orphan:
            graft = address('graft', {'base': self.addr[past], 'orphan': self.addr[orphan], 'rule': 'm2'})[1]
            rel8ns.update(dna=[graft], graftbase=rel8ns['past'], graftorphan=[self.addr[orphan]])
        else:
            rel8ns['dna'] = ['mut8^gib']
        node, addr = address(files['ib'], data, rel8ns, self.tjp.split('^')[1] if past else None)
        i = addr.split('^')[1]
        if not past:
            self.tjp = addr
        if i not in self.frames:
            self.frames[i] = Frame(i, n, files, past, orphan, orphan is not None, (), (), stones)
            self.anc[i] = frozenset({i}).union(*(self.anc[p] for p in (past, orphan) if p))
            self.addr[i] = addr
            if not orphan:
                print(json.dumps({'frame': node}))
        self.node = node
        return i
    def merge(self, base, orphan):
        self.bad.clear()
        tip = super().merge(base, orphan)
        print(json.dumps({'join': [self.addr[base], self.addr[orphan]], 'tip': self.addr[tip], 'merge': self.node}))
        return tip

class Raw(str): pass  # JSON already

def written(value):
    if isinstance(value, Raw) or not isinstance(value, (dict, list)):
        return value if isinstance(value, Raw) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return '[%s]' % ','.join(map(written, value))
    return '{%s}' % ','.join(quoted(k) + ':' + written(value[k]) for k in sorted(value, key=lambda k: k.encode('utf-16-be')))

def address(ib, data, rel8ns=None, tjp=None):
    """An ibgib and its address."""
    sha = lambda text: hashlib.sha256(text.encode()).hexdigest().upper() if text else ''
    gib = sha(sha(ib) + sha(rel8ns and written(rel8ns)) + sha(written(data))) + ('.' + tjp if tjp else '')
    return written({'ib': ib, 'gib': gib, 'data': data, **({'rel8ns': rel8ns} if rel8ns else {})}), f'{ib}^{gib}'

def wrong_merge(a, b, o, got, stones, settled, laws):
    """What is wrong with one merge, whatever came before it."""
    tb, to, now = b.get('j'), o.get('j'), got.get('j')
    if tb and to and parse(tb) and parse(to) and not parse(now or ''):
        yield 'parses no more'
    for x in (parse(tb or ''), parse(to or '')) if laws else ():  # by the trees, not by the short cut for equal files
        for y in filter(None, [parse(a.get('j') or ''), parse(now or '')]):
            for three in ((y, x, y), (y, y, x), (y, x, x)) if x else ():
                alone = Merge()
                alone.quick = False
                if str(alone.tree(*(d.node for d in three), '')) != str(x.node) or alone.stones:
                    yield 'identity broken'
    for path, sa, sb, so in stones:
        again = any(told[0].startswith(path) for told in settled)
        if not again and (sb == so or sa is not None and sa in (sb, so)):
            yield 'conflict without cause'
    if set(facts(got)) - set(facts(b)) - set(facts(o)):
        yield 'value that nobody made'

# -- random peers ---------------------------------------------------------------------------------------------------
STYLES = [('', '', ':', False), ('\n', '  ', ': ', False), ('\r\n', '   ', ' : ', True), ('\n', '\t', ': ', True), ('', '', ': ', True)]

def dump(node, style, depth=1):
    """As a program prints it that re-writes the whole file."""
    nl, ind, colon, inline = style
    if node.kind == 's' or not node.kids:
        return node.raw or ('{}' if node.kind == 'o' else '[]')
    flat = not nl or inline and node.kind == 'l'
    inner = [(json.dumps(k.name) + colon if node.kind == 'o' else '') + dump(k.node, style, depth + 1) for k in node.kids]
    text = (', ' if inline else ',').join(inner) if flat else ','.join(nl + ind * depth + x for x in inner) + nl + ind * (depth - 1)
    return '{' + text + '}' if node.kind == 'o' else '[' + text + ']'
def facts(files):
    """Scalars of the document with their places (list indices left out), words of the text."""
    doc = parse(files.get('j') or '')
    out, stack = Counter(('t', w) for w in (files.get('t') or '').split()), [('', doc.node)] if doc else []
    while stack:
        at, node = stack.pop()
        if node.kind == 's':
            out[at, node.raw] += 1
        stack += [(f'{at}/{k.name}' if node.kind == 'o' else f'{at}/[]', k.node) for k in node.kids]
    return out

def edit_doc(text, mine, rng, fresh, mode):
    doc = parse.__wrapped__(text)  # to be changed in place
    root = doc.node
    child = lambda n, name: next((i for i, k in enumerate(n.kids) if k.name == name), None)
    def put(n, name, raw):
        node, i, at = parse.__wrapped__(f'[{raw}]').node.kids[0].node, child(n, name) if name else None, rng.randrange(len(n.kids) + 1)
        if i is not None:
            n.kids[i] = n.kids[i]._replace(node=node)
        else:
            n.kids.insert(at, Kid(name, n.kids[-1].lead if n.kids else '', json.dumps(name) + ': ' if name else '', node, ''))
    c = rng.random()
    if root.kind != 'o':  # somebody edited its lines
        put(root, '', fresh())
    elif c < .4:  # a member
        n = rng.choice([root] + [k.node for k in root.kids if k.name[:1] == 'o' and k.node.kind == 'o'])
        name = f'v{mine}' if mode == 'polite' or rng.random() < .6 else f's{rng.randrange(2)}'
        if rng.random() < .2 and child(n, name) is not None:
            del n.kids[child(n, name)]
        else:
            put(n, name, fresh())
    elif c < .5 and mode == 'wild':  # a subtree
        name = f'o{rng.randrange(2)}'
        if rng.random() < .35 and child(root, name) is not None:
            del root.kids[child(root, name)]
        else:
            put(root, name, rng.choice(['{}', fresh(), f'{{"s0": {fresh()}, "s1": {fresh()}}}', f'[{fresh()}]']))
    elif c < .92:  # an element
        name, d = rng.choice('lkg'), rng.random()
        if child(root, name) is None or root.kids[child(root, name)].node.kind != 'l':
            put(root, name, '[]')
        n = root.kids[child(root, name)].node
        own = [i for i, k in enumerate(n.kids) if mode != 'polite' or f'"{mine}' in str(k.node)]
        if d < .45 or not own:
            put(n, '', re.sub('%s', lambda _: fresh(), {'l': '%s', 'k': '{"id": %s, "t": %s}', 'g': '{"t": %s,"u": %s}'}[name]))
        elif d < .6:
            del n.kids[rng.choice(own)]
        elif d < .7 and mode != 'polite' and name != 'g':
            n.kids.insert(rng.randrange(len(n.kids)), n.kids.pop(rng.choice(own)))
        else:
            i = rng.choice(own)
            if name == 'l':
                n.kids[i] = n.kids[i]._replace(node=Node('s', fresh()))
            else:
                if n.kids[i].node.kind == 'o':
                    put(n.kids[i].node, rng.choice('tu'), fresh())
    else:
        return dump(root, rng.choice(STYLES)) + rng.choice(['', '\n'])
    return doc.lead + str(root) + doc.tail

def edit_text(text, mine, rng, fresh, mode):
    lines, end = text.removesuffix('\n').split('\n') if text else [], '\n' * text.endswith('\n')
    own = [i for i, l in enumerate(lines) if mode != 'polite' or l.startswith(mine)]
    c, new, i = rng.random(), fresh().strip('"'), rng.choice(own) if own else None
    if c < .4 or i is None:
        lines.insert(rng.randrange(len(lines) + 1), new)
    elif c < .7 and (c < .55 or mode != 'tame' and lines[i][0] != 'T'):
        lines[i] = new if c < .55 else lines[i] + ' ' + new
    elif c < .8 and mode == 'tame':  # a line moved and edited is a new one, so never both in one run
        lines.insert(rng.randrange(len(lines)), lines.pop(i))
    elif c < .82 and mode == 'wild':
        lines = []
    else:
        del lines[i]
    return '\n'.join(lines) + (end if lines else '')
def settle(files, told, chosen):
    """Files with what one side has in the place of what a merge left there; None where that does not stand."""
    path, _, *sides = told
    name, inside, at = re.fullmatch('/(?:data/)?([^/#]+)(#?)(.*)', path).groups()
    now = files.get(name)
    if now is None or name == 'ib':
        return None
    if name != 'value' and not inside:
        lines, found = lines_of(now), find(lines_of(now), *map(lines_of, sides), strict=True) if name != 'blob' else ()
        if found:
            lines = lines[:found[0].start] + lines_of(chosen) + lines[found[0].stop:]
            return dict(files, **{name: '\n'.join(lines) + '\n' * bool(now.endswith('\n') and lines)})
        return {**files, name: chosen} if now in sides and chosen is not None else {k: v for k, v in files.items() if k != name} if now in sides else None
    doc = parse.__wrapped__(now) if parse(now) else None
    nodes = [None if v is None else json_node(v) for v in (*sides, chosen)]
    *sides, chosen = nodes
    above, kids, node = None, [], doc and doc.node
    for step in at.split('/')[1:] if node else ():
        step = step.replace('~1', '/').replace('~0', '~')
        named = lambda k: k.name == step if node.kind == 'o' else any(m.name in IDS and m.node.raw in (step, quoted(step)) for m in k.node.kids)
        kids = [i for i, k in enumerate(node.kids) if named(k)]
        if not kids:
            return None
        above, node = node, node.kids[kids[0]].node
    equal = lambda n, side: side is not None and n.canon == side.canon
    if node is None:
        return None
    if len(kids) == 2 and above.kind == 'l' and all(equal(above.kids[i].node, side) for i, side in zip(kids, sides)):
        del above.kids[kids[equal(above.kids[kids[0]].node, chosen)]]
    elif above and any(equal(node, side) for side in sides):
        above.kids[kids[0]:kids[0] + 1] = [above.kids[kids[0]]._replace(node=chosen)] if chosen else []
    elif node.kind == 'l' and all(n is None or n.kind == 'l' for n in nodes):
        found = find([k.node.canon for k in node.kids], *([k.node.canon for k in n.kids] if n else [] for n in sides), strict=True)
        if not found:
            return None
        node.kids[found[0].start:found[0].stop] = chosen.kids if chosen else []
    else:
        return None
    text = doc.lead + str(doc.node) + doc.tail
    return dict(files, **{name: text if name != 'value' else canonical(parse(text).node)})
START_DOC = '{\n  "own": %s, "o0": {"s0": "T3", "s1": 4.0}, "l": ["T5", "T6"],\n  "k": [{"id": "T7", "t": "T8"}],\n  "g": [{"t": "T9", "u": "T10"}]\n}\n'

def edit(w, tip, peer, rng, counter, mode):
    f, mine, keys = w.frames[tip], f'p{peer}v', getattr(w, 'keys', {'j': 'j', 't': 't'})
    files, ledger, away = dict(f.files), hasattr(w, 'keys'), {}
    fresh = lambda: f'"{mine}{next(counter)}"' if mode == 'polite' or rng.random() < .8 else f'{next(counter)}' if 'value' in keys.values() else f'{10 ** 20 + next(counter)}.0'
    for _ in range(rng.choice([1, 1, 2])):
        kind = rng.choice('jjt') if len(set(keys.values())) == 2 else 'j'
        name, c = keys[kind], rng.random()
        if name not in files:  # made anew, from a template that others may use, too
            files[name] = START_DOC % fresh() if kind == 'j' else 'T0\nT1\n%s\nT2\n' % fresh().strip('"')
            files.pop('blob', None)
        elif c < .04 and mode == 'wild':  # deleted, or binary from now on
            del files[name]
            files.update({'blob': fresh()} if c < .01 else {})
        elif ledger and c < .05:
            files['ib'] = rng.choice(['doc', 'note', fresh().strip('"')])
        elif .05 < c < .2 and 'conflict' in files:  # some are settled
            rest = []
            for stone in json.loads(files.pop('conflict')):
                told, d = w.told[stone], rng.random()
                made = settle(files, told, told[2 + (d < .65)]) if .4 < d < .9 else files if d < .4 else None
                if made and not ledger and not parse(made.get('j', '{}')):
                    made = None  # the oracle reads documents
                rest += [stone] if made is None else []
                away[stone] = set(facts(files)) - set(facts(made or files))
                files = dict(made or files)
            files.update({'conflict': json.dumps(rest)} if rest else {})
        elif ledger and c < .13 and name == 'text' and kind == 'j' and mode == 'wild':  # no document any more, until it is made anew
            files[name] = edit_text(files[name], mine, rng, fresh, mode)
        else:
            files[name] = (edit_doc if kind == 'j' and parse(files[name]) else edit_text)(files[name], mine, rng, fresh, mode)
        if name == 'value' and name in files:
            files[name] = canonical(parse(files[name]).node)
        if ledger and files.get('blob', '"')[0] != '"':
            files['blob'] = '"%s"' % files['blob']
    made = w.put(f.n + 1, files, tip, None)
    w.away[made] = {stone: x - set(facts(files)) for stone, x in away.items()}  # what settling took out
    return made

def violations(w, tip, all_edits, mode):
    frames = [w.frames[i] for i in w.anc[tip]]
    now, put, taken, stones = facts(w.frames[tip].files), {}, {}, {s for f in frames for s in f.stones}
    words = lambda values: {word for v in values for word in re.findall(r'[\w.]+', str(v))}
    again = words(v for s in stones if s[4] for v in s[1:4])
    told, old = [{word for s in stones for v in s[i:4] for word in re.findall(r'[\w.]+', str(v))} for i in (2, 1)]
    yield from ['edit unreachable'] * bool(all_edits - w.anc[tip]) + ['conflict among polite peers'] * bool(stones and mode == 'polite')
    for f, into, x in [(f, put, x) for f in frames for x in f.put] + [(f, taken, x) for f in frames for x in f.taken]:
        into.setdefault(x, []).append(f.id)
    parts = {word for line in w.frames[tip].files.get('t', '').split('\n') if ' ' in line for word in line.split()}
    makers = [f for f in frames if not f.merge and f.files.get('t') and not (f.past and w.frames[f.past].files.get('t'))]
    for x, by in put.items():
        kind, word, gone = {'t': 'line', '/l/[]': 'element'}.get(x[0], 'value'), x[1].strip('"'), taken.get(x, ())
        part = x[0][:3] == '/g/' or kind == 'line' and word in parts  # inside a line or an element that has no name
        if not gone and not now[x] and (kind != 'value' or word not in told):
            yield f'{kind} lost'
        if now[x] and len(by) == 1 and any(by[0] in w.anc[d] for d in gone):
            w.count[f'taken out but there: {"untold " * (word not in old)}{"part of a " * part}{kind}, {mode}'] += 1
            if mode == 'polite' or not part and (word not in old or mode == 'tame' and kind != 'value' and word not in again):  # wild: whole files come back
                yield f'{kind} back'
        w.count[f'put in by several apart, there once: {kind}'] += len(by) > 1 and now[x] == 1
        if now[x] > 1 and not (kind == 'line' and len(by) > 1 and (gone or any(x not in f.put for f in makers))):  # else no longer the same line
            w.count[f'doubled: {"untold " * (word not in told)}{"part of a " * part}{kind}, {mode}'] += 1
            if not part and (word not in told or mode != 'wild' and kind != 'value'):
                yield f'{kind} doubled'
    w.count['facts'] += len(put)
    yield from ['value that nobody made'] * bool(set(now) - set(put))
    # What one settled in favour of nobody who settled the same away, not having seen that.
    had = lambda f: set(json.loads(w.frames[f].files.get('conflict', '[]'))) if f else set()
    settlers = {}
    for f in (f for f in frames if not f.merge):
        for stone in had(f.past) - had(f.id):
            settlers.setdefault(stone, []).append(f)
    for stone, by in settlers.items():
        for x in (x for f in by for x in w.away[f.id].get(stone, ()) if x in taken and not now[x] and x[1].strip('"') in words(w.told[stone][2:])):
            apart = lambda f, i: f.id not in w.anc[i] and i not in w.anc[f.id]
            file = 't' if x[0] == 't' else 'j'
            if not all(any(stone in had(c) for c in w.anc[i] & w.anc[f.id]) for i in taken[x] for f in by if i != f.id):
                continue  # two merges found it, each for itself: a fold finds most of these, but not all
            if any(stone in had(c.id) and c.id != f.id and f.id in w.anc[c.id] for c in frames for f in by):
                continue  # another merge brought it back after it was settled: it was open when the other choice came
            if any(not d.merge and d.past and w.frames[d.past].files.get(file) and not d.files.get(file) and w.anc[d.id] & set(taken[x]) for d in frames):
                continue  # all of it was deleted since, which nobody's settling says anything about
            if set(taken[x]) <= {f.id for f in by} and any(x in facts(f.files) and all(apart(f, i) for i in taken[x]) for f in by):
                w.count['settled away here, kept there: ' + ('told' if x[1].strip('"') in again else 'untold')] += 1
                yield from ['settled away'] * (x[1].strip('"') not in again)

def run(seed, hub, peers, steps, lossy=.3, rounds_max=12):
    rng, w, counter = random.Random(seed), World(), itertools.count()
    mode = ('polite', 'tame', 'wild', 'wild', 'wild')[seed % 5]
    files = {'t': ''.join(f'L{i}\n' for i in range(6)), 'j': START_DOC % '"T11"'}
    if mode == 'wild':
        files = {k: v for k, v in files.items() if rng.random() < .7}
    tips = [w.put(0, files, None, None)] * (peers + hub)
    def sync(i, j, lose):
        t = w.join(tips[i], tips[j])
        for side in (rng.choice((i, j)),) if lose else (i, j):
            tips[side] = t
    for p in (rng.randrange(peers) for _ in range(steps)):
        if rng.random() < .6:
            tips[p] = edit(w, tips[p], p, rng, counter, mode)
        else:
            sync(p, peers if hub else rng.choice([x for x in range(peers) if x != p]), rng.random() < lossy)
    all_edits = {x for t in tips for x in w.edits(t)}
    for r in range(1, rounds_max + 1):
        pairs = [(i, peers) for i in range(peers)] if hub else list(itertools.combinations(range(peers), 2))
        rng.shuffle(pairs)
        for i, j in pairs:
            sync(i, j, False)
        if len(set(tips)) == 1:
            return r, set(w.bad) | set(violations(w, tips[0], all_edits, mode)) | ({'more than two rounds'} if r > 2 else set()), w.count
    return None, {'not converged'}, w.count

def play(seed):
    """A random history, told as frames and merges."""
    rng, counter = random.Random(seed), itertools.count()
    mode, w = ('polite', 'tame', 'wild', 'wild', 'wild')[seed % 5], Ledger(seed // 5 % 2)
    peers, steps = rng.choice([(2, 24), (3, 30), (4, 30), (6, 36), (8, 40)])
    print(json.dumps({'seed': seed}))
    tip = w.put(0, {'ib': 'doc'}, None, None)
    files = {'t': ''.join(f'L{i}\n' for i in range(6)), 'j': START_DOC % '"T11"'}
    files = {'ib': 'doc', **{key: files[name] for name, key in reversed(w.keys.items()) if mode != 'wild' or rng.random() < .7}}
    if 'value' in files:
        files['value'] = canonical(parse(files['value']).node)
    tips = [w.put(1, files, tip, None)] * peers
    for p in (rng.randrange(peers) for _ in range(steps)):
        if rng.random() < .6:
            tips[p] = edit(w, tips[p], p, rng, counter, mode)
        else:
            q = rng.choice([x for x in range(peers) if x != p])
            for side in (rng.choice((p, q)),) if rng.random() < .3 else (p, q):
                tips[side] = w.join(tips[p], tips[q])
    for p in range(1, peers):
        tips[0] = w.join(tips[0], tips[p])
    print(json.dumps({'counted': w.count}))

def criss_cross(rounds):
    """Three peers that never come to rest: more folds in one merge than there may be."""
    w = Ledger(True)
    print(json.dumps({'seed': -1}))
    tips = [w.put(1, {'ib': 'doc', 'text': 'O0\nO1\n'}, w.put(0, {'ib': 'doc'}, None, None), None)] * 3
    for r in range(rounds):
        for p in range(3):
            f = w.frames[tips[p]]
            tips[p] = w.put(f.n + 1, dict(f.files, text=f.files['text'] + f'{p} in {r}\n'), tips[p], None)
        tips = [w.join(tips[p], tips[(p + 1) % 3]) for p in range(3)]
    print(json.dumps({'counted': w.count}))

def golden():
    """Reads the table of docs/merging.md, prints it with what the model gives; exit 1 if a row said something else."""
    unquote = lambda c: None if c.strip() == '–' else re.search('`(.*)`', c).group(1).replace('⏎', '\n').replace('∅', '').replace('¦', '|')
    quote = lambda v: '–' if v is None else '`%s`' % (v.replace('\n', '⏎').replace('|', '¦') or '∅')
    wrong = 0
    for row in re.findall(r'^\| \d+ \|.*', sys.stdin.read(), re.M):
        cells, merge = row.split('|'), Merge()
        got = merge.file(*map(unquote, cells[3:6]), '')
        told = '; '.join('%s: %s / %s / %s' % ((s[0] or 'file',) + tuple(map(quote, s[1:]))) for s in merge.stones) or 'none'
        line = '|'.join(cells[:6] + [f' {quote(got)} ', f' {told} ', ''])
        wrong += line != row
        print(line)
    return wrong > 0

if __name__ == '__main__':
    if sys.argv[1:] == ['golden']:
        sys.exit(golden())
    runs, first = [int(x) for x in sys.argv[2:4] + ['200', '0'][len(sys.argv) - 2:]]
    if sys.argv[1] == 'frames':
        for seed in range(first, first + runs):
            play(seed)
        criss_cross(100) if first == 0 else None
        sys.exit()
    total, bad, count = 0, Counter(), Counter()
    for peers, steps in ((2, 24), (3, 30), (4, 30), (6, 36), (8, 40)):
        for hub in (True, False):
            rounds = Counter()
            for seed in range(first, first + runs):
                r, v, c = run(seed, hub, peers, steps)
                total += 1
                rounds[r] += 1
                bad.update(v)
                count.update(c)
                if v:
                    print('seed', seed, 'hub' if hub else 'mesh', peers, sorted(v))
            print(f"{'hub' if hub else 'mesh'} {peers} peers: rounds to equal {dict(rounds)}", flush=True)
    print(f'{total} runs, {dict(count)}, violations: {dict(bad)}')
    sys.exit(1 if bad else 0)
