//! Bundles of somebody who wishes ill. Their end holds wherever it can: whoever changes a bundle hashes it anew.

use ibgib::transform::{self, ForkOpts, Moment, Mut8Opts, Rel8Opts, Transformed, linked};
use ibgib::{Addr, IbGib, Map, Value, Verified};
use ibgib_keystone::strategy::lms::Reserved;
use ibgib_keystone::{Chain, Claim, Secret, SignOpts, config, need};
use ibgib_peer::entropy::{OsEntropy, now_ms, random};
use ibgib_peer::{Host, HostOptions, Innerspace, Remote, SecretSource, SenderIdentity, SyncPeer, identity};
use ibgib_saga::{Envelope, Limits, MsgType};
use ibgib_spaces::bundle::{self, export};
use ibgib_spaces::settle::admit;
use ibgib_spaces::{BundleError, Bundled, MemorySpace, Space, Tip, durable, fsck};
use sha2::{Digest, Sha256};
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const OWNER: &str = "import/hostile";
const HEADER: &str = r#"{"bundle":"ibgib.v1"}"#;

fn moment() -> Moment {
    Moment { now_ms: now_ms(), random: random() }
}

fn first(ib: &str) -> Transformed {
    transform::fork(&IbGib::primitive("note").unwrap(), &ForkOpts::timeline(ib), &moment()).unwrap()
}

fn edit(frame: &Verified<IbGib>, name: &str, value: impl Into<Value>) -> Transformed {
    let patch = Some(Map::from_iter([(name, value.into())]));
    let opts = Mut8Opts { patch, dna: true, linked_rel8ns: linked(), ..Mut8Opts::default() };
    transform::mut8(frame, &opts, &moment()).unwrap()
}

fn relate(frame: &Verified<IbGib>, relation: &str, to: &Addr) -> Transformed {
    let add = vec![(relation.to_owned(), vec![to.clone()])];
    let opts = Rel8Opts { add, dna: true, linked_rel8ns: linked(), ..Rel8Opts::default() };
    transform::rel8(frame, &opts, &moment()).unwrap()
}

fn constant(ib: &str, data: Value) -> Verified<IbGib> {
    IbGib { ib: ib.into(), data: Some(data), ..IbGib::default() }.seal().unwrap()
}

fn texts<'a>(nodes: impl IntoIterator<Item = &'a Verified<IbGib>>) -> Vec<String> {
    nodes.into_iter().map(|node| node.to_json()).collect()
}

fn tip(tjp: &Addr, addr: &Addr) -> String {
    ibgib::object([("tip", ibgib::object([("tjp", tjp.into()), ("addr", addr.into())]))]).to_json()
}

/// A bundle of these lines, with an end that fits them.
fn bundle_of(lines: &[String]) -> String {
    let text: String =
        std::iter::once(HEADER).chain(lines.iter().map(String::as_str)).map(|l| format!("{l}\n")).collect();
    let nodes = lines.iter().filter(|line| line.starts_with("{\"ib\":")).count();
    let timelines = lines.iter().filter(|line| line.starts_with("{\"tip\":")).count();
    let end = ibgib::object([
        ("nodes", Value::integer(nodes)),
        ("timelines", Value::integer(timelines)),
        ("sha256", hex::encode(Sha256::digest(&text)).into()),
    ]);
    format!("{text}{}\n", ibgib::object([("end", end)]).to_json())
}

async fn import(space: &Arc<dyn Space>, bytes: &[u8]) -> Result<Bundled, BundleError> {
    let done = bundle::import(&**space, bytes, OWNER, false).await;
    assert!(fsck(&**space).await.unwrap().is_clean());
    assert_eq!(space.staged_addrs(OWNER).await.unwrap(), []);
    done
}

/// All that a space says of itself.
async fn state(space: &Arc<dyn Space>) -> (Vec<Tip>, u64, usize) {
    let records = space.records("").await.unwrap().len();
    (space.tips(None).await.unwrap(), space.count().await.unwrap(), records)
}

