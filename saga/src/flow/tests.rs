use super::*;
use crate::wire::stream::{Measure, ReceiverLine, SenderLine, Status};
use crate::wire::turn::{Asked, Stage, TurnLink};
use ibgib::object;
use ibgib::timeline::Ancestry;
use proptest::prelude::*;

fn node(i: usize, bytes: usize) -> Verified<IbGib> {
    let data = object([("i", (i as u32).into()), ("text", "x".repeat(bytes).into())]);
    IbGib { ib: "note".into(), data: Some(data), ..IbGib::default() }.seal().unwrap()
}

fn addrs(nodes: &[Verified<IbGib>]) -> Vec<Addr> {
    nodes.iter().map(|n| n.addr().clone()).collect()
}

fn turn(lines: &[SenderLine], payload: &[Addr]) -> Turn {
    let stage = Stage::Init(Asked { commit: true, adopt: true });
    let start = TurnLink { saga_id: "saga", session: None, before: None };
    Turn::build(start, stage, Measure::of_list(lines), Measure::of_nodes(payload), 0)
}

/// All chunks of a stream whose nodes are loaded a few at a time.
fn sent(
    lines: &[SenderLine],
    nodes: &[Verified<IbGib>],
    limits: &Limits,
    at_once: usize,
    encoding: Encoding,
) -> Vec<Vec<u8>> {
    let mut outgoing = Outgoing::new(lines.to_vec(), addrs(nodes), limits, encoding, Named::default());
    let mut rest = nodes;
    let mut out = Vec::new();
    loop {
        let (packets, next) = outgoing.send().unwrap();
        out.extend(packets.into_iter().map(|p| match p {
            Packet::Binary(bytes) => bytes,
            Packet::Text(text) => panic!("{text}"),
        }));
        match next {
            Next::Sent { nodes: count, .. } => {
                assert_eq!(count, nodes.len() as u64);
                return out;
            }
            Next::Load(load) => {
                let (some, more) = rest.split_at(at_once.min(load.addrs.len()));
                assert_eq!(load.addrs[..some.len()], addrs(some));
                outgoing.loaded(some).unwrap();
                rest = more;
            }
        }
    }
}

fn take(
    turn: &Turn,
    chunks: &[Vec<u8>],
    limits: &Limits,
    encoding: Encoding,
) -> Result<Incoming<SenderLine>, SagaError> {
    let mut incoming = Incoming::expect(turn, limits, Received::default(), encoding, Named::default())?;
    for chunk in chunks {
        incoming.chunk(chunk)?;
        while incoming.load(limits)?.is_some() {}
    }
    Ok(incoming)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_sent_arrives_however_it_is_cut(
        sizes in prop::collection::vec(0usize..400, 0..12),
        wants in 0usize..5,
        chunk_bytes in 1usize..600,
        at_once in 1usize..4,
    ) {
        let limits = Limits { chunk_bytes, ..Limits::default() };
        let nodes: Vec<_> = sizes.iter().enumerate().map(|(i, bytes)| node(i, *bytes)).collect();
        let lines: Vec<_> = (0..wants).map(|i| SenderLine::Want(node(i, 1_000).addr().clone())).collect();
        for encoding in Encoding::ALL {
            let chunks = sent(&lines, &nodes, &limits, at_once, encoding);
            prop_assert!(chunks.iter().all(|c| c.len() <= chunk_bytes + 1));
            let incoming = take(&turn(&lines, &addrs(&nodes)), &chunks, &limits, encoding).unwrap();
            prop_assert!(incoming.is_complete());
            prop_assert_eq!(&incoming.lines, &lines);
            prop_assert_eq!(incoming.payload, addrs(&nodes));
            prop_assert_eq!(incoming.received.nodes, nodes.len() as u64);
        }
    }
}

