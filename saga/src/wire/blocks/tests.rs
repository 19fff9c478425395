use super::*;
use ibgib::{Mode, Value, object, strings};
use ibgib_blocks::pack;
use proptest::prelude::*;

fn limits() -> Limits {
    Limits::default()
}

/// All blocks of these texts.
fn written(texts: &[String]) -> Vec<u8> {
    let mut writer = BlockWriter::default();
    let mut out = Vec::new();
    for text in texts {
        out.extend(writer.line(text, &[]).unwrap_or_default());
    }
    out.extend(writer.end().unwrap_or_default());
    out
}

/// The texts of blocks of which so many bytes come at once.
fn read(bytes: &[u8], at_once: usize, limits: &Limits) -> Result<Vec<String>, SagaError> {
    let (mut reader, mut out) = (BlockReader::default(), Vec::new());
    for piece in bytes.chunks(at_once.max(1)) {
        reader.push(piece);
        while let Some(text) = reader.text(&[], limits)? {
            out.push(text);
        }
    }
    if reader.is_empty() { Ok(out) } else { Err(bad(BlockError::Short)) }
}

/// A block of one's own making.
fn block(method: u8, hashes: &[Key], content_len: u64, packed: &[u8]) -> Vec<u8> {
    let mut out = Out(vec![method]);
    for n in [hashes.len() as u64, content_len, packed.len() as u64] {
        out.number(n);
    }
    out.0.extend_from_slice(hashes.as_flattened());
    out.0.extend_from_slice(packed);
    out.0
}

/// A block of one text, as it is.
fn plain(hashes: &[Key], text: &[u8]) -> Vec<u8> {
    let mut content = Out::default();
    content.bytes(text);
    block(AS_IT_IS, hashes, content.0.len() as u64, &content.0)
}

fn frame(i: usize, past: Option<&Verified<IbGib>>, text: &str) -> Verified<IbGib> {
    let data = object([("i", Value::integer(i)), ("text", text.into())]);
    let past = past.map(|past| object([("past", strings([past.addr().as_str()]))]));
    IbGib { ib: "note".into(), gib: None, data: Some(data), rel8ns: past }.seal().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_texts_come_back(
        parts in prop::collection::vec(
            prop::collection::vec("[0-9A-F]{64}|[0-9a-f]{64}|[^\u{1}-\u{5}]{0,20}|(ab){1,200}", 1..6),
            0..30,
        ),
        again in prop::collection::vec(0usize..30, 0..30),
        at_once in 1usize..2_000,
    ) {
        let mut texts: Vec<String> = parts.iter().map(|parts| parts.concat()).collect();
        // Texts that stood before have hashes that were learned.
        texts.extend(again.into_iter().filter_map(|i| parts.get(i)).map(|parts| parts.concat()));
        prop_assert_eq!(read(&written(&texts), at_once, &limits()).unwrap(), texts);
    }

    #[test]
    fn any_nodes_come_back_without_their_gibs(
        chain in prop::collection::vec((0usize..50, ".{0,40}", any::<bool>()), 1..60),
        at_once in 1usize..2_000,
    ) {
        let mut nodes: Vec<Verified<IbGib>> = Vec::new();
        for (back, text, names) in chain {
            let past = nodes.iter().rev().nth(back).cloned();
            // A hash that stands in data, too, in lowercase digits.
            let named = past.as_ref().map(|p| p.addr().hash().to_lowercase()).filter(|_| names).unwrap_or_default();
            nodes.push(frame(nodes.len(), past.as_ref(), &format!("{text}{named}")));
        }
        let (mut writer, mut bytes) = (BlockWriter::default(), Vec::new());
        for node in &nodes {
            bytes.extend(writer.node(node).unwrap_or_default());
        }
        bytes.extend(writer.end().unwrap_or_default());
        let (mut reader, mut came) = (BlockReader::default(), Vec::new());
        for piece in bytes.chunks(at_once) {
            reader.push(piece);
            while let Some(text) = reader.text(&[], &limits()).unwrap() {
                let node = IbGib::parse(&text, Mode::Strict).unwrap();
                prop_assert!(node.gib.is_none());
                let node = node.seal().unwrap();
                reader.learn(&node);
                came.push(node);
            }
        }
        let texts = |nodes: &[Verified<IbGib>]| nodes.iter().map(|n| n.to_json()).collect::<Vec<_>>();
        prop_assert_eq!(texts(&came), texts(&nodes));
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300), method in 0u8..3) {
        let _ = read(&bytes, 100, &limits());
        let _ = read(&[&[method][..], &bytes].concat(), 100, &limits());
    }

    #[test]
    fn damaged_blocks_are_answered(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
        let texts: Vec<String> = (0..20).map(|i| frame(i, None, "some words").to_json()).collect();
        let mut bytes = written(&texts);
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
            prop_assert!(at == 0 || read(&bytes, 50, &limits()).is_err());
        } else {
            bytes[at] ^= 1 << bit;
            if let Ok(read) = read(&bytes, 50, &limits()) {
                prop_assert!(read.iter().all(|text| text.len() <= limits().node_bytes_max));
            }
        }
    }
}

