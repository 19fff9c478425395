//! Strict reading: every rule refused by its name, limits without a stack overflow, and nothing that strict takes does
//! compat see otherwise.

use ibgib::canonical::{canonical_text, gib_hash};
use ibgib::compat;
use ibgib::json::js::compare_utf16;
use ibgib::json::{BYTES_MAX, DEPTH_MAX, JsonErrorKind};
use ibgib::transform::{self, ForkOpts, Moment, Mut8Opts, TjpOpts, TransformError};
use ibgib::{IbGib, Map, Mode, Value, Verified, VerifyError};
use proptest::prelude::*;

const HASH: &str = "8899D818977D6AA2246692996DCC5940BF42B589D2DD601D7848B1A07AF6750B";
const OTHER: &str = "419F20BA8B0E58BA8CF34E66326044529948536C209821B5266D1B6360C00987";

/// The text of an ibgib with these parts and the gib that compat computes for them.
fn with_gib(parts: &str) -> String {
    let node = IbGib::parse(&format!("{{{parts}}}"), Mode::Compat).unwrap();
    format!(r#"{{{parts},"gib":"{}"}}"#, compat::get_gib(&node).unwrap())
}

/// The name of the rule that refuses the text, or `ok`.
fn rule(text: &str) -> &'static str {
    match Verified::parse(text) {
        Ok(_) => "ok",
        Err(error) => error.rule(),
    }
}

