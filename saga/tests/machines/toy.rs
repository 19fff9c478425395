//! A toy world for the machines: two spaces in memory, whose timelines only ever grow at their end.

use ibgib::timeline::Ancestry;
use ibgib::{Addr, IbGib, Map, Value, Verified, object, strings};
use ibgib_keystone::strategy::PoolConfig;
use ibgib_keystone::strategy::lms::{Height, Reserved, TreeSigner};
use ibgib_keystone::{
    Chain, Claim, Entropy, Secret, SignOpts, Signed, VERB_CONNECT, VERB_SYNC, Warrant, config, need, word_message,
};
use ibgib_saga::{
    Audience, Breach, Buckets, Committed, Direction, Evaluate, Evaluated, Fingerprint, Finish, Finished, Limits, Load,
    OwnBuckets, OwnTips, Packet, Peek, Peeked, Receiver, ReceiverAnswer, ReceiverInput, ReceiverLine, ReceiverOutput,
    ReceiverQuery, SagaError, Scope, Sender, SenderAnswer, SenderInput, SenderLine, SenderOutput, SenderQuery,
    Signature, Status, Summary, SyncRequest, TimelineSummary, Word, bucket,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::rc::Rc;

/// Bytes that follow from a number.
pub(crate) struct Counter(pub(crate) u8);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(37);
            *byte = self.0;
        }
    }
}

/// A node that is no frame.
pub(crate) fn constant(ib: &str, text: &str) -> Verified<IbGib> {
    IbGib { ib: ib.into(), gib: None, data: Some(object([("text", text.into())])), rel8ns: None }.seal().unwrap()
}

/// The next frame after `past`, or the first one.
pub(crate) fn frame(ib: &str, text: &str, past: Option<&Verified<IbGib>>, rel8ns: &[(&str, &Addr)]) -> Verified<IbGib> {
    let n = past.map_or(0, |p| p.n().unwrap() + 1);
    let mut data: Map = [("n", Value::integer(n)), ("text", text.into())].into_iter().collect();
    let mut relations: Map = rel8ns.iter().map(|(name, addr)| (*name, strings([addr.as_str()]))).collect();
    match past {
        None => drop(data.insert("isTjp", true)),
        Some(past) => {
            relations.insert("past", strings([past.addr().as_str()]));
            relations.insert("tjp", strings([past.tjp().unwrap().as_str()]));
        }
    }
    let rel8ns = (!relations.is_empty()).then(|| relations.into());
    IbGib { ib: ib.into(), gib: None, data: Some(data.into()), rel8ns }.seal().unwrap()
}

#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) nodes: BTreeMap<Addr, Verified<IbGib>>,
    pub(crate) tips: BTreeMap<Addr, Addr>,
    staged: BTreeMap<Addr, Verified<IbGib>>,
    planned: BTreeMap<Addr, Addr>,
    pub(crate) signer: Option<Chain>,
    /// Whether a saga goes on that would move much, and what each would have moved about which that was asked.
    pub(crate) goes_on: bool,
    pub(crate) foreseen: Vec<Vec<TimelineSummary>>,
    signatures: Rc<RefCell<Signatures>>,
}

/// What was signed, so that the same is not signed twice by worlds that are copies of each other: that would take most of
/// the time of a test that plays one conversation over and over.
#[derive(Debug, Default)]
struct Signatures {
    frames: HashMap<String, Signed>,
    words: HashMap<String, Signature>,
    /// What signs as a receiver, made when it is needed.
    tree: Option<TreeSigner>,
}

/// A warrant that nothing but its form is right of: a toy's sender takes each.
pub(crate) fn warrant_of(tree: &TreeSigner) -> Warrant {
    let frame = format!("keystone^{}", "A".repeat(64));
    let key = tree.public_key();
    Warrant::parse(&object([("frame", frame.into()), ("publicKey", key.into()), ("signature", "".into())])).unwrap()
}

fn make_tree() -> TreeSigner {
    TreeSigner::make(Height::H5, &mut Counter(11))
}

const SECRET: &[u8] = b"a secret of the toy world";

