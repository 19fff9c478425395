#!/usr/bin/env python3
"""Executable model of the merge rules (docs/protocol.md, sections 2 and 3), with an oracle.

A frame is an edit or a merge. Peers edit random fields and lines, sync in random order over a hub or a mesh, and lose
one side's commit now and then. At the end everyone syncs with everyone; the oracle then looks at the one tip left:
  - every edit frame is reachable from it;
  - each field holds a value written by a causally newest writer;
  - each line that nobody deleted is there exactly once, each deleted line is gone.

merge_model.py run [RUNS] [SEED]      RUNS runs per setting from SEED on; prints violations, exit 1 if there are any
merge_model.py scripts RUNS SEED      prints RUNS random histories as scripts, a line of JSON each
merge_model.py check                  reads what an engine made of scripts: does every merge again, with the engine's
                                      addresses as ids, and asks the oracle; exit 1 if anything differs
Lines are unique in the model; arrays and words inside a line are not modelled. tests/model.rs runs it.
"""
import functools, hashlib, itertools, json, random, sys
from collections import Counter

sys.setrecursionlimit(10000)
ABSENT = '<absent>'


class Frame:
    __slots__ = ('id', 'n', 'fields', 'text', 'past', 'orphan', 'merge', 'ops')


class World:
    def __init__(self):
        self.frames, self._anc, self._join, self._fold, self.merges = {}, {}, {}, {}, 0

    # -- frames and ancestry -------------------------------------------------------------------------------------
    def put(self, n, fields, text, past, orphan, merge, ops=None, i=None):
        if i is None:
            key = json.dumps([n, sorted(fields.items()), text, past, orphan])
            i = hashlib.sha256(key.encode()).hexdigest()[:12]
        if i not in self.frames:
            f = Frame()
            f.id, f.n, f.fields, f.text, f.past, f.orphan, f.merge, f.ops = i, n, fields, tuple(text), past, orphan, merge, ops
            self.frames[i] = f
            self.merges += merge
        return i

    def ancestors(self, i):
        """Frames reachable over `past` and, on merge frames, `graftorphan`; i included."""
        stack = [i]
        while stack:
            x = stack[-1]
            if x in self._anc:
                stack.pop()
                continue
            f = self.frames[x]
            parents = [p for p in (f.past, f.orphan) if p]
            need = [p for p in parents if p not in self._anc]
            if need:
                stack += need
                continue
            self._anc[x] = frozenset({x}).union(*(self._anc[p] for p in parents)) if parents else frozenset({x})
            stack.pop()
        return self._anc[i]

    def edits(self, i):
        return frozenset(x for x in self.ancestors(i) if not self.frames[x].merge)

    def key(self, i):
        return (self.frames[i].n, i)

    def maximal(self, frames):
        """The frames that no other one of them descends from, largest (n, gib) first."""
        rest = set(frames)
        for x in list(rest):
            rest -= self.ancestors(x) - {x}
        return sorted(rest, key=self.key, reverse=True)

    # -- merging -------------------------------------------------------------------------------------------------
    def ancestor_text(self, nearest):
        """Text of the nearest common ancestors, several of them folded into one, recursively."""
        if nearest in self._fold:
            return self._fold[nearest]
        acc, seen = self.frames[nearest[0]].text, self.ancestors(nearest[0])
        for c in nearest[1:]:
            below = tuple(self.maximal(seen & self.ancestors(c)))
            acc, seen = merge_text(self.ancestor_text(below), acc, self.frames[c].text, True), seen | self.ancestors(c)
        self._fold[nearest] = acc
        return acc

    def newest_writers(self, frames, field):
        w = [i for i in frames if self.frames[i].ops and field in self.frames[i].ops['w']]
        return [i for i in w if not any(j != i and i in self.ancestors(j) for j in w)]

    def winner(self, frames, field):
        """Value of the newest writer; among concurrent ones an edit beats a delete, then the larger (n, gib)."""
        i = max(self.newest_writers(frames, field), key=lambda i: (self.frames[i].ops['w'][field] != ABSENT, self.key(i)))
        return self.frames[i].ops['w'][field]

    def join(self, x, y):
        """The tip that a sync of tips x and y leaves on both sides."""
        pair = (x, y) if x < y else (y, x)
        if pair not in self._join:
            self._join[pair] = x if x == y else self._compute_join(*pair)
        return self._join[pair]

    def _compute_join(self, x, y):
        made = self.merged(x, y)
        return made if isinstance(made, str) else self.put(*made, True)

    def merged(self, x, y):
        """The tip that covers the other; or n, fields, text, base and orphan of their merge."""
        ex, ey = self.edits(x), self.edits(y)
        if ex == ey:  # they cover each other
            return max(x, y, key=self.key)
        if ex < ey:
            return y
        if ey < ex:
            return x
        base, orphan = (x, y) if self.key(x) > self.key(y) else (y, x)
        b, o = self.frames[base], self.frames[orphan]
        nearest = tuple(self.maximal(self.ancestors(x) & self.ancestors(y)))
        fields = {}
        written = {k for i in (ex ^ ey) if self.frames[i].ops for k in self.frames[i].ops['w']}
        for k in set(b.fields) | set(o.fields) | written:
            vb, vo = b.fields.get(k, ABSENT), o.fields.get(k, ABSENT)
            v = vb if vb == vo else self.winner(ex | ey, k)
            if v != ABSENT:
                fields[k] = v
        text = merge_text(self.ancestor_text(nearest), b.text, o.text, len(nearest) > 1)
        return b.n + 1, fields, text, base, orphan