/// That nothing of a bundle is taken; why not.
async fn refused(space: &Arc<dyn Space>, bytes: &[u8]) -> BundleError {
    let before = state(space).await;
    let error = import(space, bytes).await.expect_err("it was taken");
    assert_eq!(state(space).await, before, "{error}");
    error
}

/// That a bundle is read, but these timelines are left as they are; why the first of them is.
async fn left(space: &Arc<dyn Space>, bytes: &[u8], timelines: &[&Addr]) -> String {
    let before = space.tips(None).await.unwrap();
    let bundled = import(space, bytes).await.unwrap();
    let refused: Vec<&Addr> = bundled.refused.iter().map(|(tjp, _)| tjp).collect();
    assert_eq!(refused, timelines);
    let mut after = space.tips(None).await.unwrap();
    after.retain(|tip| timelines.contains(&&tip.tjp));
    let mut as_before = before;
    as_before.retain(|tip| timelines.contains(&&tip.tjp));
    assert_eq!(after, as_before);
    bundled.refused.into_iter().next().unwrap().1
}

/// A space with a note of two frames, and what an export of it says, line by line.
async fn scene() -> (Arc<dyn Space>, Transformed, Transformed, Vec<String>) {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("device"));
    let one = first("note");
    let two = edit(&one.frame, "text", "two");
    admit(&*space, &[one.nodes(), two.nodes()].concat()).await.unwrap();
    let mut bytes = Vec::new();
    export(&*space, &[], &mut bytes).await.unwrap();
    let lines: Vec<String> = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
    let lines = lines[1..lines.len() - 1].to_vec();
    (space, one, two, lines)
}

#[tokio::test]
async fn a_bundle_that_is_damaged_in_any_way_brings_nothing() {
    let (_, one, two, lines) = scene().await;
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("other"));
    let own = first("own");
    admit(&*space, &own.nodes()).await.unwrap();
    let whole = bundle_of(&lines);
    let with = |line: &str| bundle_of(&[lines.as_slice(), &[line.to_owned()]].concat());
    let strange = constant("strange", ibgib::object([("a", 1u32.into())])).to_json();
    let values = format!("{{\"ib\":\"bomb\",\"data\":{{\"z\":[0{}]}}}}", ",0".repeat(ibgib::json::VALUES_MAX));
    let deep = format!("{{\"ib\":\"bomb\",\"data\":{}1{}}}", "{\"z\":[".repeat(50_000), "]}".repeat(50_000));
    let escaped = two.frame.addr().as_str().replace('^', "\\u005e");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("junk", b"\x7fELF\x02\x01\x01 and so on\n".to_vec()),
        // As a tool for compressing writes it: bundles are not compressed.
        ("compressed", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\xcb\xcf\x07\x00\n".to_vec()),
        ("a mark before the text", format!("\u{feff}{whole}").into_bytes()),
        ("another header", whole.replacen("ibgib.v1", "ibgib.v2", 1).into_bytes()),
        ("no header", whole.split_once('\n').unwrap().1.into()),
        ("two headers", format!("{HEADER}\n{whole}").into_bytes()),
        ("an end that fits, before another bundle", format!("{whole}{whole}").into_bytes()),
        ("something after the end", format!("{whole}\n").into_bytes()),
        ("no end", whole.rsplit_once("{\"end\"").unwrap().0.into()),
        ("an end for one line less", {
            let (text, end) = whole.rsplit_once("{\"end\"").unwrap();
            format!("{text}{strange}\n{{\"end\"{end}").into_bytes()
        }),
        ("lines of another system", whole.replace('\n', "\r\n").into_bytes()),
        ("no text", bundle_of(&[String::from("{\"ib\":\"?\"}")]).replace('?', "\u{1}").into_bytes()),
        ("bytes that are no text", {
            let (text, end) = whole.rsplit_once("{\"end\"").unwrap();
            [text.as_bytes(), b"\xff\xfe\n{\"end\"", end.as_bytes()].concat()
        }),
        ("a node and a tip in one", with(&format!("{},\"tip\":{{}}}}", strange.strip_suffix('}').unwrap())).into()),
        ("a wrong hash", bundle_of(&lines.iter().map(|l| l.replace("\"two\"", "\"2\"")).collect::<Vec<_>>()).into()),
        ("the address of another", with(&strange.replace("\"a\":1", "\"a\":2")).into()),
        ("the name of another", with(&strange.replace("\"ib\":\"strange\"", "\"ib\":\"other\"")).into()),
        ("a frame that says it is of another timeline", {
            let text = two.frame.to_json().replace(one.frame.addr().gib(), own.frame.addr().gib());
            with(&text).into()
        }),
        ("a name with a mark in it", with("{\"ib\":\"a^b\",\"gib\":\"gib\"}").into()),
        ("very many values", with(&values).into()),
        ("very deep values", with(&deep).into()),
        ("a member twice", with(&strange.replace("{\"ib\"", "{\"ib\":\"x\",\"ib\"")).into()),
        ("a tip of nothing", with("{\"tip\":{\"tjp\":\"note\"}}").into()),
        ("neither of them", with("{}").into()),
        ("a list", with("[]").into()),
        (
            "a tip that is written in another way",
            with(&format!("{{\"tip\": {{\"tjp\":\"{escaped}\",\"addr\":7}}}}")).into(),
        ),
    ];
    for (what, bytes) in cases {
        let error = refused(&space, &bytes).await;
        assert!(matches!(error, BundleError::Damaged { .. }), "{what}: {error}");
    }
    // Wherever it is cut.
    for cut in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        let error = refused(&space, &whole.as_bytes()[..cut]).await;
        assert!(matches!(error, BundleError::Damaged { .. }), "cut at {cut}: {error}");
    }
    // Whichever byte is another.
    for at in (0..whole.len()).step_by(61) {
        let mut bytes = whole.clone().into_bytes();
        bytes[at] ^= 1;
        let error = refused(&space, &bytes).await;
        assert!(matches!(error, BundleError::Damaged { .. }), "changed at {at}: {error}");
    }
    assert_eq!(import(&space, whole.as_bytes()).await.unwrap().refused, []);
}