impl World {
    pub(crate) fn put(&mut self, node: &Verified<IbGib>) {
        if let Some(tjp) = node.tjp() {
            self.tips.insert(tjp, node.addr().clone());
        }
        self.nodes.insert(node.addr().clone(), node.clone());
    }

    pub(crate) fn put_all(&mut self, nodes: &[&Verified<IbGib>]) {
        nodes.iter().for_each(|node| self.put(node));
    }

    /// Makes a session identity that signs for this world, whose signatures bind nothing.
    pub(crate) fn make_session(&mut self) -> Chain {
        self.make_session_of(&config::session_pools(&config::random_salts(&mut Counter(1))))
    }

    /// Makes a session identity like those of the engine.
    pub(crate) fn make_binding_session(&mut self) -> Chain {
        self.make_session_of(&config::binding_session_pools(&config::random_salts(&mut Counter(1))))
    }

    fn make_session_of(&mut self, pools: &[PoolConfig]) -> Chain {
        let secret = Secret::new(SECRET.to_vec());
        let chain = ibgib_keystone::genesis(&secret, pools, None, 1_767_225_600_000, &mut Counter(7)).unwrap().chain;
        self.signer = Some(chain.clone());
        chain
    }

    /// Signs as the sender; an error where the pool does not sign that.
    fn sign(&mut self, verb: &str, target: &str, demanded: Vec<String>) -> Result<Verified<IbGib>, SagaError> {
        let chain = self.signer.as_ref().unwrap();
        let what = format!("{} {verb} {target} {demanded:?}", chain.tip().addr());
        let known = self.signatures.borrow().frames.get(&what).cloned();
        let signed = match known {
            Some(signed) => signed,
            None => {
                let claim = Claim { verb: verb.into(), target: target.into(), ..Claim::default() };
                let leaf = need(chain, verb, &demanded)?.map(|need| {
                    let from = need.demanded.unwrap_or(need.from);
                    let mut reserved = Reserved::open(need.tree, 0);
                    reserved.stored(reserved.store(from, 1));
                    reserved.take(from).unwrap()
                });
                let opts = SignOpts { leaf, demanded, ..SignOpts::default() };
                let n = chain.n();
                let (secret, now_ms) = (Secret::new(SECRET.to_vec()), 1_767_225_601_000 + n as i64);
                let signed = ibgib_keystone::sign(chain, &secret, &claim, opts, now_ms, &mut Counter(n as u8))?;
                self.signatures.borrow_mut().frames.insert(what, signed.clone());
                signed
            }
        };
        self.signer = Some(signed.chain);
        Ok(signed.frame)
    }

    /// Signs a word as a receiver whose space is at this revision.
    pub(crate) fn sign_word(&self, word: &Word, revision: u64) -> Signature {
        let text = word.text(revision);
        let Signatures { words, tree, .. } = &mut *self.signatures.borrow_mut();
        let signature = words.entry(text.clone()).or_insert_with(|| {
            let tree = tree.get_or_insert_with(make_tree);
            if tree.left() == 0 {
                // The same keys again: of a toy nobody forges anything.
                *tree = make_tree();
            }
            let value = tree.sign(&word_message(text.as_bytes())).unwrap();
            Signature { warrant: Some(warrant_of(tree)), revision, value }
        });
        signature.clone()
    }

    /// The warrant of what signs as a receiver.
    pub(crate) fn warrant(&self) -> Warrant {
        warrant_of(self.signatures.borrow_mut().tree.get_or_insert_with(make_tree))
    }

    fn knows(&self, addr: &Addr) -> bool {
        self.nodes.contains_key(addr) || self.staged.contains_key(addr)
    }

    fn node(&self, addr: &Addr) -> Option<&Verified<IbGib>> {
        self.nodes.get(addr).or_else(|| self.staged.get(addr))
    }