@functools.lru_cache(200000)
def lcs(a, b):
    """Matched index pairs of a longest common subsequence; ties are broken the same way everywhere."""
    n, m, p, q = len(a), len(b), 0, 0
    while p < min(n, m) and a[p] == b[p]:
        p += 1
    while q < min(n, m) - p and a[n - 1 - q] == b[m - 1 - q]:
        q += 1
    s, t = a[p:n - q], b[p:m - q]
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


def merge_text(ancestor, base, orphan, several):
    """Per ancestor line: it stays iff both keep it; what was inserted in a gap is base's, then orphan's.

    A line that is unique in the ancestor and was deleted and re-inserted by one side is a move: a delete by the other side wins over
    it, and of two moves the base's stands. With several nearest ancestors, the same line inserted by both is one insertion."""
    if base == orphan or orphan == ancestor:
        return base
    if base == ancestor:
        return orphan
    ca, cb, co = Counter(base), Counter(orphan), Counter(ancestor)

    def read(side):
        kept = dict(lcs(ancestor, side))
        back = {v: k for k, v in kept.items()}
        gaps, last = {}, -1
        for j, line in enumerate(side):
            if j in back:
                last = back[j]
            else:
                gaps.setdefault(last, []).append(line)
        return kept, gaps

    kept_b, gaps_b = read(base)
    kept_o, gaps_o = read(orphan)
    unique = {line for line in ancestor if co[line] == 1}
    at = {line: i for i, line in enumerate(ancestor)}
    moved_b = {l for l in unique if at[l] not in kept_b and ca[l] == 1}
    moved_o = {l for l in unique if at[l] not in kept_o and cb[l] == 1}
    drop_b = {l for l in moved_b if cb[l] == 0}
    drop_o = {l for l in moved_o if ca[l] == 0} | (moved_b & moved_o)
    if several:
        inserted_b = {l for g in gaps_b.values() for l in g if co[l] == 0}
        inserted_o = {l for g in gaps_o.values() for l in g if co[l] == 0}
        drop_o |= inserted_b & inserted_o
    out = []
    for k in range(-1, len(ancestor)):
        if k >= 0 and k in kept_b and k in kept_o:
            out.append(ancestor[k])
        gap_b = [l for l in gaps_b.get(k, []) if l not in drop_b]
        gap_o = [l for l in gaps_o.get(k, []) if l not in drop_o]
        out += gap_b if gap_b == gap_o else gap_b + gap_o
    return tuple(out)