/// A line that never ends.
struct Endless {
    begun: bool,
    read: Arc<AtomicU64>,
}

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.begun {
            self.begun = true;
            let header = format!("{HEADER}\n{{\"ib\":\"");
            out[..header.len()].copy_from_slice(header.as_bytes());
            return Ok(header.len());
        }
        out.fill(b'x');
        self.read.fetch_add(out.len() as u64, Ordering::Relaxed);
        Ok(out.len())
    }
}

#[tokio::test]
async fn a_line_that_never_ends_is_read_up_to_its_limit() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("device"));
    let read = Arc::new(AtomicU64::new(0));
    let source = BufReader::new(Endless { begun: false, read: Arc::clone(&read) });
    let error = bundle::import(&*space, source, OWNER, false).await.unwrap_err();
    assert!(matches!(error, BundleError::Damaged { line: 2, .. }), "{error}");
    let read = read.load(Ordering::Relaxed);
    assert!(read < 3 * ibgib::json::BYTES_MAX as u64, "{read} bytes");
    assert_eq!(space.count().await.unwrap(), 0);
}

#[tokio::test]
async fn a_bundle_with_a_gap_brings_nothing() {
    let (_, one, two, lines) = scene().await;
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("other"));
    // Without any one of its nodes.
    for missing in 0..lines.len() {
        let mut lines = lines.clone();
        if lines.remove(missing).starts_with("{\"tip\"") {
            continue;
        }
        let error = refused(&space, bundle_of(&lines).as_bytes()).await;
        assert!(matches!(error, BundleError::Incomplete { .. }), "{error}");
    }
    // A tip that is not in it.
    let (tjp, next) = (one.frame.addr(), edit(&two.frame, "text", "three"));
    let error = refused(&space, bundle_of(&[tip(tjp, next.frame.addr())]).as_bytes()).await;
    assert!(matches!(error, BundleError::Incomplete { .. }), "{error}");
}