#[test]
fn hashes_are_forgotten_by_both_sides_alike() {
    let hash = |n: usize| format!("{n:064X}");
    let line = |from: usize| (from..from + 1_000).map(|n| hash(n) + " ").collect::<String>();
    let rounds = 2 * HASHES_MAX / 1_000 + 3;
    let mut texts: Vec<String> = (0..rounds).map(|i| line(1_000 * i)).collect();
    // Some that are known still, some that are known no more, and both again.
    texts.extend([0, rounds - 1, 1, rounds - 20, 0, rounds - 1].map(|i| line(1_000 * i)));
    assert_eq!(read(&written(&texts), 70_000, &limits()).unwrap(), texts);
}

#[test]
fn each_way_in_which_a_block_can_be_bad_has_its_error() {
    let known = [7; 32];
    let packed = |content: &[u8]| pack(content, COMMON).unwrap();
    let (long, words) = (vec![b'x'; 100], b"\x05words".as_slice());
    let cases: [(&str, Vec<u8>, BlockError); 22] = [
        ("nothing at all", block(AS_IT_IS, &[], 0, b""), BlockError::Empty),
        ("nothing, packed", block(PACKED, &[], 0, b""), BlockError::Empty),
        ("hashes only", block(AS_IT_IS, &[known], 0, b""), BlockError::Empty),
        ("an unknown method", block(2, &[], 6, words), BlockError::Method(2)),
        ("numbers that never end", [&[1][..], &[0xff; 40]].concat(), BlockError::Short),
        ("packed as long as what it holds", block(PACKED, &[], 6, words), BlockError::Packed),
        ("as it is, but shorter", block(AS_IT_IS, &[], 7, words), BlockError::Packed),
        ("as it is, but longer", block(AS_IT_IS, &[], 5, words), BlockError::Packed),
        ("nothing that Zstandard made", block(PACKED, &[], 100, words), BlockError::Packed),
        ("more than it tells", block(PACKED, &[], 99, &packed(&long)), BlockError::Packed),
        ("less than it tells", block(PACKED, &[], 101, &packed(&long)), BlockError::Packed),
        ("half of what was packed", block(PACKED, &[], 100, &packed(&long)[..8]), BlockError::Packed),
        ("a text that ends too early", block(AS_IT_IS, &[], 5, b"\x05word"), BlockError::Short),
        ("a length that never ends", block(AS_IT_IS, &[], 11, &[0xff; 11]), BlockError::Short),
        ("a mark without number", plain(&[], b"a\x01"), BlockError::Short),
        ("a hash too far back", plain(&[known], b"\x04\x01\x02"), BlockError::Hash),
        ("a hash no step back", plain(&[known], b"\x04\x01\x00"), BlockError::Hash),
        ("a hash without its number", plain(&[known], b"\x04\x02\x01"), BlockError::Hash),
        ("a hash with a large number", plain(&[known], b"\x04\x03\xff\xff\x7f"), BlockError::Hash),
        ("more new hashes than it has", plain(&[known], b"\x04\x05"), BlockError::Hash),
        ("fewer new hashes than it has", plain(&[known, known], b"\x04"), BlockError::Idle),
        ("no text", plain(&[], b"\xff\xfe"), BlockError::Utf8),
    ];
    for (what, bytes, error) in cases {
        for at_once in [1, bytes.len()] {
            let found = read(&bytes, at_once, &limits()).expect_err(what);
            assert_eq!(found, bad(error), "{what}");
            assert_eq!(found.code(), "bad_block");
        }
    }
    let good = plain(&[known], b"a \x04 \x01\x01 \x03\x00");
    let (upper, lower) = (hex::encode_upper(known), hex::encode(known));
    assert_eq!(read(&good, 1, &limits()).unwrap(), [format!("a {upper} {upper} {lower}")]);
}

