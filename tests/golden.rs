//! Golden vectors of merge frames and conflict stones: `tests/golden/merge.json` pins every merge of the cases below to
//! its exact text, so that two builds, or two implementations, cannot drift apart.
//!
//! Each case says by hand what its merge must hold. `IBGIB_GOLDEN=write cargo test --test golden` writes the file anew,
//! by hand only, and only when every case holds; look at what changed before you commit it.
#![allow(clippy::disallowed_methods, reason = "the environment says when the vectors are written anew")]

use ibgib::timeline::{Ancestry, History, HistoryError};
use ibgib::{Addr, IbGib, Map, Mode, Value, Verified};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/merge.json");

fn json(text: &str) -> Value {
    Value::parse(text, Mode::Strict).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A history being told, and what each of its merges made.
struct Case {
    name: String,
    history: History,
    frames: Vec<Verified<IbGib>>,
    merges: Vec<Value>,
    numbered: bool,
}

impl Case {
    fn new(name: &str) -> Self {
        Self { name: name.into(), history: History::new(), frames: Vec::new(), merges: Vec::new(), numbered: true }
    }

    fn add(&mut self, ib: &str, mut data: Map, rel8ns: &[(&str, Vec<&str>)]) -> Addr {
        // Timestamps and the like come first in what a test writes; n goes last, as transforms put it.
        if let Some(n) = data.remove("n") {
            data.insert("n", n);
        }
        let rel8ns: Map = rel8ns.iter().map(|(name, list)| (*name, ibgib::json::strings(list.clone()))).collect();
        let rel8ns = (!rel8ns.is_empty()).then_some(Value::Object(rel8ns));
        let frame = IbGib { ib: ib.into(), gib: None, data: Some(data.into()), rel8ns }.seal().unwrap();
        self.history.insert(frame.clone());
        self.frames.push(frame.clone());
        frame.addr().clone()
    }

    /// The first frame, and one on it with this data.
    fn start(&mut self, data: &str) -> Addr {
        let mut first: Map = [("isTjp", Value::from(true)), ("uuid", "golden".into())].into_iter().collect();
        if self.numbered {
            first.insert("n", 0);
        }
        let first = self.add("doc", first, &[("dna", vec!["fork^gib"])]);
        self.edit(&first, data)
    }

    /// An edit that leaves exactly this data, and the relations of the frame before.
    fn edit(&mut self, on: &Addr, data: &str) -> Addr {
        let old = self.history.get(on).unwrap().clone();
        let kept: Vec<(String, Vec<String>)> = old
            .rel8ns
            .as_ref()
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::iter)
            .filter(|(name, _)| !["past", "dna", "tjp", "graftbase", "graftorphan"].contains(name))
            .map(|(name, _)| (name.to_owned(), old.rel8n(name).map(str::to_owned).collect()))
            .collect();
        let kept: Vec<(&str, Vec<&str>)> =
            kept.iter().map(|(name, list)| (name.as_str(), list.iter().map(String::as_str).collect())).collect();
        self.frame(on, "doc", data, &kept)
    }

    /// An edit with this ib, data and relations.
    fn frame(&mut self, on: &Addr, ib: &str, data: &str, rel8ns: &[(&str, Vec<&str>)]) -> Addr {
        let old = self.history.get(on).unwrap().clone();
        let Value::Object(mut data) = json(data) else { panic!("data has members") };
        if let Some(n) = old.n() {
            data.insert("n", Value::Number((n + 1) as f64));
        }
        let tjp = old.tjp().unwrap();
        let mut all = vec![("dna", vec!["mut8^gib"]), ("past", vec![on.as_str()]), ("tjp", vec![tjp.as_str()])];
        all.extend(rel8ns.iter().cloned());
        self.add(ib, data, &all)
    }

    /// Joins two tips, in both orders, and notes what that makes.
    fn join(&mut self, x: &Addr, y: &Addr) -> Addr {
        let mut cold = History::new();
        for frame in &self.frames {
            cold.insert(frame.clone());
        }
        let made = cold.join(y, x).unwrap();
        let here = self.history.join(x, y).unwrap();
        assert_eq!(here, made, "{}: the same two tips make the same merge", self.name);
        let tips = ibgib::json::strings([x.as_str(), y.as_str()]);
        let nodes = ibgib::json::strings(made.nodes.iter().map(|n| n.to_json()));
        let merge = [("tips", tips), ("tip", Value::from(&made.tip)), ("nodes", nodes)];
        self.merges.push(Value::Object(merge.into_iter().collect()));
        if let Some(frame) = made.nodes.last() {
            self.frames.push(frame.clone());
        }
        made.tip
    }

    fn get(&self, addr: &Addr) -> &Verified<IbGib> {
        self.history.get(addr).unwrap()
    }

    fn data(&self, addr: &Addr) -> String {
        let mut data = self.get(addr).data.as_ref().and_then(Value::as_object).unwrap().clone();
        data.remove("n");
        data.remove("uuid");
        Value::Object(data).to_json()
    }

    /// The data of the conflict stones of a frame.
    fn conflicts(&self, addr: &Addr) -> Vec<String> {
        let made = self.merges.iter().flat_map(|m| m.get("nodes").unwrap().as_array().unwrap());
        let made: Vec<Verified<IbGib>> = made.map(|t| Verified::parse(t.as_str().unwrap()).unwrap()).collect();
        let stone = |a: &str| made.iter().find(|n| n.addr().as_str() == a).unwrap().data.as_ref().unwrap().to_json();
        let mut out: Vec<String> = self.get(addr).rel8n("conflict").map(stone).collect();
        out.sort();
        out
    }

    /// What the tip must hold, member by member, and its conflicts.
    #[track_caller]
    fn holds(&self, tip: &Addr, data: &str, conflicts: &[&str]) {
        assert_eq!(self.data(tip), json(data).to_json(), "{}", self.name);
        assert_eq!(self.conflicts(tip), conflicts, "{}", self.name);
    }

    fn told(self) -> Value {
        let nodes = self.merges.iter().filter_map(|m| m.get("nodes")?.as_array()).flatten();
        let made: Vec<&str> = nodes.filter_map(Value::as_str).collect();
        let frames = self.frames.iter().map(|f| f.to_json()).filter(|f| !made.contains(&f.as_str()));
        let frames = ibgib::json::strings(frames);
        let case = [("name", self.name.into()), ("frames", frames), ("merges", self.merges.into())];
        Value::Object(case.into_iter().collect())
    }
}