#[tokio::test]
async fn tips_that_a_bundle_tells_wrongly_move_nothing() {
    let (space, one, two, lines) = scene().await;
    let nodes: Vec<String> = lines.iter().filter(|line| line.starts_with("{\"ib\"")).cloned().collect();
    let told = |tips: &[String]| bundle_of(&[nodes.as_slice(), tips].concat());
    let (note, newest) = (one.frame.addr(), two.frame.addr());
    // Of what is here the older frame changes nothing, and nobody is told of it.
    let before = state(&space).await;
    assert_eq!(import(&space, told(&[tip(note, note)]).as_bytes()).await.unwrap().refused, []);
    assert_eq!(state(&space).await, before);
    // A stone, a frame of another timeline, and a timeline that there is none of.
    let (other, stone) = (first("other"), two.dnas[0].clone());
    let nodes = [nodes.as_slice(), &texts(&other.nodes())].concat();
    let told = |tips: &[String]| bundle_of(&[nodes.as_slice(), tips].concat());
    for (tjp, addr) in [
        (note, stone.addr()),
        (note, other.frame.addr()),
        (other.frame.addr(), newest),
        (stone.addr(), newest),
        (newest, newest),
        (stone.addr(), stone.addr()),
    ] {
        left(&space, told(&[tip(tjp, addr)]).as_bytes(), &[tjp]).await;
    }
    // A frame of a note as the newest of an identity.
    let keystone = Addr::new("keystone", note.gib()).unwrap();
    left(&space, told(&[tip(&keystone, newest)]).as_bytes(), &[&keystone]).await;
    // One timeline told twice.
    let next = edit(&two.frame, "text", "three");
    let lines = [nodes.as_slice(), &texts(&next.nodes()), &[tip(note, next.frame.addr()), tip(note, newest)]].concat();
    let bundled = import(&space, bundle_of(&lines).as_bytes()).await;
    assert!(bundled.is_ok() || matches!(bundled, Err(BundleError::Commit(_))), "{bundled:?}");
    assert!([newest, next.frame.addr()].contains(&&space.tip(note).await.unwrap().unwrap().addr));
}

/// The next frame of an identity, signed with the next leaf, wherever that is known.
fn next(chain: &Chain, secret: &Secret, target: &str) -> (Verified<IbGib>, Chain) {
    let claim = Claim { verb: "sync".into(), target: target.into(), ..Claim::default() };
    let need = need(chain, "sync", &[]).unwrap().unwrap();
    let mut reserved = Reserved::open(need.tree, 0);
    reserved.stored(need.from + 1);
    let opts = SignOpts { leaf: Some(reserved.take(need.from).unwrap()), ..SignOpts::default() };
    let signed = ibgib_keystone::sign(chain, secret, &claim, opts, now_ms(), &mut OsEntropy).unwrap();
    (signed.frame, signed.chain)
}