/// Of a long text that comes again with a line more little travels, also where its words come again and again, and where so
/// many texts come that little may be made no less.
#[test]
fn a_long_text_that_differs_in_a_line_costs_about_that_line() {
    let limits = Limits::default();
    let mut state = 1_u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"][(state >> 61) as usize]
    };
    let text: String = (0..100_000).map(|_| format!("{} ", word())).collect();
    let (head, tail) = text.split_at(300_000);
    let node = |text: String| {
        let data = object([("text", text.into())]);
        IbGib { ib: "note".into(), data: Some(data), ..IbGib::default() }.seal().unwrap()
    };
    let more = (0..59).map(|nth| node(format!("{head}line {nth}{tail}")));
    let nodes: Vec<_> = std::iter::once(node(text.clone())).chain(more).collect();
    let bytes = |nodes: &[Verified<IbGib>]| {
        let chunks = sent(&[], nodes, &limits, 1, Encoding::Blocks);
        let incoming = take(&turn(&[], &addrs(nodes)), &chunks, &limits, Encoding::Blocks).unwrap();
        assert!(incoming.is_complete());
        chunks.concat().len()
    };
    let (one, all) = (bytes(&nodes[..1]), bytes(&nodes));
    assert!(all < one + 59 * 1_000, "{all} bytes for sixty texts, {one} for one");
}

#[test]
fn a_shell_that_loads_nothing_or_something_else_is_told_so() {
    let nodes = [node(0, 1), node(1, 1)];
    let wrong: [&[Verified<IbGib>]; 3] = [&[], &nodes[1..], &[nodes[0].clone(), nodes[0].clone()]];
    for loaded in wrong {
        let mut outgoing = Outgoing::<SenderLine>::new(
            Vec::new(),
            addrs(&nodes),
            &Limits::default(),
            Encoding::Blocks,
            Named::default(),
        );
        assert!(matches!(outgoing.send().unwrap().1, Next::Load(_)));
        assert_eq!(outgoing.loaded(loaded).unwrap_err().code(), "internal");
    }
}

#[test]
fn a_stream_that_is_not_what_was_announced_is_refused() {
    let limits = Limits::default();
    let (a, b) = (node(0, 5), node(1, 5));
    let lines = [SenderLine::Want(b.addr().clone())];
    let good = sent(&lines, std::slice::from_ref(&a), &limits, 1, Encoding::Lines).concat();
    let text =
        |lines: &[&str]| [&[1u8][..], lines.iter().map(|l| format!("{l}\n")).collect::<String>().as_bytes()].concat();
    let want = format!("{{\"want\":\"{}\"}}", b.addr());
    let cases: [(Vec<Vec<u8>>, &str); 11] = [
        (vec![vec![]], "bad_chunk"),
        (vec![vec![2]], "bad_chunk"),
        (vec![good.clone(), vec![1]], "bad_chunk"),
        (vec![text(&[&want])], "bad_chunk"),
        (vec![good[..good.len() - 1].to_vec()], "bad_chunk"),
        (vec![text(&[&want, &a.to_json(), &b.to_json()])], "bad_chunk"),
        (vec![vec![0, 0xff, b'\n']], "bad_chunk"),
        (vec![text(&[&want, &b.to_json()])], "bad_digest"),
        (vec![text(&[&want.replace("want", "constant"), &a.to_json()])], "bad_digest"),
        (vec![text(&["{}", &a.to_json()])], "bad_list"),
        (vec![text(&[&want, &a.to_json().replace("xxxxx", "xxxxy")])], "bad_node"),
    ];
    let turn = turn(&lines, &addrs(std::slice::from_ref(&a)));
    assert!(take(&turn, std::slice::from_ref(&good), &limits, Encoding::Lines).unwrap().is_complete());
    for (chunks, rule) in cases {
        let error = take(&turn, &chunks, &limits, Encoding::Lines).expect_err(&format!("{rule}: {chunks:?}"));
        assert_eq!(error.code(), rule, "{error}");
    }
}