    /// What lies under `starts`, dependencies first.
    fn reach(&self, starts: &[Addr], stops: &HashSet<Addr>, live: bool) -> Vec<Addr> {
        fn visit(
            w: &World,
            addr: &Addr,
            stops: &HashSet<Addr>,
            live: bool,
            seen: &mut HashSet<Addr>,
            out: &mut Vec<Addr>,
        ) {
            if stops.contains(addr) || !seen.insert(addr.clone()) {
                return;
            }
            let Some(node) = w.node(addr) else { return };
            for target in node.targets() {
                visit(w, &target, stops, live, seen, out);
            }
            out.push(addr.clone());
            if live && let Some(tip) = node.tjp().and_then(|tjp| w.tips.get(&tjp)) {
                visit(w, tip, stops, live, seen, out);
            }
        }
        let (mut seen, mut out) = (HashSet::new(), Vec::new());
        for start in starts {
            visit(self, start, stops, live, &mut seen, &mut out);
        }
        out
    }

    fn ancestry(&self, mine: &Addr, theirs: &Addr) -> Ancestry {
        let under = |a: &Addr, b: &Addr| self.reach(std::slice::from_ref(b), &HashSet::new(), false).contains(a);
        match (mine == theirs, under(theirs, mine), under(mine, theirs)) {
            (true, ..) => Ancestry::Same,
            (_, true, _) => Ancestry::Ahead,
            (_, _, true) => Ancestry::Behind,
            _ => Ancestry::Diverged,
        }
    }

    fn load(&self, addrs: &[Addr], bytes_max: usize) -> Vec<Verified<IbGib>> {
        let mut bytes = 0;
        let fits = |node: &&Verified<IbGib>| {
            bytes += node.to_json().len();
            bytes <= bytes_max
        };
        let nodes: Vec<_> = addrs.iter().map(|a| self.node(a).unwrap()).collect();
        let some = nodes.iter().copied().take_while(fits).count().max(1).min(nodes.len());
        nodes[..some].iter().map(|n| (*n).clone()).collect()
    }

    pub(crate) fn answer_as_sender(&mut self, query: SenderQuery) -> SenderAnswer {
        match query {
            SenderQuery::SignConnect { challenge_uuid, demanded } => {
                match self.sign(VERB_CONNECT, &challenge_uuid, demanded) {
                    Ok(frame) => SenderAnswer::SignConnect(frame),
                    Err(error) => SenderAnswer::Failed(error),
                }
            }
            SenderQuery::SignTurn(target) => match self.sign(VERB_SYNC, target.as_str(), Vec::new()) {
                Ok(frame) => SenderAnswer::SignTurn(Some(frame)),
                Err(error) => SenderAnswer::Failed(error),
            },
            SenderQuery::Warrant(_) => SenderAnswer::Warrant,
            // A toy's timelines lead nowhere.
            SenderQuery::Fingerprint(_) => SenderAnswer::Fingerprint(Fingerprint::of(&self.tips).whole),
            SenderQuery::Buckets(_) => SenderAnswer::Buckets(OwnBuckets {
                fingerprints: Fingerprint::of(&self.tips).buckets,
                timelines: self.tips.len(),
                empty: self.tips.is_empty(),
            }),
            SenderQuery::InBuckets(_, buckets) => {
                let is_in = |(tjp, _): &(&Addr, &Addr)| buckets.contains(&bucket(tjp));
                let tips = self.tips.iter().filter(is_in).map(|(tjp, tip)| (tjp.clone(), tip.clone()));
                SenderAnswer::InBuckets(tips.collect())
            }
            SenderQuery::Tips(Scope::Only(addrs)) => {
                let mut own = OwnTips::default();
                for addr in addrs {
                    match self.node(&addr).map(|n| n.tjp()) {
                        Some(None) => own.constants.push((addr, true)),
                        Some(Some(tjp)) => own.tips.push((tjp.clone(), self.tips.get(&tjp).cloned())),
                        None => own.tips.push((addr, None)),
                    }
                }
                SenderAnswer::Tips(own)
            }
            SenderQuery::Tips(_) => SenderAnswer::Tips(OwnTips::default()),
            SenderQuery::Compare(pairs) => SenderAnswer::Compare(
                pairs
                    .iter()
                    .map(|pair| match (&pair.mine, &pair.theirs) {
                        (a, b) if a == b => Some(Ancestry::Same),
                        (Some(_), None) => Some(Ancestry::Ahead),
                        (None, _) => Some(Ancestry::Behind),
                        (Some(_), Some(theirs)) if !self.nodes.contains_key(theirs) => None,
                        (Some(mine), Some(theirs)) => Some(self.ancestry(mine, theirs)),
                    })
                    .collect(),
            ),
            SenderQuery::Before(frames) => {
                let before = |addr: &Addr| self.node(addr).and_then(|node| node.past());
                let walk = |(frame, steps): (Addr, u64)| {
                    let older = std::iter::successors(before(&frame), before);
                    older.take(steps as usize).last()
                };
                SenderAnswer::Before(frames.into_iter().map(walk).collect())
            }
            SenderQuery::Candidates { starts, stops } => {
                SenderAnswer::Candidates(self.reach(&starts, &stops.into_iter().collect(), false))
            }
            SenderQuery::GoOn(foreseen) => {
                self.foreseen.push(foreseen);
                SenderAnswer::GoOn(self.goes_on)
            }
            SenderQuery::Lacking(addrs) => {
                SenderAnswer::Lacking(addrs.into_iter().filter(|a| !self.knows(a)).collect())
            }
            SenderQuery::Load(Load { addrs, bytes_max }) => SenderAnswer::Load(self.load(&addrs, bytes_max)),
            SenderQuery::Stage(nodes) => {
                self.staged.extend(nodes.into_iter().map(|n| (n.addr().clone(), n)));
                SenderAnswer::Stage
            }
            SenderQuery::Finish(finish) => {
                let Finish { statuses, direction, .. } = *finish;
                for line in statuses {
                    if let Some(tip) = line.tip
                        && direction.adopts()
                        && !matches!(line.status, Status::Refused(_))
                        && let Some(node) = self.node(&tip).cloned()
                    {
                        self.put(&node);
                    }
                }
                self.nodes.append(&mut self.staged);
                SenderAnswer::Finish(Finished::default())
            }
        }
    }