#[tokio::test]
async fn a_bundle_neither_forks_an_identity_nor_takes_it_over() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("device"));
    let secret = Secret::new(b"a secret of the bundles".to_vec());
    let chain = identity::create(&*space, &secret).await.unwrap();
    let (tjp, genesis) = (chain.tjp(), chain.tip().clone());
    let (one, after) = next(&chain, &secret, "one");
    let (other, after_other) = next(&chain, &secret, "other");
    let (second, _) = next(&after_other, &secret, "the second of the other branch");
    let told = |frames: &[&Verified<IbGib>]| {
        let newest = frames[frames.len() - 1].addr();
        bundle_of(&[texts(frames.iter().copied()), vec![tip(tjp, newest)]].concat())
    };
    // Its owner's own next frame comes by a bundle.
    assert_eq!(import(&space, told(&[&genesis, &one]).as_bytes()).await.unwrap().refused, []);
    assert_eq!(space.tip(tjp).await.unwrap().unwrap().addr, *one.addr());
    // Another branch, be it longer.
    let why = left(&space, told(&[&genesis, &other, &second]).as_bytes(), &[tjp]).await;
    assert!(why.contains("different frames"), "{why}");
    // Frames that nobody signed, that say something else, or that another secret signed.
    let changed = |frame: &Verified<IbGib>, member: &str, value: Value| {
        let mut frame = IbGib { gib: None, ..(**frame).clone() };
        frame.data.as_mut().and_then(Value::as_object_mut).unwrap().insert(member, value);
        frame.seal().unwrap()
    };
    let (good, _) = next(&after, &secret, "two");
    let unsigned = changed(&good, "proofs", Value::Array(Vec::new()));
    let retold = changed(&good, "frameDetails", "mine now".into());
    let thief = Secret::new(b"a thief's".to_vec());
    let born = identity::create(&*Arc::new(MemorySpace::new("thief")), &thief).await.unwrap();
    let (theirs, _) = next(&born, &thief, "two");
    let pools = theirs.datum("challengePools").unwrap().clone();
    let taken_over = changed(&good, "challengePools", pools);
    let proofs = changed(&good, "proofs", theirs.datum("proofs").unwrap().clone());
    for frame in [&unsigned, &retold, &taken_over, &proofs] {
        let why = left(&space, told(&[frame]).as_bytes(), &[tjp]).await;
        assert!(!why.contains("missing"), "{why}");
    }
    // Nor is somebody else's identity taken for it.
    left(&space, bundle_of(&[texts([born.tip()]), vec![tip(tjp, born.tip().addr())]].concat()).as_bytes(), &[tjp])
        .await;
    assert_eq!(identity::evidence(&*space, tjp).await.unwrap(), []);
    // What really follows is still taken.
    assert_eq!(import(&space, told(&[&good]).as_bytes()).await.unwrap().refused, []);
    assert_eq!(space.tip(tjp).await.unwrap().unwrap().addr, *good.addr());
}

/// Whoever took it could give it to nobody: it would never be synced again.
#[tokio::test]
async fn a_bundle_brings_no_timeline_that_could_not_travel_on() {
    let (space, one, two, _) = scene().await;
    let elsewhere: Arc<dyn Space> = Arc::new(MemorySpace::new("elsewhere"));
    let keystone = identity::create(&*elsewhere, &Secret::new(b"anybody's".to_vec())).await.unwrap();
    let transcript = constant("saga_msg", ibgib::object([("sagaId", "x".into())]));
    let (note, signer) = (one.frame.addr(), keystone.tip());
    for (target, nodes) in [(signer.addr(), texts([signer])), (transcript.addr(), texts([&transcript]))] {
        let poisoned = relate(&two.frame, "signer", target);
        let over = edit(&poisoned.frame, "text", "three");
        // Also where it lies deep, in another timeline; a third one has nothing to do with it.
        let (around, fine) = (first("around"), first("fine"));
        let holds = relate(&around.frame, "holds", over.frame.addr());
        let made = [&poisoned, &over, &around, &holds, &fine].map(Transformed::nodes).concat();
        let tips = [(note, &over), (around.frame.addr(), &holds), (fine.frame.addr(), &fine)];
        let tips = tips.map(|(tjp, made)| tip(tjp, made.frame.addr()));
        let lines = [nodes, texts(&made), tips.to_vec()].concat();
        let why = left(&space, bundle_of(&lines).as_bytes(), &[note, around.frame.addr()]).await;
        assert!(why.contains(target.as_str()) && why.contains("does not travel"), "{why}");
        assert_eq!(space.tip(note).await.unwrap().unwrap().addr, *two.frame.addr());
        assert!(space.tip(fine.frame.addr()).await.unwrap().is_some());
    }
    // Who made it may be told: nothing depends on that.
    let made = relate(&two.frame, "identity", signer.addr());
    let lines = [texts(&made.nodes()), vec![tip(note, made.frame.addr())]].concat();
    assert_eq!(import(&space, bundle_of(&lines).as_bytes()).await.unwrap().refused, []);
    assert_eq!(space.tip(note).await.unwrap().unwrap().addr, *made.frame.addr());
}