#[test]
fn each_rule_refuses_by_its_name() {
    let cases = [
        ("ok", r#""ib":"a""#.to_owned()),
        ("ok", r#""ib":"a b","data":{"x":1}"#.into()),
        // Members that the hash does not cover.
        ("json", r#""ib":"a","data":{"__proto__":1,"x":1}"#.into()),
        ("json", r#""ib":"a","data":{"x":{"__proto__":{}}}"#.into()),
        ("json", r#""ib":"a","rel8ns":{"__proto__":["a^gib"],"r":["a^gib"]}"#.into()),
        ("json", r#""ib":"a","__proto__":1"#.into()),
        ("json", r#""ib":"a","data":{"\u005f_proto__":1,"x":1}"#.into()),
        ("ok", r#""ib":"a","data":{"x":[{"__proto__":1,"y":{"__proto__":2}}]}"#.into()),
        // Members twice.
        ("json", r#""ib":"a","data":{"x":1,"x":1}"#.into()),
        ("json", r#""ib":"a","data":{"x":[{"y":1,"\u0079":2}]}"#.into()),
        ("json", r#""ib":"a","ib":"a""#.into()),
        ("json", r#""ib":"a","data":{"x":1},"data":{"x":1}"#.into()),
        // Numbers that print as another one.
        ("ok", r#""ib":"a","data":{"x":[1.0,1e2,0.1,1.10,1e21,0.0e5,9007199254740991,100000000000000000000]}"#.into()),
        ("json", r#""ib":"a","data":{"x":9007199254740993}"#.into()),
        ("json", r#""ib":"a","data":{"x":[[1e400]]}"#.into()),
        ("json", r#""ib":"a","data":{"x":1e-400}"#.into()),
        ("json", r#""ib":"a","data":{"x":0.1000000000000000055}"#.into()),
        ("json", r#""ib":"a","data":{"x":-0}"#.into()),
        ("json", r#""ib":"a","data":{"x":[-0.0]}"#.into()),
        // Other fields.
        ("unknown_field", r#""ib":"a","n":1"#.into()),
        // Content that nothing covers.
        ("hashes_as_absent", r#""ib":"a","data":null"#.into()),
        ("hashes_as_absent", r#""ib":"a","data":[]"#.into()),
        ("hashes_as_absent", r#""ib":"a","data":"""#.into()),
        ("hashes_as_absent", r#""ib":"a","data":0"#.into()),
        ("hashes_as_absent", r#""ib":"a","data":false"#.into()),
        ("ok", r#""ib":"a","data":{}"#.into()),
        ("ok", r#""ib":"a","rel8ns":{}"#.into()),
        ("hashes_as_absent", r#""ib":"a","rel8ns":{"r":[]}"#.into()),
        ("shape", r#""ib":"a","rel8ns":null"#.into()),
        ("shape", r#""ib":"a","rel8ns":[]"#.into()),
        ("ok", r#""ib":"a","rel8ns":{"r":[],"s":["a^gib"]}"#.into()),
        // Relations.
        ("relation", r#""ib":"a","rel8ns":{"r":null,"s":["a^gib"]}"#.into()),
        ("relation", r#""ib":"a","rel8ns":{"r":"a^gib"}"#.into()),
        ("relation", r#""ib":"a","rel8ns":{"r":[1]}"#.into()),
        ("relation", r#""ib":"a","rel8ns":{"r":["a"]}"#.into()),
        ("relation", r#""ib":"a","rel8ns":{"r":["^gib"]}"#.into()),
        ("relation", r#""ib":"a","rel8ns":{"r":["a^b^gib"]}"#.into()),
        ("relation", r#""ib":"a","rel8ns":{"r":["a^"]}"#.into()),
        ("relation", format!(r#""ib":"a","rel8ns":{{"r":["a^{}"]}}"#, HASH.to_lowercase())),
        ("relation", format!(r#""ib":"a","rel8ns":{{"r":["a^gib.{HASH}"]}}"#)),
        ("ok", format!(r#""ib":"a","rel8ns":{{"r":["a^{HASH}.{OTHER}","b^{HASH}.gib"]}}"#)),
        // One hash for two kinds of content.
        ("data_looks_like_rel8ns", r#""ib":"a","data":{"x":["a^gib"]}"#.into()),
        ("data_looks_like_rel8ns", r#""ib":"a","data":{"x":["a^gib"],"y":[]},"rel8ns":{}"#.into()),
        ("ok", r#""ib":"a","data":{"x":["a^gib"],"y":1}"#.into()),
        ("ok", r#""ib":"a","data":{"x":["a^gib"]},"rel8ns":{"r":["a^gib"]}"#.into()),
        ("ok", r#""ib":"a","data":{"x":[]}"#.into()),
        // Timelines.
        ("ok", r#""ib":"a","data":{"isTjp":true,"n":0}"#.into()),
        ("ok", format!(r#""ib":"a","data":{{"n":1}},"rel8ns":{{"tjp":["a^{HASH}"]}}"#)),
        ("ok", format!(r#""ib":"a","rel8ns":{{"tjp":["a^{HASH}"]}}"#)),
        ("tjp", format!(r#""ib":"a","data":{{"isTjp":true}},"rel8ns":{{"tjp":["a^{HASH}"]}}"#)),
        ("tjp", format!(r#""ib":"a","data":{{"x":1}},"rel8ns":{{"tjp":["a^{HASH}","a^{OTHER}"]}}"#)),
        ("tjp", r#""ib":"a","data":{"x":1},"rel8ns":{"tjp":[],"r":["a^gib"]}"#.into()),
        ("frame_number", r#""ib":"a","data":{"isTjp":true,"n":-1}"#.into()),
        ("frame_number", format!(r#""ib":"a","data":{{"n":1.5}},"rel8ns":{{"tjp":["a^{HASH}"]}}"#)),
        ("frame_number", format!(r#""ib":"a","data":{{"n":"1"}},"rel8ns":{{"tjp":["a^{HASH}"]}}"#)),
        ("frame_number", format!(r#""ib":"a","data":{{"n":9007199254740992}},"rel8ns":{{"tjp":["a^{HASH}"]}}"#)),
        ("ok", r#""ib":"a","data":{"n":"anything"}"#.into()),
        // Names.
        ("address", r#""ib":"""#.into()),
        ("address", r#""ib":"a^b""#.into()),
    ];
    for (expected, parts) in cases {
        let text = with_gib(&parts);
        assert_eq!(rule(&text), expected, "{text}");
    }
}

#[test]
fn each_rule_about_the_gib_refuses_by_its_name() {
    let lower = with_gib(r#""ib":"a","data":{"x":1}"#);
    let (before, gib) = lower.split_once(r#""gib":""#).unwrap();
    let gib = gib.trim_end_matches("\"}");
    let stated = |gib: &str| format!(r#"{before}"gib":"{gib}"}}"#);
    for (expected, text) in [
        ("ok", stated(gib)),
        ("address", stated(&gib.to_lowercase())),
        ("address", stated("")),
        ("address", stated(&format!("{gib}."))),
        ("address", stated(&format!(".{gib}"))),
        ("address", stated(&format!("gib.{gib}"))),
        ("address", stated(&format!("{gib}\\n"))),
        ("address", stated(&format!("{gib}^{gib}"))),
        ("address", r#"{"ib":"a"}"#.into()),
        ("wrong_gib", stated(HASH)),
        ("wrong_gib", stated(&format!("{gib}.{HASH}"))),
        ("wrong_gib", stated(&gib[..32])),
        ("ok", r#"{"ib":"a","gib":"gib"}"#.into()),
        ("primitive_content", r#"{"ib":"a","gib":"gib","data":{"x":1}}"#.into()),
        ("primitive_content", r#"{"ib":"a","gib":"gib","data":{}}"#.into()),
        ("primitive_content", r#"{"ib":"a","gib":"gib","rel8ns":{"r":["a^gib"]}}"#.into()),
        ("shape", r#"{"ib":1,"gib":"gib"}"#.into()),
        ("shape", r#"{"ib":"a","gib":null}"#.into()),
        ("shape", r#"{"gib":"gib"}"#.into()),
        ("shape", "[]".into()),
        ("json", r#"{"ib":"\ud800","gib":"gib"}"#.into()),
        ("json", r#"{"ib":"a","gib":"gib"} x"#.into()),
        ("json", String::new()),
    ] {
        assert_eq!(rule(&text), expected, "{text}");
    }
}

#[test]
fn a_frame_s_gib_carries_its_own_timeline() {
    let framed = with_gib(&format!(r#""ib":"a","data":{{"n":1}},"rel8ns":{{"tjp":["a^{HASH}"]}}"#));
    assert!(framed.contains(&format!(".{HASH}\"")));
    assert_eq!(rule(&framed), "ok");
    assert_eq!(rule(&framed.replace(&format!(".{HASH}\""), "\"")), "wrong_gib");
    assert_eq!(rule(&framed.replace(&format!(".{HASH}\""), &format!(".{OTHER}\""))), "wrong_gib");
}

/// Compat takes a rel8 dna whose gib only holds once `src` is deleted; strict does not.
#[test]
fn a_dna_that_holds_only_without_its_source_is_refused() {
    let rel8ns = r#""rel8ns":{"ancestor":["rel8^gib"]}"#;
    let sound = with_gib(&format!(r#""ib":"rel8","data":{{"dna":true}},{rel8ns}"#));
    let padded = sound.replace(r#"{"dna":true}"#, r#"{"dna":true,"src":{"ib":"x"},"srcAddr":"x^gib"}"#);
    assert_eq!((rule(&sound), rule(&padded)), ("ok", "wrong_gib"));
    let compat_says = |text: &str| compat::validate_intrinsically(&IbGib::parse(text, Mode::Compat).unwrap());
    assert_eq!((compat_says(&sound), compat_says(&padded)), (Ok(vec![]), Ok(vec![])));
}

#[test]
fn a_fork_does_not_clone_a_history() {
    let moment = Moment { now_ms: 1_767_225_600_123, random: [7; 16] };
    let root = IbGib::primitive("note").unwrap();
    let tjp = Some(TjpOpts { uuid: true, timestamp: false });
    let first = transform::fork(&root, &ForkOpts { tjp, ..ForkOpts::default() }, &moment).unwrap().frame;
    let patch = Some([("x", "y")].into_iter().collect());
    let next = transform::mut8(&first, &Mut8Opts { patch, ..Mut8Opts::default() }, &moment).unwrap().frame;
    let opts = ForkOpts { clone_rel8ns: true, ..ForkOpts::default() };
    assert!(transform::fork(&first, &opts, &moment).is_ok());
    let refused = transform::fork(&next, &opts, &moment).unwrap_err();
    assert_eq!(refused, TransformError::ClonedHistory(next.addr().clone()));
}

#[test]
fn content_that_hashes_as_absent_is_stored_as_missing() {
    let node = Verified::parse(&with_gib(r#""ib":"a","data":{},"rel8ns":{}"#)).unwrap();
    assert_eq!((&node.data, &node.rel8ns), (&None, &None));
}

/// What is built in memory obeys the rules of text.
#[test]
fn values_that_no_text_gives_are_refused() {
    let seal = |data: Value| {
        let node = IbGib { ib: "a".into(), data: Some(data), ..IbGib::default() };
        node.seal().map(|_| "ok").unwrap_or_else(|e| e.rule())
    };
    let x = |value: Value| ibgib::object([("x", value)]);
    assert_eq!(seal(x(Value::Number(f64::INFINITY))), "value");
    assert_eq!(seal(x(Value::Number(f64::NAN))), "value");
    assert_eq!(seal(x(Value::Array(vec![Value::Number(-0.0)]))), "value");
    assert_eq!(seal(x([("__proto__", 1u32)].into_iter().collect::<Map>().into())), "value");
    let inside: Map = [("__proto__", 1u32)].into_iter().collect();
    assert_eq!(seal(x(Value::Array(vec![inside.into()]))), "ok");
}

fn nested(levels: usize, open: &str, close: &str) -> String {
    format!("{}1{}", open.repeat(levels), close.repeat(levels))
}

/// Everything that is done with a value is done with the deepest, on no more stack than a worker thread has.
#[test]
fn deep_values_work_and_deeper_ones_are_refused() {
    let all = || {
        for (open, close) in [("[", "]"), (r#"{"k":"#, "}"), (r#"[{"k":"#, "}]")] {
            let levels = if open.len() == 6 { (DEPTH_MAX - 1) / 2 } else { DEPTH_MAX - 1 };
            let deep = nested(levels, open, close);
            let parts = format!(r#""ib":"deep","data":{deep}"#);
            let node = Verified::parse(&with_gib(&parts)).unwrap();
            assert_eq!(node.data.as_ref().unwrap().to_json(), deep);
            let copy = IbGib::clone(&node);
            assert_eq!(copy, *node);
            assert!(!format!("{copy:?}").is_empty());
            assert_eq!(compat::validate_intrinsically(&copy), Ok(vec![]));
            drop(copy);
            let deeper = format!(r#"{{"ib":"deep","data":{}}}"#, nested(DEPTH_MAX, open, close));
            for mode in [Mode::Compat, Mode::Strict] {
                let error = IbGib::parse(&deeper, mode).unwrap_err();
                assert!(matches!(&error, VerifyError::Json(e) if e.kind == JsonErrorKind::TooDeep), "{error}");
            }
        }
        for mode in [Mode::Compat, Mode::Strict] {
            for open in ["[", r#"{"k":"#] {
                assert_eq!(Value::parse(&open.repeat(5_000_000), mode).unwrap_err().kind, JsonErrorKind::TooDeep);
            }
        }
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(all).unwrap().join().unwrap();
}

#[test]
fn values_in_memory_are_as_shallow_as_text() {
    let build = |levels: usize| (0..levels).fold(Value::from(1u32), |inner, _| ibgib::object([("k", inner)]));
    let seal = |levels| IbGib { ib: "deep".into(), data: Some(build(levels)), ..IbGib::default() }.seal();
    let deepest = seal(DEPTH_MAX - 1).unwrap();
    assert_eq!(rule(&deepest.to_json()), "ok");
    assert_eq!(seal(DEPTH_MAX).unwrap_err().rule(), "value");
}

#[test]
fn one_ibgib_has_a_limit_whether_it_is_read_or_made() {
    let made = |bytes: usize| IbGib { ib: "a".into(), data: Some("x".repeat(bytes).into()), ..IbGib::default() }.seal();
    let frame = made(1).unwrap().to_json().len() - 1;
    let largest = made(BYTES_MAX - frame).unwrap();
    assert_eq!(largest.to_json().len(), BYTES_MAX);
    assert_eq!(rule(&largest.to_json()), "ok");
    assert_eq!(made(BYTES_MAX - frame + 1).unwrap_err().rule(), "too_large");
    let padded = format!("{} ", largest.to_json());
    assert_eq!(rule(&padded), "too_large");
}

// ---------------------------------------------------------------------------------------------------------------------

/// Member names that matter to the order, and others.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "a", "b", "10", "9", "0", "01", "-1", "4294967294", "4294967295", "", "é", "e\u{301}", "\u{1f600}",
            "\u{e000}", "\u{ffff}", "constructor", "length", "isTjp", "n", "src", "srcAddr", "tjp",
        ]).prop_map(str::to_owned),
        1 => any::<String>().prop_filter("not covered by the hash", |s| s != "__proto__"),
    ]
}

fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<i32>().prop_map(f64::from),
        any::<f64>().prop_filter("text can hold it", |n| n.is_finite()),
        prop::sample::select(vec![0.0, 1e21, 1e20, 1e-6, 1e-7, 5e-324, 1.7976931348623157e308, 0.1, 123456789.125]),
    ]
    .prop_map(|n| if n == 0.0 { 0.0 } else { n })
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        numbers().prop_map(Value::Number),
        any::<String>().prop_map(Value::String),
        Just(Value::from("a^gib")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((names(), inner), 0..4).prop_map(|m| m.into_iter().collect::<Map>().into()),
        ]
    })
}

fn addresses() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a^gib".to_owned(),
        format!("b c^{HASH}"),
        format!("é^{OTHER}.{HASH}"),
        format!("x^{HASH}.gib"),
        format!("y^{}", &HASH[..32]),
    ])
}

fn ibgibs() -> impl Strategy<Value = IbGib> {
    let rel8ns = prop::collection::vec((names(), prop::collection::vec(addresses(), 0..3)), 0..4);
    let rel8ns = rel8ns
        .prop_map(|lists| lists.into_iter().map(|(name, list)| (name, ibgib::strings(list))).collect::<Map>().into());
    ("[^^]{1,5}", prop::option::of(values()), prop::option::of(rel8ns)).prop_map(|(ib, data, rel8ns)| IbGib {
        ib,
        gib: None,
        data,
        rel8ns,
    })
}

/// The content of a node as its text has it after the name: what most nodes have, and what is hardly ever there.
fn contents() -> impl Strategy<Value = String> {
    let mostly = |usual: Vec<&'static str>, odd: Vec<&'static str>| {
        prop_oneof![30 => prop::sample::select(usual), 1 => prop::sample::select(odd)].prop_map(str::to_owned)
    };
    let names = move || {
        let usual = vec!["text", "n", "isTjp", "a", "B", "c", "d d", "e"];
        mostly(usual, vec!["é", "10", "__proto__", "", "\\n"])
    };
    let usual = vec![
        "0",
        "7",
        "-3",
        "123456789012345",
        "true",
        "false",
        "null",
        "{}",
        "[]",
        r#""""#,
        r#""words, [and] {more}: so\n""#,
        r#""\"\\\t""#,
        "\"é\"",
        "\"\u{7f}\"",
        r#"["a^gib"]"#,
    ];
    let odd = vec![
        "-0",
        "01",
        "1.5",
        "1e2",
        "1234567890123456",
        "9007199254740993",
        r#""\/""#,
        r#""\u0041""#,
        r#""\u0001""#,
        "\"\u{1}\"",
        "nul",
        " 1",
    ];
    let value = mostly(usual, odd).prop_recursive(3, 16, 4, move |inner| {
        let member = (names(), inner.clone()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    });
    let number = prop::sample::select(vec!["0", "5", "-1", "\"3\"", "1.5"]).prop_map(|n| format!("\"n\":{n}"));
    let first = prop::sample::select(vec!["true", "false", "0", "\"yes\""]).prop_map(|is| format!("\"isTjp\":{is}"));
    let member = prop_oneof![
        4 => (names(), value).prop_map(|(name, value)| format!("\"{name}\":{value}")),
        1 => number,
        1 => first,
    ];
    let data = prop::collection::vec(member, 0..4).prop_map(|members| format!(",\"data\":{{{}}}", members.join(",")));
    let item = addresses().prop_map(|addr| format!("\"{addr}\""));
    let names = mostly(vec!["past", "tjp", "identity", "dna", "graftorphan"], vec!["10", "é"]);
    let relation = (names, prop::collection::vec(item, 0..3))
        .prop_map(|(name, items)| format!("\"{name}\":[{}]", items.join(",")));
    let rel8ns = prop::collection::vec(relation, 0..4).prop_map(|list| format!(",\"rel8ns\":{{{}}}", list.join(",")));
    let part = |part| prop::option::weighted(0.8, part).prop_map(Option::unwrap_or_default);
    (part(data.boxed()), part(rel8ns.boxed())).prop_map(|(data, rel8ns)| format!("{data}{rel8ns}}}"))
}

/// Text with one byte changed, left out or put in, so that most of it is still right.
fn damaged(text: &str, at: usize, with: char, how: u8) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let at = at % chars.len();
    match how {
        0 => chars[at] = with,
        1 => drop(chars.remove(at)),
        2 => chars.insert(at, with),
        _ => {}
    }
    chars.into_iter().collect()
}

/// Nodes whose text was kept, and nodes that were made of values, are the same nodes.
fn same_nodes(read: &Verified<IbGib>, made: &Verified<IbGib>) -> Result<(), TestCaseError> {
    prop_assert_eq!(read.addr(), made.addr());
    prop_assert_eq!(read.targets(), made.targets());
    prop_assert_eq!((read.tjp(), read.past(), read.n()), (made.tjp(), made.past(), made.n()));
    prop_assert_eq!((read.is_tjp(), read.is_frame()), (made.is_tjp(), made.is_frame()));
    prop_assert_eq!(read.rel8n_addrs("dna"), made.rel8n_addrs("dna"));
    prop_assert_eq!(read.to_json(), made.to_json());
    prop_assert_eq!(read.to_json_without_gib(), made.to_json_without_gib());
    // Only now are values made of the text.
    prop_assert_eq!(&**read, &**made);
    Ok(())
}

/// The hashed text once more, written for being right only: sorts whole, then moves array indices to the front.
fn plain_canonical(value: &Value, sorting: bool) -> String {
    match value {
        Value::Object(map) => {
            let mut members: Vec<(&str, &Value)> = map.iter().filter(|(k, _)| !sorting || *k != "__proto__").collect();
            if sorting {
                members.sort_by_key(|(k, _)| k.encode_utf16().collect::<Vec<u16>>());
            }
            let index = |k: &str| k.parse::<u32>().ok().filter(|n| n.to_string() == k && *n < u32::MAX);
            members.sort_by_key(|(k, _)| index(k).map_or((1, 0), |n| (0, n)));
            let printed = members.iter().map(|(k, v)| format!("{}:{}", plain_text(k), plain_canonical(v, sorting)));
            format!("{{{}}}", printed.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(|v| plain_canonical(v, false)).collect::<Vec<_>>().join(","))
        }
        Value::String(text) => plain_text(text),
        Value::Number(n) => plain_number(*n),
        other => other.to_json(),
    }
}

fn plain_text(text: &str) -> String {
    let one = |c: char| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\r' => "\\r".to_owned(),
        c if c < ' ' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(one).collect::<String>())
}

/// ECMA-262, Number::toString, from Rust's shortest digits.
fn plain_number(n: f64) -> String {
    let printed = format!("{:e}", n.abs());
    let (digits, exponent) = printed.split_once('e').unwrap();
    let (digits, e) = (digits.replace('.', ""), exponent.parse::<i32>().unwrap() + 1);
    let k = digits.len() as i32;
    let sign = if n < 0.0 { "-" } else { "" };
    let body = if n == 0.0 {
        "0".to_owned()
    } else if k <= e && e <= 21 {
        format!("{digits}{}", "0".repeat((e - k) as usize))
    } else if 0 < e && e <= 21 {
        format!("{}.{}", &digits[..e as usize], &digits[e as usize..])
    } else if -6 < e && e <= 0 {
        format!("0.{}{digits}", "0".repeat(-e as usize))
    } else {
        let point = if k == 1 { String::new() } else { format!(".{}", &digits[1..]) };
        format!("{}{point}e{}{}", &digits[..1], if e > 0 { "+" } else { "-" }, (e - 1).abs())
    };
    format!("{sign}{body}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn printing_and_reading_change_nothing(value in values()) {
        let text = value.to_json();
        for mode in [Mode::Compat, Mode::Strict] {
            let read = Value::parse(&text, mode).unwrap();
            prop_assert_eq!(&read, &value);
            prop_assert_eq!(read.to_json(), text.clone());
        }
    }

    #[test]
    fn the_hashed_text_is_what_a_plain_writer_gives(value in values()) {
        prop_assert_eq!(canonical_text(&value), plain_canonical(&value, true));
        prop_assert_eq!(value.to_json(), plain_canonical(&value, false));
    }

    #[test]
    fn members_sort_by_utf16(a in any::<String>(), b in any::<String>()) {
        let units = |s: &str| s.encode_utf16().collect::<Vec<u16>>();
        prop_assert_eq!(compare_utf16(&a, &b), units(&a).cmp(&units(&b)));
    }

    #[test]
    fn what_strict_takes_compat_takes_with_the_same_gib(node in ibgibs()) {
        let hash = gib_hash(&node.ib, node.data.as_ref(), node.rel8ns.as_ref());
        if let Ok(sealed) = node.seal() {
            let text = sealed.to_json();
            prop_assert_eq!(sealed.addr().hash(), hash.as_str());
            prop_assert_eq!(Verified::parse(&text).unwrap().to_json(), text.clone());
            let read = IbGib::parse(&text, Mode::Compat).unwrap();
            prop_assert_eq!(compat::validate_intrinsically(&read), Ok(vec![]));
            prop_assert_eq!(compat::get_gib(&read).unwrap(), sealed.addr().gib());
            prop_assert!(compat::validate_addr(sealed.addr().as_str(), "^").unwrap().is_empty());
        }
    }

    #[test]
    fn a_node_is_read_by_its_text_as_it_is_by_its_values(
        (ib, content) in ("[a-c]{1,3}|[a^\"\\\\é]{0,2}", contents()),
        (at, with, how) in (any::<usize>(), prop::sample::select("\"\\{}[],:0-1Aa \n".chars().collect::<Vec<_>>()), 0..12_u8),
    ) {
        let text = damaged(&format!("{{\"ib\":\"{ib}\"{content}"), at, with, how);
        let made = IbGib::parse(&text, Mode::Strict).and_then(|node| match node.gib {
            Some(_) => Err(VerifyError::UnknownField("gib".into())),
            None => node.seal(),
        });
        let read = Verified::parse_without_gib(&text);
        match (&read, &made) {
            (Ok(read), Ok(made)) => {
                same_nodes(read, made)?;
                let whole = made.to_json();
                same_nodes(&Verified::parse(&whole).unwrap(), made)?;
                let text = damaged(&whole, at, with, how);
                let made = IbGib::parse(&text, Mode::Strict).and_then(IbGib::verify);
                match (Verified::parse(&text), made) {
                    (Ok(read), Ok(made)) => same_nodes(&read, &made)?,
                    (read, made) => prop_assert_eq!(read.err(), made.err()),
                }
            }
            _ => prop_assert_eq!(read.as_ref().err(), made.as_ref().err()),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in r#"[\[\]{}:,"\\0-9eE+.tfnu \-]{0,40}"#) {
        for mode in [Mode::Compat, Mode::Strict] {
            if let Ok(value) = Value::parse(&text, mode) {
                prop_assert_eq!(Value::parse(&value.to_json(), Mode::Compat).unwrap().to_json(), value.to_json());
            }
        }
    }
}

#[test]
fn a_hundred_thousand_members_that_are_array_indices_cost_no_more_than_others() {
    let members: Vec<String> = (0..200_000).rev().map(|n| format!("\"{n}\":1")).collect();
    let value = Value::parse(&format!("{{{}}}", members.join(",")), Mode::Strict).unwrap();
    let map = value.as_object().unwrap();
    assert_eq!((map.len(), map.keys().next(), map.keys().next_back()), (200_000, Some("0"), Some("199999")));
}

/// The paths of all levels together would take 4 GB.
#[test]
fn deep_values_with_long_names_are_checked_in_little_memory() {
    let name = "n".repeat(8_000);
    let deep = |inner: &str| format!("{}{inner}{}", format!("{{\"{name}\":").repeat(1_000), "}".repeat(1_000));
    let data = Value::parse(&deep("1"), Mode::Strict).unwrap();
    let node = IbGib { ib: "deep".into(), gib: None, data: Some(data), rel8ns: None };
    assert!(node.seal().is_ok());
    let data = Value::parse(&deep("[0]"), Mode::Strict).unwrap();
    let Value::Object(mut map) = data else { panic!("an object") };
    map.insert("bad", Value::Number(f64::NAN));
    let node = IbGib { ib: "deep".into(), gib: None, data: Some(Value::Object(map)), rel8ns: None };
    assert!(matches!(node.seal(), Err(VerifyError::Value { path, .. }) if path == "data/bad"));
}