    pub(crate) fn answer_as_receiver(&mut self, query: ReceiverQuery, session: Option<&Chain>) -> ReceiverAnswer {
        match query {
            ReceiverQuery::Session(_) => {
                let chain = session.unwrap().clone();
                let demanded = ibgib_keystone::demand(&chain, VERB_CONNECT, 1, &mut Counter(3));
                ReceiverAnswer::Session {
                    chain: Box::new(chain),
                    challenge_uuid: "challenge".into(),
                    demanded,
                    audience: Audience::default(),
                }
            }
            ReceiverQuery::Connected { .. } => ReceiverAnswer::Connected,
            ReceiverQuery::Peek(peek) => ReceiverAnswer::Peek(self.peek(peek)),
            ReceiverQuery::Stage(nodes) => {
                self.staged.extend(nodes.into_iter().map(|n| (n.addr().clone(), n)));
                ReceiverAnswer::Stage
            }
            ReceiverQuery::Evaluate(evaluate) => ReceiverAnswer::Evaluate(self.evaluate(evaluate)),
            ReceiverQuery::Commit { .. } => {
                self.tips.append(&mut self.planned);
                self.nodes.append(&mut self.staged);
                ReceiverAnswer::Commit(Committed::Durable)
            }
            ReceiverQuery::Sign(word) => ReceiverAnswer::Sign(Box::new(self.sign_word(&word, 7))),
            ReceiverQuery::Load(Load { addrs, bytes_max }) => ReceiverAnswer::Load(self.load(&addrs, bytes_max)),
        }
    }