# -- random peers and the oracle ------------------------------------------------------------------------------------
def edit(w, tip, peer, rng, counter):
    f = w.frames[tip]
    fields, text, ops = dict(f.fields), list(f.text), {'w': {}, 'ins': [], 'del': []}
    for _ in range(rng.choice([1, 1, 2])):
        c = rng.random()
        if c < .5:
            k = f'own{peer}' if rng.random() > .3 else f'shared{rng.randrange(3)}'
            if rng.random() < .2 and k in fields:
                del fields[k]
                ops['w'][k] = ABSENT
            else:
                fields[k] = ops['w'][k] = f'v{next(counter)}'
        elif c < .75 or not text:
            line = f'L{next(counter)}'
            text.insert(rng.randrange(len(text) + 1), line)
            ops['ins'].append(line)
        elif c < .9:
            i, line = rng.randrange(len(text)), f'L{next(counter)}'
            ops['del'].append(text[i])
            ops['ins'].append(line)
            text[i] = line
        else:
            ops['del'].append(text.pop(rng.randrange(len(text))))
    return w.put(f.n + 1, fields, text, tip, None, False, ops)


def violations(w, tip, all_edits):
    found = []
    if all_edits - w.ancestors(tip):
        found.append('edit unreachable')
    frames = [w.frames[i] for i in w.edits(tip) if w.frames[i].ops]
    for k in {k for f in frames for k in f.ops['w']}:
        newest = w.newest_writers([f.id for f in frames], k)
        if w.frames[tip].fields.get(k, ABSENT) not in [w.frames[i].ops['w'][k] for i in newest]:
            found.append('field not from a newest writer')
    deleted = {l for f in frames for l in f.ops['del']}
    count = Counter(w.frames[tip].text)
    for l in [l for f in frames for l in f.ops['ins']] + [f'O{i}' for i in range(6)]:
        want = 0 if l in deleted else 1
        if count[l] != want:
            found.append('line lost' if count[l] < want else 'line doubled' if want else 'line resurrected')
    return found


SETTINGS = [(peers, steps, hub) for peers, steps in ((2, 40), (3, 60), (4, 60), (6, 80), (8, 80)) for hub in (True, False)]


def script(seed, rounds=2):
    """A random history that can be played whatever addresses frames get: places are told as numbers to take modulo."""
    peers, steps, hub = SETTINGS[seed % len(SETTINGS)]
    rng, counter, out = random.Random(seed), itertools.count(), []
    for _ in range(steps):
        p = rng.randrange(peers)
        if rng.random() < .6:
            ops = []
            for _ in range(rng.choice([1, 1, 2])):
                c, at = rng.random(), rng.randrange(1 << 30)
                if c < .5:
                    k = f'own{p}' if rng.random() > .3 else f'shared{rng.randrange(3)}'
                    ops.append({'op': 'delete' if rng.random() < .2 else 'write', 'field': k, 'value': f'v{next(counter)}'})
                else:
                    op = 'insert' if c < .75 else 'replace' if c < .9 else 'remove'
                    ops.append({'op': op, 'at': at, 'line': f'L{next(counter)}'})
            out.append({'peer': p, 'ops': ops})
        else:
            q = peers if hub else rng.choice([x for x in range(peers) if x != p])
            keeps = rng.choice(([p], [q])) if rng.random() < .3 else [p, q]
            out.append({'sync': [p, q], 'keeps': keeps})
    for _ in range(rounds):
        pairs = [(i, peers) for i in range(peers)] if hub else list(itertools.combinations(range(peers), 2))
        rng.shuffle(pairs)
        out += [{'sync': [p, q], 'keeps': [p, q]} for p, q in pairs]
    return {'seed': seed, 'peers': peers + hub, 'steps': out}