#[test]
fn blocks_that_are_not_what_was_announced_are_refused() {
    let limits = Limits::default();
    let (a, b) = (node(0, 5), node(1, 5));
    let want = |node: &Verified<IbGib>| SenderLine::Want(node.addr().clone());
    let lines = [want(&b)];
    let turn = turn(&lines, &addrs(std::slice::from_ref(&a)));
    let blocks = |lines: &[SenderLine], nodes: &[&Verified<IbGib>]| {
        let nodes: Vec<_> = nodes.iter().map(|node| (*node).clone()).collect();
        sent(lines, &nodes, &limits, nodes.len().max(1), Encoding::Blocks).concat()
    };
    let text = |texts: &[&str]| {
        let mut writer = BlockWriter::default();
        texts.iter().for_each(|text| drop(writer.line(text, &[])));
        [vec![1], writer.end().unwrap()].concat()
    };
    let good = blocks(&lines, &[&a]);
    assert!(take(&turn, std::slice::from_ref(&good), &limits, Encoding::Blocks).unwrap().is_complete());
    let line = lines[0].to_json();
    let cases: [(Vec<Vec<u8>>, &str); 12] = [
        (vec![vec![]], "bad_chunk"),
        (vec![good.clone(), vec![1]], "bad_chunk"),
        (vec![blocks(&lines, &[])], "bad_node"),
        (vec![blocks(&[], &[&a])], "bad_chunk"),
        (vec![good[..good.len() - 1].to_vec()], "bad_chunk"),
        (vec![blocks(&lines, &[&a, &b])], "bad_list"),
        (vec![blocks(&[want(&b), want(&b)], &[&a])], "bad_chunk"),
        (vec![blocks(&lines, &[&b])], "bad_digest"),
        (vec![blocks(&[want(&a)], &[&a])], "bad_digest"),
        (vec![text(&[&a.to_json(), &line])], "bad_node"),
        (vec![text(&[&a.to_json_without_gib().replace("xxxxx", "xxxxy"), &line])], "bad_digest"),
        (vec![vec![0, 7]], "bad_block"),
    ];
    for (chunks, rule) in cases {
        let error = take(&turn, &chunks, &limits, Encoding::Blocks).expect_err(&format!("{rule}: {chunks:?}"));
        assert_eq!(error.code(), rule, "{error}");
    }
}

#[test]
fn what_follows_from_the_rest_does_not_travel() {
    let mut nodes = vec![node(0, 200)];
    for n in 1..100 {
        let past = ibgib::strings([nodes[n - 1].addr().as_str()]);
        let frame = IbGib { rel8ns: Some(object([("past", past)])), gib: None, ..(*node(n, 200)).clone() };
        nodes.push(frame.seal().unwrap());
    }
    let bytes = |encoding| sent(&[], &nodes, &Limits::default(), 100, encoding).concat().len();
    let (blocks, lines) = (bytes(Encoding::Blocks), bytes(Encoding::Lines));
    assert!(blocks < 1_000 && lines > 40_000, "{blocks} bytes of blocks, {lines} of lines");
}

#[test]
fn identities_transcripts_and_rows_of_doors_do_not_travel_as_payload() {
    for ib in ["keystone", "saga", "saga_msg x", "saga_context", "door_row x y"] {
        let node = IbGib { ib: ib.into(), data: Some(object([("n", 1u32.into())])), ..IbGib::default() };
        let node = [node.seal().unwrap()];
        let limits = Limits::default();
        for encoding in Encoding::ALL {
            let chunks = sent(&[], &node, &limits, 1, encoding);
            let error = take(&turn(&[], &addrs(&node)), &chunks, &limits, encoding).unwrap_err();
            assert_eq!(error.code(), "payload_kind", "{ib}");
        }
    }
}