    fn peek(&self, peek: Peek) -> Peeked {
        let ours = Buckets::of(self.tips.clone());
        let mut out = Peeked { empty: self.tips.is_empty(), ..Peeked::default() };
        match peek {
            Peek::Equal(theirs, ..) => out.equal = theirs == ours.fingerprint().whole,
            Peek::Buckets(theirs, _, split) => out = Peeked { empty: out.empty, ..ours.differing(&theirs, split) },
            Peek::Cells(cells, asked, _) => out = Peeked { empty: out.empty, ..ours.beside(&cells, &asked) },
            Peek::Tips(addrs) => {
                out.tips = addrs.into_iter().map(|tjp| (tjp.clone(), self.tips.get(&tjp).cloned())).collect();
            }
            Peek::Has(addrs) => out.has = addrs.iter().map(|a| self.knows(a)).collect(),
            Peek::List { items, live } => {
                let (starts, stops): (Vec<_>, Vec<_>) = items.into_iter().unzip();
                out.nodes = self.reach(&starts, &stops.into_iter().flatten().collect(), live);
                if live {
                    let tips = out.nodes.iter().filter_map(|a| self.tips.get(a).map(|t| (a.clone(), Some(t.clone()))));
                    out.tips = tips.collect();
                }
            }
        }
        out
    }

    fn evaluate(&mut self, evaluate: Evaluate) -> Evaluated {
        let (mut statuses, mut send) = (Vec::new(), Vec::new());
        let mut commit = evaluate.commit;
        self.planned.clear();
        for line in evaluate.lines {
            match line {
                // What is not here is not sent.
                SenderLine::Want(addr) => send.extend(Some(addr).filter(|addr| self.knows(addr))),
                SenderLine::Constant(addr) => {
                    let here = self.nodes.contains_key(&addr);
                    let status = if here { Status::Known(Ancestry::Same) } else { Status::Unknown };
                    commit &= self.knows(&addr);
                    statuses.push(ReceiverLine { tip: Some(addr.clone()), tjp: addr, status });
                }
                SenderLine::Timeline { tjp, tip, .. } => {
                    let mine = self.tips.get(&tjp).cloned();
                    let status = match (&mine, &tip) {
                        (Some(_), None) => Status::Known(Ancestry::Ahead),
                        (_, Some(tip)) if !self.knows(tip) => {
                            commit = false;
                            if mine.is_some() { Status::Known(Ancestry::Behind) } else { Status::Unknown }
                        }
                        (None, _) => Status::Unknown,
                        (Some(mine), Some(tip)) => match self.ancestry(mine, tip) {
                            Ancestry::Diverged if evaluate.is_init => {
                                commit = false;
                                Status::Known(Ancestry::Diverged)
                            }
                            Ancestry::Diverged => Status::Refused("this world does not merge".to_owned()),
                            ancestry => Status::Known(ancestry),
                        },
                    };
                    let takes = commit && matches!(status, Status::Known(Ancestry::Behind) | Status::Unknown);
                    let tip = if takes { tip } else { mine };
                    self.planned.extend(tip.clone().filter(|_| takes).map(|tip| (tjp.clone(), tip)));
                    statuses.push(ReceiverLine { tjp, status, tip });
                }
            }
        }
        Evaluated { statuses, send, commit, merges: 0, conflicts: 0 }
    }
}

/// A connection between two worlds, and everything that went over it.
pub(crate) struct Connection {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) session: Option<Chain>,
    pub(crate) told: Vec<(&'static str, Packet)>,
    /// The sender is of the older version, which knows no blocks.
    pub(crate) is_older: bool,
    /// Questions and answers travel packed.
    pub(crate) packs: bool,
    /// Whoever is on the line, and what he makes of packets: those of the sender (`>`) and of the receiver (`<`).
    pub(crate) middleman: Option<Box<dyn FnMut(&'static str, Packet) -> Packet>>,
    /// What the sender's side says to a warrant.
    pub(crate) warrants: Result<(), SagaError>,
    /// The only one that the sender's side knows; `None`: it takes each.
    pub(crate) known: Option<Warrant>,
}

/// A saga about everything, in both directions.
pub(crate) fn all_both_ways() -> SenderInput {
    SenderInput::Sync(Box::new(SyncRequest {
        saga_id: "0123456789abcdef".into(),
        scope: Scope::All,
        direction: Direction::Both,
        skip_when_equal: true,
        dry_run: false,
        moves_max: None,
    }))
}

/// How an input to the sender ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Connected,
    Done(Summary),
    Glanced(bool),
    Failed(SagaError),
}