/// Base's and orphan's edit of one start; base is one frame ahead.
#[track_caller]
fn two(name: &str, [start, base, orphan]: [&str; 3], data: &str, conflicts: &[&str]) -> Value {
    let mut case = Case::new(name);
    let start_at = case.start(start);
    let touched = case.edit(&start_at, start);
    let base = case.edit(&touched, base);
    let orphan = case.edit(&start_at, orphan);
    let tip = case.join(&base, &orphan);
    assert_eq!(case.get(&tip).past().as_ref(), Some(&base));
    case.holds(&tip, data, conflicts);
    case.told()
}

/// As [`two`], for `data.text`.
#[track_caller]
fn texts(name: &str, versions: [&str; 3], text: &str, conflicts: &[&str]) -> Value {
    let data = |text: &str| Value::Object([("text", text)].into_iter().collect()).to_json();
    let [start, base, orphan] = versions.map(data);
    two(name, [&start, &base, &orphan], &data(text), conflicts)
}

fn values() -> Vec<Value> {
    let conflict = |ancestor: &str, base: &str, orphan: &str, path: &str| {
        let all = [("ancestor", ancestor), ("base", base), ("orphan", orphan)];
        let some = all.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k, json(v)));
        Value::Object(some.chain([("path", Value::from(path))]).collect()).to_json()
    };
    vec![
        two(
            "members written apart",
            [r#"{"a":0,"b":0}"#, r#"{"a":1,"b":0}"#, r#"{"a":0,"b":2}"#],
            r#"{"a":1,"b":2}"#,
            &[],
        ),
        two(
            "one member written by both",
            [r#"{"a":0}"#, r#"{"a":1}"#, r#"{"a":2}"#],
            r#"{"a":1}"#,
            &[&conflict("0", "1", "2", "/data/a")],
        ),
        two("the same value written by both", [r#"{"a":0}"#, r#"{"a":1}"#, r#"{"a":1}"#], r#"{"a":1}"#, &[]),
        two(
            "a delete against an edit",
            [r#"{"a":0,"b":0}"#, r#"{"b":0}"#, r#"{"a":2,"b":0}"#],
            r#"{"a":2,"b":0}"#,
            &[&conflict("0", "", "2", "/data/a")],
        ),
        two(
            "an edit against a delete",
            [r#"{"a":0,"b":0}"#, r#"{"a":1,"b":0}"#, r#"{"b":0}"#],
            r#"{"a":1,"b":0}"#,
            &[&conflict("0", "1", "", "/data/a")],
        ),
        two("deleted by both", [r#"{"a":0,"b":0}"#, r#"{"b":0}"#, r#"{"b":0}"#], r#"{"b":0}"#, &[]),
        two(
            "numbers",
            [
                r#"{"big":1,"float":0.1,"int":1}"#,
                r#"{"big":1e21,"float":0.1,"int":2}"#,
                r#"{"big":1,"float":0.30000000000000004,"int":1}"#,
            ],
            r#"{"big":1e21,"float":0.30000000000000004,"int":2}"#,
            &[],
        ),
        two(
            "elements put into a list by both",
            [r#"{"list":[1]}"#, r#"{"list":[1,2]}"#, r#"{"list":[1,3]}"#],
            r#"{"list":[1,2,3]}"#,
            &[],
        ),
        two(
            "an element replaced by both",
            [r#"{"list":[1,2,3]}"#, r#"{"list":[1,"b",3]}"#, r#"{"list":[1,"o",3]}"#],
            r#"{"list":[1,"b","o",3]}"#,
            &[&conflict("[2]", r#"["b"]"#, r#"["o"]"#, "/data/list")],
        ),
        two(
            "an element with an id edited by both, in different members",
            [
                r#"{"list":[{"id":"x","t":1,"u":1},{"id":"y"}]}"#,
                r#"{"list":[{"id":"x","t":2,"u":1},{"id":"y"}]}"#,
                r#"{"list":[{"id":"y"},{"id":"x","t":1,"u":2}]}"#,
            ],
            r#"{"list":[{"id":"y"},{"id":"x","t":2,"u":2}]}"#,
            &[],
        ),
        two(
            "the order of members inside an array is part of its value",
            [r#"{"list":[{"b":1,"a":2}]}"#, r#"{"list":[{"a":2,"b":1}]}"#, r#"{"list":[{"b":1,"a":2}],"x":1}"#],
            r#"{"list":[{"a":2,"b":1}],"x":1}"#,
            &[],
        ),
        two(
            "nested members merge one by one",
            [r#"{"o":{"p":{"x":1,"y":1}}}"#, r#"{"o":{"p":{"x":2,"y":1},"q":true}}"#, r#"{"o":{"p":{"y":3,"z":[]}}}"#],
            r#"{"o":{"p":{"x":2,"y":3,"z":[]},"q":true}}"#,
            &[&conflict("1", "2", "", "/data/o/p/x")],
        ),
        two(
            "an object deleted against an edit in it",
            [r#"{"a":0,"o":{"x":1,"y":1}}"#, r#"{"a":0}"#, r#"{"a":0,"o":{"x":2,"y":1}}"#],
            r#"{"a":0,"o":{"x":2,"y":1}}"#,
            &[&conflict(r#"{"x":1,"y":1}"#, "", r#"{"x":2,"y":1}"#, "/data/o")],
        ),
        two(
            "an object made a value against a member added",
            [r#"{"o":{"x":1}}"#, r#"{"o":"s"}"#, r#"{"o":{"x":1,"y":2}}"#],
            r#"{"o":{"x":1,"y":2}}"#,
            &[&conflict(r#"{"x":1}"#, r#""s""#, r#"{"x":1,"y":2}"#, "/data/o")],
        ),
        two(
            "a member added against an object made a value",
            [r#"{"o":{"x":1}}"#, r#"{"o":{"x":1,"y":2}}"#, r#"{"o":"s"}"#],
            r#"{"o":{"x":1,"y":2}}"#,
            &[&conflict(r#"{"x":1}"#, r#"{"x":1,"y":2}"#, r#""s""#, "/data/o")],
        ),
        two(
            "a text made an object against an edit of the text",
            [r#"{"text":"a\nb\n"}"#, r#"{"text":{"k":1}}"#, r#"{"text":"a\nb\nc\n"}"#],
            r#"{"text":{"k":1}}"#,
            &[&conflict(r#""a\nb\n""#, r#"{"k":1}"#, r#""a\nb\nc\n""#, "/data/text")],
        ),
        two(
            "an edit of the text against a text made an object",
            [r#"{"text":"a\nb\n"}"#, r#"{"text":"a\nb\nc\n"}"#, r#"{"text":{"k":1}}"#],
            r#"{"text":"a\nb\nc\n"}"#,
            &[&conflict(r#""a\nb\n""#, r#""a\nb\nc\n""#, r#"{"k":1}"#, "/data/text")],
        ),
        two(
            "null, empty and missing are three values",
            [r#"{"a":null,"b":"","c":1}"#, r#"{"a":"","b":null,"c":1}"#, r#"{"a":null,"b":"","c":null}"#],
            r#"{"a":"","b":null,"c":null}"#,
            &[],
        ),
        two(
            "an object stays when each side deletes one of its members",
            [r#"{"o":{"p":{"x":1,"y":1}}}"#, r#"{"o":{"p":{"y":1}}}"#, r#"{"o":{"p":{"x":1}}}"#],
            r#"{"o":{"p":{}}}"#,
            &[],
        ),
        two(
            "an emptied object against an edit in it",
            [r#"{"o":{"x":1}}"#, r#"{"o":{}}"#, r#"{"o":{"x":2}}"#],
            r#"{"o":{"x":2}}"#,
            &[&conflict(r#"{"x":1}"#, "{}", r#"{"x":2}"#, "/data/o")],
        ),
        two(
            "members added to an empty object by both",
            [r#"{"o":{}}"#, r#"{"o":{"x":1}}"#, r#"{"o":{"y":2}}"#],
            r#"{"o":{"x":1,"y":2}}"#,
            &[],
        ),
        two(
            "a string without line breaks is one value",
            [r#"{"title":"a b"}"#, r#"{"title":"a b c"}"#, r#"{"title":"x a b"}"#],
            r#"{"title":"a b c"}"#,
            &[&conflict(r#""a b""#, r#""a b c""#, r#""x a b""#, "/data/title")],
        ),
        two(
            "a string with line breaks merges as text anywhere",
            [r#"{"doc":{"body":"a\nb\n"}}"#, r#"{"doc":{"body":"a\nb\nc\n"}}"#, r#"{"doc":{"body":"x\na\nb\n"}}"#],
            r#"{"doc":{"body":"x\na\nb\nc\n"}}"#,
            &[],
        ),
        two(
            "names that a pointer escapes, and names that sort by UTF-16",
            [
                r#"{"ﬁ":0,"😀":0,"é":0,"~":0,"a/b":0,"10":0,"9":0}"#,
                r#"{"ﬁ":0,"😀":0,"é":0,"~":1,"a/b":1,"10":0,"9":0}"#,
                r#"{"ﬁ":1,"😀":0,"é":0,"~":2,"a/b":2,"10":0,"9":0}"#,
            ],
            r#"{"9":0,"10":0,"a/b":1,"~":1,"é":0,"😀":0,"ﬁ":1}"#,
            &[&conflict("0", "1", "2", "/data/a~1b"), &conflict("0", "1", "2", "/data/~0")],
        ),
        two(
            "a text deleted against an edit",
            [r#"{"text":"a\nb\n"}"#, r#"{}"#, r#"{"text":"a\nb\nc\n"}"#],
            r#"{"text":"a\nb\nc\n"}"#,
            &[&conflict(r#""a\nb\n""#, "", r#""a\nb\nc\n""#, "/data/text")],
        ),
        two(
            "texts that both sides made",
            [r#"{}"#, r#"{"text":"a\nb\n"}"#, r#"{"text":"a\nc\n"}"#],
            r#"{"text":"a\nb\nc\n"}"#,
            &[&conflict("", r#""b""#, r#""c""#, "/data/text")],
        ),
        two(
            "a number made a text by both sides",
            [r#"{"text":1}"#, r#"{"text":"a\n"}"#, r#"{"text":"b\n"}"#],
            r#"{"text":"a\nb\n"}"#,
            &[&conflict("", r#""a""#, r#""b""#, "/data/text")],
        ),
    ]
}

fn all_texts() -> Vec<Value> {
    let conflict = |ancestor: &str, base: &str, orphan: &str| {
        let all = [("ancestor", ancestor), ("base", base), ("orphan", orphan), ("path", "/data/text")];
        Value::Object(all.into_iter().filter(|(_, v)| *v != "–").collect()).to_json()
    };
    let long = "word ".repeat(600);
    vec![
        texts(
            "paragraphs edited apart",
            ["p1\n\np2\n\np3\n", "P1\n\np2\n\np3\n", "p1\n\np2\n\nP3\n"],
            "P1\n\np2\n\nP3\n",
            &[],
        ),
        texts("one line, edited at its start and at its end", ["mid", "start mid", "mid end"], "start mid end", &[]),
        texts(
            "a line replaced by both: both lines stay",
            ["k\nold\nz\n", "k\nleft\nz\n", "k\nright\nz\n"],
            "k\nleft\nright\nz\n",
            &[&conflict("old", "left", "right")],
        ),
        texts("a line replaced by the same", ["k\nold\nz\n", "k\nnew\nz\n", "k\nnew\nz\n"], "k\nnew\nz\n", &[]),
        texts(
            "words put into one line by both",
            ["the quick fox\n", "the very quick fox\n", "the quick fox jumps\n"],
            "the very quick fox jumps\n",
            &[],
        ),
        texts(
            "different lines put into one gap",
            ["a\nz\n", "a\nb1\nb2\nz\n", "a\no1\nz\n"],
            "a\nb1\nb2\no1\nz\n",
            &[],
        ),
        texts("the same lines put into one gap", ["a\nz\n", "a\nb\nc\nz\n", "a\nb\nc\nz\n"], "a\nb\nc\nz\n", &[]),
        texts(
            "lines put into one gap of which some are the same",
            ["a\nz\n", "a\nb\n}\nz\n", "a\nc\n}\nz\n"],
            "a\nb\n}\nc\n}\nz\n",
            &[],
        ),
        texts("a move against a delete", ["a\nb\nc\nd\n", "b\nc\nd\na\n", "b\nc\nd\n"], "b\nc\nd\n", &[]),
        texts("a delete against a move", ["a\nb\nc\nd\n", "b\nc\nd\n", "b\nc\nd\na\n"], "b\nc\nd\n", &[]),
        texts("a move against an edit", ["a\nb\nc\nd\n", "b\nc\nd\na\n", "A\nb\nc\nd\n"], "A\nb\nc\nd\n", &[]),
        texts(
            "a line moved to two places stands at base's",
            ["a\nb\nc\nd\n", "b\nc\nd\na\n", "b\na\nc\nd\n"],
            "b\nc\nd\na\n",
            &[],
        ),
        texts("lines that repeat", ["x\nx\nx\n", "x\nx\nx\nx\n", "x\nx\n"], "x\nx\nx\n", &[]),
        texts("a final line break added", ["a\nb", "a\nb\n", "x\na\nb"], "x\na\nb\n", &[]),
        texts("a final line break taken away", ["a\nb\n", "a\nb", "x\na\nb\n"], "x\na\nb", &[]),
        texts("lines that end in CR LF", ["a\r\nb\r\n", "a\r\nB\r\n", "x\r\na\r\nb\r\n"], "x\r\na\r\nB\r\n", &[]),
        texts(
            "all line ends changed against one line: one conflict",
            ["a\nb\nc\n", "a\r\nb\r\nc\r\n", "a\nB\nc\n"],
            "a\r\nb\r\nc\r\nB\n",
            &[&conflict("a\nb\nc", "a\r\nb\r\nc\r", "a\nB\nc")],
        ),
        texts(
            "one side's run replaces what the other edited at two places: one conflict",
            ["1\n2\n3\n4\n5\n", "one\ntwo\n", "1\nB\n3\nD\n5\n"],
            "one\ntwo\nB\nD\n",
            &[&conflict("1\n2\n3\n4\n5", "one\ntwo", "1\nB\n3\nD\n5")],
        ),
        texts(
            "combining characters and emoji",
            ["cafe\u{301} 👩‍👧 noir\n", "cafe\u{301} 👩‍👧 tre\u{300}s noir\n", "un cafe\u{301} 👩‍👧 noir\n"],
            "un cafe\u{301} 👩‍👧 tre\u{300}s noir\n",
            &[],
        ),
        texts(
            "an accent put on a letter changes the word",
            ["cafe\n", "cafe\u{301}\n", "cafe noir\n"],
            "cafe\u{301}\ncafe noir\n",
            &[&conflict("cafe", "cafe\u{301}", "cafe noir")],
        ),
        texts(
            "a very long line edited at both ends",
            [&long, &format!("first {long}"), &format!("{long}last")],
            &format!("first {long}last"),
            &[],
        ),
        texts("an empty text filled by both", ["", "x\n", "y\n"], "x\ny\n", &[&conflict("–", "x", "y")]),
        texts(
            "a text emptied against an edit",
            ["a\nb\n", "", "a\nB\n"],
            "a\nB\n",
            &[&conflict("a\nb\n", "", "a\nB\n")],
        ),
    ]
}

fn several_nearest_ancestors() -> Value {
    let mut c = Case::new("several nearest ancestors (criss-cross)");
    let s = c.start(r#"{"text":"0\n1\n2\n"}"#);
    let a = c.edit(&s, r#"{"text":"0\nA\n1\n2\n"}"#);
    let b = c.edit(&s, r#"{"text":"0\n1\nB\n2\n"}"#);
    let a2 = c.edit(&a, r#"{"text":"0\nA\nA2\n1\n2\n"}"#);
    let b2 = c.edit(&b, r#"{"text":"0\n1\nB\nB2\n2\n"}"#);
    let (x, y) = (c.join(&a2, &b), c.join(&a, &b2));
    let tip = c.join(&x, &y);
    c.holds(&tip, r#"{"text":"0\nA\nA2\n1\nB\nB2\n2\n"}"#, &[]);
    c.told()
}

fn three_nearest_ancestors() -> Value {
    let mut c =
        Case::new("three nearest ancestors, an edit of one of them deleted again, and the same line put in twice");
    let s = c.start(r#"{"f":0,"text":"0\n1\n2\n"}"#);
    let a = c.edit(&s, r#"{"f":0,"text":"A\n0\n1\n2\n"}"#);
    let b = c.edit(&s, r#"{"f":0,"text":"0\nsame\n1\n2\n"}"#);
    let d = c.edit(&s, r#"{"f":0,"text":"0\n1\n2\nD\n"}"#);
    let a2 = c.edit(&a, r#"{"f":1,"text":"0\n1\n2\n"}"#);
    let b2 = c.edit(&b, r#"{"f":0,"text":"0\nsame\n1\n2\nB2\n"}"#);
    let x = c.join(&a2, &b);
    let x = c.join(&x, &d);
    let y = c.join(&a, &b2);
    let y = c.join(&d, &y);
    let tip = c.join(&x, &y);
    // B2 and D were put into one gap, by base and orphan of y.
    let text = c.get(&y).datum("text").unwrap().as_str().unwrap();
    assert!(["A\n0\nsame\n1\n2\nB2\nD\n", "A\n0\nsame\n1\n2\nD\nB2\n"].contains(&text), "{text}");
    let text = text.strip_prefix("A\n").unwrap().replace('\n', "\\n");
    c.holds(&tip, &format!(r#"{{"f":1,"text":"{text}"}}"#), &[]);
    c.told()
}

fn merges_of_merges() -> Value {
    let mut c = Case::new("merges of merges, and the newer writer wins over the higher tip");
    let s = c.start(r#"{"f":0,"g":0,"h":0}"#);
    let a = c.edit(&s, r#"{"f":1,"g":0,"h":0}"#);
    let b = c.edit(&s, r#"{"f":0,"g":1,"h":0}"#);
    let ab = c.join(&a, &b);
    let e = c.edit(&ab, r#"{"f":2,"g":1,"h":0}"#);
    let mut d = b.clone();
    for h in 1..6 {
        d = c.edit(&d, &format!(r#"{{"f":0,"g":1,"h":{h}}}"#));
    }
    let ad = c.join(&a, &d);
    c.holds(&ad, r#"{"f":1,"g":1,"h":5}"#, &[]);
    let tip = c.join(&ad, &e);
    assert_eq!(c.get(&tip).past(), Some(ad));
    c.holds(&tip, r#"{"f":2,"g":1,"h":5}"#, &[]);
    c.told()
}

fn criss_cross_value() -> Value {
    let mut c =
        Case::new("a value that was seen and replaced in a criss-cross stands, and a conflict tells all of them");
    let s = c.start(r#"{"v":0}"#);
    let (a, b) = (c.edit(&s, r#"{"v":5}"#), c.edit(&s, r#"{"v":3}"#));
    let seen = c.join(&a, &b);
    let v = c.get(&seen).datum("v").unwrap().to_json();
    let edited = c.edit(&seen, r#"{"v":2}"#);
    let other = c.edit(&a, r#"{"v":1}"#);
    let more = c.edit(&b, r#"{"v":3,"x":1}"#);
    let other = c.join(&more, &other);
    let tip = c.join(&edited, &other);
    let now = c.get(&tip).datum("v").unwrap().to_json();
    let told = c.conflicts(&tip).concat();
    assert!(["2", "1", "3"].iter().all(|one| now == *one || told.contains(one)), "{v} {now} {told}");
    c.told()
}

fn data_without_members() -> Value {
    let mut c = Case::new("data that is no object: the other side's members stand, with a conflict");
    c.numbered = false;
    let s = c.start(r#"{"f":0}"#);
    let tjp = c.get(&s).tjp().unwrap();
    let bare = IbGib {
        ib: "doc".into(),
        gib: None,
        data: Some(json(r#"["x"]"#)),
        rel8ns: Some(Value::Object(
            [("dna", "mut8^gib"), ("past", s.as_str()), ("tjp", tjp.as_str())]
                .map(|(name, addr)| (name, ibgib::json::strings([addr])))
                .into_iter()
                .collect(),
        )),
    };
    let bare = bare.seal().unwrap();
    c.history.insert(bare.clone());
    c.frames.push(bare.clone());
    let o = c.edit(&s, r#"{"f":1}"#);
    let tip = c.join(bare.addr(), &o);
    assert_eq!((c.data(&tip).as_str(), c.get(&tip).n()), (r#"{"f":1}"#, Some(0)));
    assert_eq!(c.conflicts(&tip).len(), 1);
    c.told()
}

/// The table of examples in docs/merging.md: (name, ancestor, base, orphan, result, conflicts).
fn examples() -> Vec<Value> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/merging.md")).unwrap();
    let unquote = |cell: &str| {
        let text = cell.trim().strip_prefix('`')?.strip_suffix('`')?;
        Some(text.replace('⏎', "\n").replace('∅', "").replace('¦', "|"))
    };
    let is_row = |line: &&str| line.split('|').nth(1).is_some_and(|cell| cell.trim().parse::<u32>().is_ok());
    let told = page.lines().filter(is_row).map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        let [_, number, what, ancestor, base, orphan, result, conflicts, _] = cells[..] else { panic!("{row}") };
        let data = |cell: &str| match unquote(cell) {
            Some(text) => Value::Object([("text", text)].into_iter().collect()).to_json(),
            None => "{}".to_owned(),
        };
        let conflicts = if conflicts.trim() == "none" {
            Vec::new()
        } else {
            let (place, values) = conflicts.trim().split_once(": ").unwrap();
            let path = if place == "file" { "/data/text".to_owned() } else { format!("/data/text{place}") };
            let values = ["ancestor", "base", "orphan"].into_iter().zip(values.split(" / "));
            let members = values.filter_map(|(name, value)| Some((name, Value::from(unquote(value)?))));
            vec![Value::Object(members.chain([("path", path.into())]).collect()).to_json()]
        };
        let conflicts: Vec<&str> = conflicts.iter().map(String::as_str).collect();
        let name = format!("example {}: {}", number.trim(), what.trim());
        let [ancestor, base, mut orphan, result] = [ancestor, base, orphan, result].map(data);
        if orphan == ancestor {
            // Else it would be the very frame that base was made on.
            orphan = orphan.replace("\"}", "\",\"uuid\":\"orphan's\"}");
        }
        two(&name, [&ancestor, &base, &orphan], &result, &conflicts)
    });
    let told: Vec<Value> = told.collect();
    assert!(told.len() >= 62);
    told
}

fn equal_n() -> Value {
    let mut c = Case::new("equal n: base is the tip with the larger gib");
    let s = c.start(r#"{"f":0}"#);
    let (a, b) = (c.edit(&s, r#"{"f":1}"#), c.edit(&s, r#"{"f":2}"#));
    let tip = c.join(&a, &b);
    assert_eq!(c.get(&tip).past(), Some(if a.gib() > b.gib() { a.clone() } else { b.clone() }));
    let f = c.get(if a.gib() > b.gib() { &a } else { &b }).datum("f").unwrap().to_json();
    assert_eq!(c.data(&tip), format!(r#"{{"f":{f}}}"#));
    assert_eq!(c.conflicts(&tip).len(), 1);
    c.told()
}

fn cover() -> Value {
    let mut c = Case::new("cover: no merge when one tip has every edit of the other, in both directions");
    let s = c.start(r#"{"a":0,"b":0,"c":0}"#);
    let a = c.edit(&s, r#"{"a":1,"b":0,"c":0}"#);
    let b = c.edit(&s, r#"{"a":0,"b":1,"c":0}"#);
    let d = c.edit(&s, r#"{"a":0,"b":0,"c":1}"#);
    let ab = c.join(&a, &b);
    assert_eq!(c.join(&ab, &a), ab, "a merge covers what it merged");
    let bd = c.join(&b, &d);
    let (x, y) = (c.join(&ab, &d), c.join(&a, &bd));
    assert_ne!(x, y);
    let larger = if c.get(&x).addr().gib() > c.get(&y).addr().gib() { x.clone() } else { y.clone() };
    assert_eq!(c.join(&x, &y), larger, "they cover each other: the larger (n, gib) stays");
    let e = c.edit(&x, r#"{"a":2,"b":1,"c":1}"#);
    assert_eq!(c.join(&e, &y), e, "an edit on one covers the other");
    c.holds(&e, r#"{"a":2,"b":1,"c":1}"#, &[]);
    c.told()
}

fn text_deleted_against_several_edits() -> Value {
    let mut c = Case::new("a text deleted against concurrent edits: all of them stay");
    let s = c.start(r#"{"text":"0\n1\n"}"#);
    let a = c.edit(&s, r#"{"text":"A\n0\n1\n"}"#);
    let b = c.edit(&s, r#"{"text":"0\n1\nB\n"}"#);
    let d = c.edit(&s, "{}");
    let d = c.edit(&d, r#"{"x":1}"#);
    let d = c.edit(&d, r#"{"x":2}"#);
    let ab = c.join(&a, &b);
    let tip = c.join(&ab, &d);
    c.holds(
        &tip,
        r#"{"text":"A\n0\n1\nB\n","x":2}"#,
        &[r#"{"ancestor":"0\n1\n","orphan":"A\n0\n1\nB\n","path":"/data/text"}"#],
    );
    c.told()
}

fn relations() -> Value {
    let mut c = Case::new("relations: an entry stays iff both keep it, new ones of both are put in where they were");
    let s = c.start(r#"{"f":0}"#);
    let s = c.frame(&s, "doc", r#"{"f":0}"#, &[("friend", vec!["x^gib", "y^gib", "z^gib"])]);
    let b = c.frame(&s, "doc", r#"{"f":1}"#, &[("friend", vec!["z^gib", "b^gib", "y^gib"])]);
    let b = c.frame(&b, "doc", r#"{"f":1}"#, &[("friend", vec!["z^gib", "b^gib", "y^gib"]), ("site", vec!["s^gib"])]);
    let o = c.frame(&s, "doc", r#"{"f":0}"#, &[("friend", vec!["x^gib", "o^gib", "z^gib"])]);
    let tip = c.join(&b, &o);
    assert_eq!(c.get(&tip).rel8n("friend").collect::<Vec<_>>(), ["o^gib", "z^gib", "b^gib"]);
    assert_eq!(c.get(&tip).rel8n("site").collect::<Vec<_>>(), ["s^gib"]);
    c.holds(&tip, r#"{"f":1}"#, &[]);
    c.told()
}

/// Two edits of one member, merged with a conflict; and a tip that saw only one of them, but is higher.
fn with_conflict(c: &mut Case) -> (Addr, Addr) {
    let s = c.start(r#"{"f":0,"g":0}"#);
    let (a, b) = (c.edit(&s, r#"{"f":1,"g":0}"#), c.edit(&s, r#"{"f":2,"g":0}"#));
    let merged = c.join(&a, &b);
    let mut stale = a;
    for g in 1..5 {
        stale = c.edit(&stale, &format!(r#"{{"f":1,"g":{g}}}"#));
    }
    (merged, stale)
}

fn conflicts_are_inherited() -> Value {
    let mut c = Case::new("a conflict is inherited, and not found again by who saw one side only");
    let (merged, stale) = with_conflict(&mut c);
    let before = c.conflicts(&merged);
    let tip = c.join(&merged, &stale);
    assert_eq!(c.get(&tip).past(), Some(stale));
    assert_eq!(before.len(), 1);
    assert_eq!(c.conflicts(&tip), before);
    c.told()
}

fn conflicts_stay_resolved() -> Value {
    let mut c = Case::new("a conflict that was resolved, here by keeping what stands, does not come back");
    let (merged, stale) = with_conflict(&mut c);
    let kept = c.data(&merged);
    let resolved = c.frame(&merged, "doc", &kept, &[]);
    let tip = c.join(&resolved, &stale);
    assert_eq!(c.conflicts(&tip), [""; 0]);
    assert_eq!(c.get(&tip).datum("f"), c.get(&merged).datum("f"));
    c.told()
}

fn resolving_against_an_edit() -> Value {
    let mut c = Case::new("resolving a conflict against an edit of the same member: the new conflict only");
    let (merged, _) = with_conflict(&mut c);
    let f = c.get(&merged).datum("f").unwrap().to_json();
    let resolved = c.frame(&merged, "doc", &format!(r#"{{"f":{f},"g":1}}"#), &[]);
    let resolved = c.edit(&resolved, r#"{"f":3,"g":1}"#);
    let edited = c.edit(&merged, r#"{"f":4,"g":0}"#);
    let tip = c.join(&resolved, &edited);
    let new = format!(r#"{{"ancestor":{f},"base":3,"orphan":4,"path":"/data/f"}}"#);
    c.holds(&tip, r#"{"f":3,"g":1}"#, &[&new]);
    c.told()
}

fn timestamps() -> Vec<Value> {
    let early = r#""timestamp":"Thu, 01 Jan 2026 00:00:00 GMT","timestampMs":900"#;
    let late = r#""timestamp":"Thu, 01 Jan 2026 00:00:01 GMT","timestampMs":100"#;
    let later = r#""timestamp":"Thu, 01 Jan 2026 00:00:01 GMT","timestampMs":200"#;
    let none = r#""timestamp":"yesterday""#;
    let cases = [
        ("the orphan's timestamp when it is later", early, late, late),
        ("milliseconds decide within a second", late, later, later),
        ("base's timestamp when it is later", late, early, late),
        ("a timestamp that cannot be read is the oldest", none, early, early),
        ("a timestamp that is missing is the oldest", "", early, early),
        ("base's timestamp when neither can be read", none, "", none),
    ];
    let told = cases.map(|(name, base, orphan, wanted)| {
        let data = |stamp: &str, f: u32| {
            let stamp = if stamp.is_empty() { String::new() } else { format!("{stamp},") };
            format!(r#"{{{stamp}"uuid":"of {f}","f{f}":1}}"#)
        };
        let mut c = Case::new(name);
        let s = c.start("{}");
        let b = c.edit(&s, "{}");
        let (b, o) = (c.edit(&b, &data(base, 1)), c.edit(&s, &data(orphan, 2)));
        let tip = c.join(&b, &o);
        let wanted = json(&format!("{{{wanted}}}"));
        for member in ["timestamp", "timestampMs"] {
            assert_eq!(c.get(&tip).datum(member), wanted.get(member), "{name}");
        }
        assert_eq!(c.get(&tip).datum("uuid"), Some(&"of 1".into()));
        assert_eq!(c.get(&tip).datum("n"), Some(&Value::from(4)));
        c.told()
    });
    told.into()
}

fn ib_changed() -> Value {
    let mut c = Case::new("ib changed by both sides");
    let s = c.start(r#"{"f":0}"#);
    let b = c.edit(&s, r#"{"f":0}"#);
    let (b, o) = (c.frame(&b, "doc left", r#"{"f":0}"#, &[]), c.frame(&s, "doc right", r#"{"f":1}"#, &[]));
    let tip = c.join(&b, &o);
    assert_eq!(c.get(&tip).ib, "doc left");
    c.holds(&tip, r#"{"f":1}"#, &[r#"{"ancestor":"doc","base":"doc left","orphan":"doc right","path":"/ib"}"#]);
    c.told()
}

fn frames_without_n() -> Value {
    let mut c = Case::new("frames without n count as -1; their merge begins to count");
    c.numbered = false;
    let s = c.start(r#"{"text":"0\n"}"#);
    let mut ends = Vec::new();
    // In the order of their addresses some come before and some after the frames they were made on.
    for side in ["A", "B", "C"] {
        let (mut tip, mut text) = (s.clone(), String::from("0\\n"));
        for i in 1..5 {
            text = format!("{text}{side}{i}\\n");
            tip = c.edit(&tip, &format!(r#"{{"text":"{text}","w{side}":{i},"shared":"{side}{i}"}}"#));
        }
        ends.push(tip);
    }
    let ab = c.join(&ends[0], &ends[1]);
    assert_eq!((c.get(&ab).n(), c.get(&ends[0]).n()), (Some(0), None));
    let e = c.edit(&ab, &c.data(&ab).replace("0\\n", "first\\n"));
    assert_eq!(c.get(&e).n(), Some(1));
    let tip = c.join(&e, &ends[2]);
    assert_eq!(c.get(&tip).n(), Some(2));
    let text = c.get(&tip).datum("text").unwrap().as_str().unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (13, "first"), "{text}");
    assert!(
        [["A1", "A2", "A3", "A4"], ["B1", "B2", "B3", "B4"], ["C1", "C2", "C3", "C4"]]
            .iter()
            .all(|run| lines.windows(4).any(|w| w == run))
    );
    assert_eq!(c.conflicts(&tip).len(), 2, "{:?}", c.conflicts(&tip));
    c.told()
}

fn claims_to_be_a_merge() -> Value {
    let mut c = Case::new("a frame that only claims to be a merge, or follows an unknown rule, is an edit");
    let s = c.start(r#"{"a":0,"b":0}"#);
    let (a, b) = (c.edit(&s, r#"{"a":1,"b":0}"#), c.edit(&s, r#"{"a":0,"b":1}"#));
    let (base, orphan) = if a.gib() > b.gib() { (a, b) } else { (b, a) };
    let graft = [("graftbase", vec![base.as_str()]), ("graftorphan", vec![orphan.as_str()])];
    let claims = c.frame(&base, "doc", r#"{"a":9,"b":0}"#, &graft);
    assert_eq!(c.history.ancestry(&orphan, &claims), Ok(Ancestry::Diverged));
    assert!(matches!(c.history.advance(Some(&orphan), &claims), Err(HistoryError::NotCovered { .. })));
    let tip = c.join(&claims, &orphan);
    assert_eq!(c.history.ancestry(&orphan, &tip), Ok(Ancestry::Behind));
    let b = c.get(&orphan).datum("b").unwrap().to_json();
    c.holds(&tip, &format!(r#"{{"a":9,"b":{b}}}"#), &c.conflicts(&tip).iter().map(String::as_str).collect::<Vec<_>>());
    c.told()
}

fn cases() -> Vec<Value> {
    let mut all = values();
    all.extend(all_texts());
    all.extend([several_nearest_ancestors(), three_nearest_ancestors(), merges_of_merges(), equal_n(), cover()]);
    all.extend([criss_cross_value(), data_without_members()]);
    all.extend([text_deleted_against_several_edits(), relations()]);
    all.extend([conflicts_are_inherited(), conflicts_stay_resolved(), resolving_against_an_edit()]);
    all.extend(timestamps());
    all.extend([ib_changed(), frames_without_n(), claims_to_be_a_merge()]);
    all.extend(examples());
    all
}

/// Readable in a diff: a line for each text.
fn print(cases: Vec<Value>) -> String {
    let list = |items: &Value, indent: &str| {
        let lines = items.as_array().unwrap().iter().map(|t| format!("{indent}{}", t.to_json()));
        lines.collect::<Vec<_>>().join(",\n")
    };
    let merge = |m: &Value| {
        let [tips, tip] = ["tips", "tip"].map(|k| m.get(k).unwrap().to_json());
        let nodes = list(m.get("nodes").unwrap(), "          ");
        format!("      {{\"tips\": {tips},\n        \"tip\": {tip},\n        \"nodes\": [\n{nodes}]}}")
    };
    let cases = cases.iter().map(|case| {
        let merges: Vec<String> = case.get("merges").unwrap().as_array().unwrap().iter().map(merge).collect();
        let (name, frames) = (case.get("name").unwrap(), list(case.get("frames").unwrap(), "      "));
        format!("  {{\"name\": {name},\n    \"frames\": [\n{frames}],\n    \"merges\": [\n{}]}}", merges.join(",\n"))
    });
    format!("[\n{}\n]\n", cases.collect::<Vec<_>>().join(",\n"))
}

#[test]
fn every_case_holds_and_is_pinned() {
    let text = print(cases());
    if std::env::var("IBGIB_GOLDEN").is_ok_and(|v| v == "write") {
        std::fs::write(FILE, &text).unwrap();
    }
    let pinned = std::fs::read_to_string(FILE).unwrap();
    for (new, old) in text.lines().zip(pinned.lines()) {
        assert_eq!(new, old);
    }
    assert_eq!(text, pinned);
}

#[test]
fn the_pinned_merges_are_made_from_the_frames_alone() {
    let file = json(&std::fs::read_to_string(FILE).unwrap());
    let list = |v: &Value, key: &str| -> Vec<String> {
        v.get(key).unwrap().as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()).collect()
    };
    let cases = file.as_array().unwrap();
    assert!(cases.len() > 120);
    for case in cases {
        let mut history = History::new();
        list(case, "frames").iter().for_each(|t| history.insert(Verified::parse(t).unwrap()));
        for merge in case.get("merges").unwrap().as_array().unwrap() {
            let tips: Vec<Addr> = list(merge, "tips").iter().map(|t| t.parse().unwrap()).collect();
            let made = history.join(&tips[0], &tips[1]).unwrap();
            assert_eq!(made.tip.as_str(), merge.get("tip").unwrap().as_str().unwrap(), "{}", case.get("name").unwrap());
            assert_eq!(made.nodes.iter().map(|n| n.to_json()).collect::<Vec<_>>(), list(merge, "nodes"));
            let tip = history.get(&made.tip).unwrap();
            assert_eq!(
                tip.n(),
                tips.iter()
                    .filter_map(|t| history.get(t).unwrap().n())
                    .max()
                    .map_or(Some(0), |n| { Some(n + u64::from(!made.nodes.is_empty())) })
            );
        }
    }
}