#[test]
fn every_limit_of_a_stream_holds() {
    let nodes = [node(0, 100), node(1, 100)];
    let lines = [SenderLine::Want(nodes[0].addr().clone()), SenderLine::Want(nodes[1].addr().clone())];
    let turn = turn(&lines, &addrs(&nodes));
    let cases = [
        ("list_max", Limits { list_max: 1, ..Limits::default() }),
        ("list_bytes_max", Limits { list_bytes_max: 100, ..Limits::default() }),
        ("nodes_max", Limits { nodes_max: 1, ..Limits::default() }),
        ("node_bytes_max", Limits { node_bytes_max: 20, ..Limits::default() }),
        ("staged_bytes_max", Limits { staged_bytes_max: 300, ..Limits::default() }),
    ];
    for encoding in Encoding::ALL {
        let chunks = sent(&lines, &nodes, &Limits::default(), 2, encoding);
        for (name, limits) in &cases {
            match take(&turn, &chunks, limits, encoding) {
                Err(SagaError::Limit { name: crossed, .. }) => assert_eq!(crossed, *name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    // What earlier turns brought counts.
    let limits = Limits { nodes_max: 3, ..Limits::default() };
    let before = Received { nodes: 2, bytes: 0 };
    assert!(Incoming::<SenderLine>::expect(&turn, &limits, before, Encoding::Blocks, Named::default()).is_err());
}

/// A message of this size may hold very much: of that, only little is in memory at a time.
#[test]
fn what_a_chunk_unpacks_to_comes_in_portions() {
    let limits = Limits::default();
    let mib = 1024 * 1024;
    // What does not compress is as much as the ratio asks for.
    let noise = |i: usize| (0..40).map(move |n| hex::encode(Sha256::digest([i as u8, n]))[..63].to_owned());
    let long = |i: usize| {
        let data = object([("noise", noise(i).collect::<Vec<_>>().join(" ").into()), ("text", " ".repeat(mib).into())]);
        IbGib { ib: "note".into(), data: Some(data), ..IbGib::default() }.seal().unwrap()
    };
    let nodes: Vec<_> = (0..64).map(long).collect();
    let chunks = sent(&[], &nodes, &limits, 1, Encoding::Blocks);
    let stream: Vec<u8> = chunks.iter().flat_map(|chunk| chunk[1..].iter().copied()).collect();
    assert!(stream.len() < limits.message_bytes_max / 4, "{} bytes", stream.len());
    let mut incoming = Incoming::<SenderLine>::expect(
        &turn(&[], &addrs(&nodes)),
        &limits,
        Received::default(),
        Encoding::Blocks,
        Named::default(),
    )
    .unwrap();
    incoming.chunk(&[&[1][..], &stream].concat()).unwrap();
    let (mut all, mut most, mut held) = (0, 0, 0);
    while let Some(load) = incoming.load(&limits).unwrap() {
        let bytes = load.iter().map(|node| node.to_json().len()).sum::<usize>();
        (all, most, held) = (all + bytes, most.max(bytes), held.max(incoming.held_bytes()));
    }
    assert!(incoming.is_complete() && all > 64 * mib);
    assert!(most < LOAD_BYTES + 2 * mib, "{most} bytes of nodes at a time");
    // What came, the block that is read and the one before it.
    assert!(held < (stream.len() + 3 * mib) as u64, "{held} bytes beside them");
}

#[test]
fn very_many_small_nodes_come_in_portions_too() {
    let limits = Limits::default();
    let nodes: Vec<_> = (0..40_000).map(|i| node(i, 0)).collect();
    let lines: Vec<_> = nodes.iter().map(|node| SenderLine::Want(node.addr().clone())).collect();
    for encoding in Encoding::ALL {
        let chunks = sent(&lines, &nodes, &limits, nodes.len(), encoding);
        let turn = turn(&lines, &addrs(&nodes));
        let mut incoming =
            Incoming::<SenderLine>::expect(&turn, &limits, Received::default(), encoding, Named::default()).unwrap();
        let stream: Vec<u8> = chunks.iter().flat_map(|chunk| chunk[1..].iter().copied()).collect();
        incoming.chunk(&[&[1][..], &stream].concat()).unwrap();
        let (mut came, mut read) = (0, 0);
        while let Some(load) = incoming.load(&limits).unwrap() {
            came += load.len();
            // Lines are no less than nodes.
            assert!(load.len() + incoming.lines.len() - read <= LOAD_BYTES / BESIDE_BYTES, "{encoding:?}");
            read = incoming.lines.len();
        }
        assert!(incoming.is_complete(), "{encoding:?}");
        assert_eq!((came, incoming.lines.len()), (nodes.len(), lines.len()), "{encoding:?}");
    }
}

/// A stream of lines only, to the other side; answers its bytes, and what both have named then.
fn list<L: Line + Clone>(lines: &[L], of: (Named, Named)) -> (usize, (Named, Named)) {
    let limits = Limits { list_bytes_max: u64::MAX, ..Limits::default() };
    let mut outgoing = Outgoing::new(lines.to_vec(), Vec::new(), &limits, Encoding::Blocks, of.0);
    let (packets, next) = outgoing.send().unwrap();
    let Next::Sent { named, .. } = next else { panic!("nodes") };
    let start = TurnLink { saga_id: "saga", session: None, before: None };
    let stage = Stage::Init(Asked { commit: true, adopt: true });
    let turn = Turn::build(start, stage, Measure::of_lines(lines), Measure::of_nodes(&[]), 0);
    let mut incoming = Incoming::<L>::expect(&turn, &limits, Received::default(), Encoding::Blocks, of.1).unwrap();
    let mut bytes = 0;
    for packet in packets {
        let Packet::Binary(chunk) = packet else { panic!("text") };
        bytes += chunk.len();
        incoming.chunk(&chunk).unwrap();
        while incoming.load(&limits).unwrap().is_some() {}
    }
    assert!(incoming.is_complete());
    assert_eq!(
        incoming.lines.iter().map(Line::to_json).collect::<Vec<_>>(),
        lines.iter().map(Line::to_json).collect::<Vec<_>>()
    );
    (bytes, (named, incoming.named()))
}

#[test]
fn what_a_line_is_about_is_named_once_in_a_saga_however_long_the_lists_are() {
    let addr = |n: usize, of: Option<&Addr>| {
        let hash = hex::encode_upper(Sha256::digest(n.to_le_bytes()));
        let gib = of.map_or(hash.clone(), |of| format!("{hash}.{}", of.gib()));
        Addr::new("note", &gib).unwrap()
    };
    const LINES: usize = 20_000;
    let named = |n: usize| {
        let tjp = addr(3 * n, None);
        (addr(3 * n + 1, Some(&tjp)), addr(3 * n + 2, Some(&tjp)), tjp)
    };
    let asks = |n: usize| {
        let (tip, theirs, tjp) = named(n);
        SenderLine::Timeline { tjp, tip: Some(tip), theirs: Some(theirs) }
    };
    let asked: Vec<SenderLine> = (0..LINES).map(asks).collect();
    let told = |n: usize| {
        let (tip, _, tjp) = named(n);
        ReceiverLine { tjp, status: Status::Known(Ancestry::Behind), tip: Some(tip) }
    };
    let told: Vec<ReceiverLine> = (0..LINES).map(told).collect();
    let (first, of) = list(&asked, Default::default());
    assert!((LINES * 96..LINES * 104).contains(&first), "{first} bytes");
    // Each of these lists has more hashes than are remembered, and hardly a byte of a line is new.
    let (answer, of) = list(&told, of);
    let (again, of) = list(&asked, of);
    let (end, _) = list(&told[..LINES - 7], of);
    assert!([answer, again, end].iter().all(|bytes| *bytes < LINES), "{answer}, {again} and {end} bytes");
}