impl Connection {
    pub(crate) fn new(limits: &Limits, session: Option<Chain>) -> Self {
        let receiver = Receiver::new(limits.clone(), session.is_none());
        let sender = Sender::new(limits.clone());
        Self {
            sender,
            receiver,
            session,
            told: Vec::new(),
            is_older: false,
            packs: true,
            middleman: None,
            warrants: Ok(()),
            known: None,
        }
    }

    pub(crate) fn connect(&mut self, from: &mut World, to: &mut World) -> Ended {
        let session = self.session.as_ref().map(|s| (s.tjp().clone(), s.tip().addr().clone()));
        self.drive(SenderInput::Connect(session), from, to)
    }

    /// Gives the sender an input, then carries packets and answers questions until it is idle again.
    pub(crate) fn drive(&mut self, input: SenderInput, from: &mut World, to: &mut World) -> Ended {
        self.drive_to_rest(input, from, to).unwrap()
    }

    fn carry(&mut self, way: &'static str, mut packet: Packet) -> Packet {
        if let Packet::Text(text) = &mut packet {
            if self.is_older {
                *text = text.replace("\"ibgib.saga.v3\",", "");
            }
            if self.is_older || !self.packs {
                *text = text.replace(",\"packed\":true", "");
            }
        }
        let packet = match &mut self.middleman {
            Some(middleman) => middleman(way, packet),
            None => packet,
        };
        self.told.push((way, packet.clone()));
        packet
    }

    /// The same; `None` when in the end both wait for each other, which a time-out would end.
    pub(crate) fn drive_to_rest(&mut self, input: SenderInput, from: &mut World, to: &mut World) -> Option<Ended> {
        let (mut to_sender, mut to_receiver) = (VecDeque::from([input]), VecDeque::<ReceiverInput>::new());
        let mut ended = None;
        while !to_sender.is_empty() || !to_receiver.is_empty() {
            if let Some(input) = to_sender.pop_front() {
                self.sender.handle(input);
                while let Some(output) = self.sender.poll() {
                    match output {
                        SenderOutput::Send(packet) => {
                            let packet = self.carry(">", packet);
                            to_receiver.push_back(ReceiverInput::Packet(packet));
                        }
                        SenderOutput::Ask(SenderQuery::Warrant(_)) if self.warrants.is_err() => {
                            let refused = self.warrants.clone().unwrap_err();
                            to_sender.push_front(SenderInput::Answer(SenderAnswer::Failed(refused)));
                        }
                        SenderOutput::Ask(SenderQuery::Warrant(shown))
                            if self.known.as_ref().is_some_and(|known| *known != *shown) =>
                        {
                            let refused = SagaError::misbehaved(Breach::BadSignature, "another warrant");
                            to_sender.push_front(SenderInput::Answer(SenderAnswer::Failed(refused)));
                        }
                        SenderOutput::Ask(query) => {
                            to_sender.push_front(SenderInput::Answer(from.answer_as_sender(query)));
                        }
                        SenderOutput::Connected => ended = Some(Ended::Connected),
                        SenderOutput::Done(summary) => ended = Some(Ended::Done(*summary)),
                        SenderOutput::Glanced(equal) => ended = Some(Ended::Glanced(equal)),
                        SenderOutput::Failed(error) => return Some(Ended::Failed(error)),
                    }
                }
            } else if let Some(input) = to_receiver.pop_front() {
                self.receiver.handle(input);
                while let Some(output) = self.receiver.poll() {
                    match output {
                        ReceiverOutput::Send(packet) => {
                            let packet = self.carry("<", packet);
                            to_sender.push_back(SenderInput::Packet(packet));
                        }
                        ReceiverOutput::Ask(query) => {
                            let answer = to.answer_as_receiver(query, self.session.as_ref());
                            to_receiver.push_front(ReceiverInput::Answer(Box::new(answer)));
                        }
                        ReceiverOutput::Connected | ReceiverOutput::Done(_) | ReceiverOutput::Closed(_) => {}
                    }
                }
            }
        }
        ended
    }
}