/// What a peer cannot make us do by saying little.
#[test]
fn bombs_are_seen_before_room_is_made_for_them() {
    let crossed = |bytes: &[u8], limits: &Limits| match read(bytes, 1_000, limits) {
        Err(SagaError::Limit { name, .. }) => name,
        other => panic!("{:?}", other.map(|texts| texts.len())),
    };
    // It is told only: nothing of it ever comes.
    for told in [
        block(PACKED, &[], 1 << 40, b""),
        block(PACKED, &[], u64::MAX, b""),
        [&[1, 0][..], &[0xff; 9], &[1, 1]].concat(),
    ] {
        assert_eq!(crossed(&told, &limits()), "node_bytes_max");
    }
    let mut hashes = Out(vec![AS_IT_IS]);
    for n in [1 << 30, 10, 10] {
        hashes.number(n);
    }
    assert_eq!(crossed(&hashes.0, &limits()), "node_bytes_max");
    // A long text of zeros in few bytes: more of them than all that came allows.
    let mut content = Out::default();
    content.bytes(&vec![b' '; 10 << 20]);
    let zeros = block(PACKED, &[], content.0.len() as u64, &pack(&content.0, COMMON).unwrap());
    assert!(zeros.len() < 2_000);
    assert!(read(&zeros, 1_000, &limits()).is_ok(), "one such text may be");
    let small = Limits { node_bytes_max: 1 << 20, ..limits() };
    assert_eq!(crossed(&zeros, &small), "node_bytes_max");
    let again = block(PACKED, &[], content.0.len() as u64, &pack(&content.0, &content.0).unwrap());
    let mut many = zeros;
    (0..5).for_each(|_| many.extend_from_slice(&again));
    assert_eq!(crossed(&many, &limits()), "block_ratio_max");
    // Marks of two bytes stand for 64.
    let mut marks = b"\x04".to_vec();
    marks.extend(b"\x01\x01".repeat(300_000));
    assert_eq!(crossed(&plain(&[[7; 32]], &marks), &limits()), "node_bytes_max");
    let mut content = Out::default();
    content.bytes(b"\x04");
    (0..60).for_each(|_| content.bytes(&b"\x01\x01".repeat(5_000)));
    let packed = block(PACKED, &[[7; 32]], content.0.len() as u64, &pack(&content.0, COMMON).unwrap());
    assert!(packed.len() < 500, "{}", packed.len());
    assert_eq!(crossed(&packed, &limits()), "block_ratio_max");
}

#[test]
fn what_compresses_too_well_is_sent_as_it_is_and_taken() {
    let texts: Vec<String> = (0..40).map(|_| "the same again ".repeat(70_000)).collect();
    let bytes = written(&texts);
    let all: usize = texts.iter().map(String::len).sum();
    assert!(bytes.len() < all / 10, "{} of {all}", bytes.len());
    assert_eq!(read(&bytes, 100_000, &limits()).unwrap(), texts);
}

/// A message may hold very many small blocks: were the rest moved for each, time would grow with their square.
#[test]
fn what_came_is_moved_once_however_many_blocks_it_is() {
    let small = plain(&[], b"x");
    let (all, part) = (small.repeat(1_000), &small[..3]);
    let mut reader = BlockReader::default();
    reader.push(&all);
    reader.push(part);
    let place = reader.buffer.as_ptr();
    for n in 1..=1_000 {
        assert_eq!(reader.text(&[], &limits()).unwrap().as_deref(), Some("x"));
        assert_eq!((reader.at, reader.buffer.len()), (n * small.len(), all.len() + part.len()));
        assert_eq!(reader.buffer.as_ptr(), place);
    }
    assert_eq!(reader.text(&[], &limits()).unwrap(), None);
    assert_eq!((reader.at, reader.buffer.len()), (0, part.len()));
    reader.push(&small[3..]);
    assert_eq!(reader.text(&[], &limits()).unwrap().as_deref(), Some("x"));
    assert_eq!(reader.text(&[], &limits()).unwrap(), None);
    assert!(reader.is_empty());
}