def check(history):
    """What is wrong with a history that an engine made: frames with its addresses, joins with the tip they gave."""
    w, found = World(), []
    for f in history['frames']:
        if 'ops' in f:
            ops = dict(f['ops'], w={k: ABSENT if v is None else v for k, v in f['ops']['w'].items()})
            w.put(f['n'], f['fields'], f['text'], f['past'], None, False, ops, f['id'])
            continue
        x, y = f['join']
        made = w.merged(x, y) if x != y else x
        if isinstance(made, str):
            if made != f['id']:
                found.append(f'join of {x} and {y} is {f["id"]}, not {made}')
            continue
        n, fields, text, base, orphan = made
        if 'n' not in f:
            found.append(f'no merge was made of {x} and {y}')
            continue
        got = (f['n'], f['fields'], tuple(f['text']), f['past'], f['orphan'])
        if got != (n, fields, tuple(text), base, orphan):
            found.append(f'merge of {x} and {y}: {got}, not {made}')
        w.put(n, fields, text, base, orphan, True, None, f['id'])
    tips = set(history['tips'])
    if len(tips) > 1:
        return found + ['not equal after two rounds']
    all_edits = {i for i, f in w.frames.items() if not f.merge and i in history['alive']}
    return found + violations(w, tips.pop(), all_edits)


def run(seed, hub, peers, steps, lossy=.3, rounds_max=12):
    rng, w, counter = random.Random(seed), World(), itertools.count()
    start = w.put(0, {'shared0': 'g'}, [f'O{i}' for i in range(6)], None, None, False, {'w': {}, 'ins': [], 'del': []})
    tips = [start] * (peers + hub)

    def sync(i, j, lose):
        t = w.join(tips[i], tips[j])
        if lose:
            tips[rng.choice((i, j))] = t
        else:
            tips[i] = tips[j] = t

    for _ in range(steps):
        p = rng.randrange(peers)
        if rng.random() < .6:
            tips[p] = edit(w, tips[p], p, rng, counter)
        else:
            q = peers if hub else rng.choice([x for x in range(peers) if x != p])
            sync(p, q, rng.random() < lossy)
    all_edits = {x for t in tips for x in w.edits(t)}
    for r in range(1, rounds_max + 1):
        pairs = [(i, peers) for i in range(peers)] if hub else list(itertools.combinations(range(peers), 2))
        rng.shuffle(pairs)
        for i, j in pairs:
            sync(i, j, False)
        if len(set(tips)) == 1:
            return r, violations(w, tips[0], all_edits)
    return None, ['not converged']


def simulate(runs, first):
    total, bad = 0, Counter()
    for peers, steps in ((2, 40), (3, 60), (4, 60), (6, 80), (8, 80)):
        for hub in (True, False):
            rounds = Counter()
            for seed in range(first, first + runs):
                r, v = run(seed, hub, peers, steps)
                total += 1
                rounds[r] += 1
                bad.update(set(v))
                if v:
                    print('seed', seed, 'hub' if hub else 'mesh', peers, v)
            print(f"{'hub' if hub else 'mesh'} {peers} peers: rounds to equal {dict(rounds)}", flush=True)
    print(f'{total} runs, violations: {dict(bad)}')
    return 1 if bad else 0


if __name__ == '__main__':
    command = sys.argv[1] if len(sys.argv) > 1 else 'run'
    numbers = [int(a) for a in sys.argv[2:]]
    if command == 'scripts':
        for seed in range(numbers[1], numbers[1] + numbers[0]):
            print(json.dumps(script(seed)))
    elif command == 'check':
        wrong = 0
        for line in sys.stdin:
            history = json.loads(line)
            bad = check(history)
            wrong += bool(bad)
            if bad:
                print(f'seed {history["seed"]}: {bad[0]}')
        sys.exit(1 if wrong else 0)
    else:
        sys.exit(simulate(*(numbers + [200, 0][len(numbers):])))