/// A bundle may bring sessions and transcripts, as backups do. What lets one in is no node.
#[tokio::test]
async fn somebody_elses_session_in_a_bundle_lets_nobody_in() {
    let server: Arc<dyn Space> = Arc::new(MemorySpace::new("server"));
    let device: Arc<dyn Space> = Arc::new(MemorySpace::new("device"));
    let secret = Secret::new(b"a secret of the bundles".to_vec());
    let pools = config::identity_pools(&config::random_salts(&mut OsEntropy));
    let tjp = identity::create_with_pools(&*device, &secret, &pools).await.unwrap().tjp().clone();
    let who = SenderIdentity { tjp: tjp.clone(), secret: SecretSource::new(move || Ok(secret.clone())) };
    let host = |space: &Arc<dyn Space>| {
        let allow_strategies = vec!["hash-reveal-v1".to_owned()];
        Host::new(Arc::clone(space), HostOptions { allow_strategies, ..HostOptions::default() })
    };
    let remote: Arc<dyn Remote> = Arc::new(Innerspace::new(host(&server)));
    let mut peer = SyncPeer::new(Arc::clone(&device), remote, Some(who), Limits::default());
    peer.establish_session_identity().await.unwrap();
    let session = peer.session().unwrap().chain().tip().clone();
    let mut bytes = Vec::new();
    export(&*server, &[], &mut bytes).await.unwrap();
    let other: Arc<dyn Space> = Arc::new(MemorySpace::new("server"));
    assert_eq!(import(&other, &bytes).await.unwrap().refused, []);
    assert_eq!(other.has(&[session.addr().clone(), tjp]).await.unwrap(), [true, true]);
    for (space, kind) in [(&server, MsgType::ConnectChallenge), (&other, MsgType::AuthFail)] {
        let mut link = Innerspace::new(host(space)).open().await.unwrap();
        let members = [("session", session.addr().into()), ("versions", ibgib::strings([ibgib_saga::SUBPROTOCOL]))];
        link.tx.send(Envelope::new(MsgType::Hello, members).packet()).await.unwrap();
        let Some(ibgib_saga::Packet::Text(answer)) = link.rx.recv().await else { panic!("no answer") };
        assert_eq!(Envelope::parse(&answer).unwrap().kind(), kind, "{answer}");
    }
}

#[tokio::test]
async fn names_in_a_bundle_are_no_paths() {
    let dir = tempfile::tempdir().unwrap();
    let space = durable::create(&dir.path().join("space")).unwrap();
    let names =
        ["../outside", "/etc/passwd", "..", ".", "", "a/../../b", "nul\0", "C:\\x", "-rf", "%2e%2e%2f", "x\n{}"];
    let nodes = names.map(|name| first(&format!("{name} file")).nodes());
    let lines: Vec<String> = nodes.iter().flat_map(texts).collect();
    let tips = nodes.iter().map(|nodes| {
        let frame = nodes.iter().find(|node| node.is_frame()).unwrap();
        tip(frame.addr(), frame.addr())
    });
    let lines = [lines, tips.collect()].concat();
    let bundled = import(&space, bundle_of(&lines).as_bytes()).await.unwrap();
    assert_eq!((bundled.refused.len(), bundled.timelines as usize), (0, names.len()));
    let beside: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["space"]);
    // They come out as they went in.
    let mut bytes = Vec::new();
    export(&*space, &[], &mut bytes).await.unwrap();
    let again: Arc<dyn Space> = Arc::new(MemorySpace::new("again"));
    assert_eq!(import(&again, &bytes).await.unwrap().timelines, bundled.timelines);
    assert_eq!(again.tips(None).await.unwrap(), space.tips(None).await.unwrap());
}
