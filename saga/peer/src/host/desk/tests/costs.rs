//! What a question or a turn reads of a space in which others have much: as much as if they had little.

use super::*;
use crate::leads::Leads;
use async_trait::async_trait;
use ibgib_saga::Summary;
use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op};
use ibgib_spaces::settle::admit;
use ibgib_spaces::store::{Batch, Head, Nodes, Records, Scanned, Written};
use ibgib_spaces::{SpaceError, Store};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A store that counts how often it is asked, for how much by name, and how much it answers.
#[derive(Debug)]
struct Counted {
    inner: MemorySpace,
    read: AtomicUsize,
    questions: AtomicUsize,
    /// So long a write takes.
    writes_for: Duration,
}

impl Counted {
    fn new() -> Arc<Self> {
        Arc::new(Self::writing_for(Duration::ZERO))
    }

    fn writing_for(writes_for: Duration) -> Self {
        let (read, questions) = Default::default();
        Self { inner: MemorySpace::new("5".repeat(64)), read, questions, writes_for }
    }
}

#[async_trait]
impl Store for Counted {
    fn id(&self) -> &str {
        self.inner.id()
    }
    async fn view(&self) -> Result<Box<dyn ibgib_spaces::View + '_>, SpaceError> {
        Ok(Box::new(CountedView { inner: self.inner.view().await?, of: self }))
    }
    async fn write(&self, batch: Batch) -> Result<Written, SpaceError> {
        if !self.writes_for.is_zero() {
            tokio::time::sleep(self.writes_for).await;
        }
        self.inner.write(batch).await
    }
    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        self.inner.stage(owner, nodes).await
    }
    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        self.inner.unstage(owner).await
    }
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
        self.inner.lease(name, holder, time).await
    }
    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError> {
        self.inner.give_up(name, holder).await
    }
    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        self.inner.changed(since).await
    }
}

struct CountedView<'a> {
    inner: Box<dyn ibgib_spaces::View + 'a>,
    of: &'a Counted,
}

impl CountedView<'_> {
    fn count<T>(&self, asked: usize, answer: Result<Vec<T>, SpaceError>) -> Result<Vec<T>, SpaceError> {
        let answered = answer.as_ref().map_or(0, Vec::len);
        self.of.read.fetch_add(asked.max(answered), Ordering::Relaxed);
        self.of.questions.fetch_add(1, Ordering::Relaxed);
        answer
    }
}

#[async_trait]
impl ibgib_spaces::View for CountedView<'_> {
    async fn head(&self) -> Result<Head, SpaceError> {
        self.inner.head().await
    }
    async fn nodes(&self, which: Nodes<'_>) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        self.count(0, self.inner.nodes(which).await)
    }
    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError> {
        self.count(0, self.inner.has(addrs).await)
    }
    async fn staged(&self, owner: &str) -> Result<Vec<Addr>, SpaceError> {
        self.count(0, self.inner.staged(owner).await)
    }
    async fn tips(&self, which: Tips<'_>) -> Result<Vec<Tip>, SpaceError> {
        let asked = if let Tips::Of(tjps) = which { tjps.len() } else { 0 };
        self.count(asked, self.inner.tips(which).await)
    }
    async fn records(&self, which: Records<'_>) -> Result<Vec<(String, Vec<u8>)>, SpaceError> {
        let asked = if let Records::Keys(keys) = which { keys.len() } else { 0 };
        self.count(asked, self.inner.records(which).await)
    }
    async fn scan(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<Scanned>, SpaceError> {
        self.count(0, self.inner.scan(after, limit).await)
    }
}

/// What each of bob's questions and turns reads, and a turn of the owner's, beside `others` timelines.
async fn reads(others: usize) -> Vec<(&'static str, usize)> {
    let space = Counted::new();
    ibgib_spaces::begin(&*space).await.unwrap();
    let scene = scene_over(owned_over(Arc::clone(&space) as Arc<dyn Space>), Rights::Write, others).await;
    let Scene { alice, bob, shared, private, .. } = &scene;
    let mine = bob.tip(shared).await;
    let count = || space.read.swap(0, Ordering::Relaxed);
    let mut out = Vec::new();
    for (name, peek) in [
        ("equal", Peek::Equal(String::new(), None, 0)),
        ("equal below", Peek::Equal(String::new(), Some(shared.clone()), 0)),
        ("buckets", Peek::Buckets(vec![String::new(); ibgib_saga::fingerprint::BUCKETS], None, false)),
        ("tips", Peek::Tips(vec![shared.clone(), private.clone()])),
        ("has", Peek::Has(vec![shared.clone(), private.clone()])),
        ("list", Peek::List { items: vec![(mine.addr().clone(), None)], live: true }),
    ] {
        count();
        scene.peek(peek).await;
        out.push((name, count()));
    }
    for (name, who) in [("a guest's turn", bob), ("the owner's turn", alice)] {
        let nodes = relate(&who.tip(shared).await, shared);
        let lines = vec![moves(shared, nodes.last().unwrap())];
        count();
        let (told, _) = scene.push_as(&who.who.tjp, &nodes, lines).await;
        assert!(matches!(told[0], Status::Known(Ancestry::Behind)), "{told:?}");
        out.push((name, count()));
    }
    out
}

#[tokio::test]
async fn what_others_brought_is_not_read() {
    assert_eq!(reads(2).await, reads(300).await);
}

#[tokio::test]
async fn what_came_in_before_there_was_an_index_is_found() {
    let space = Counted::new();
    let scene = scene_over(owned_over(Arc::clone(&space) as Arc<dyn Space>), Rights::Write, 3).await;
    // As an older server left it.
    let mut records = Vec::new();
    for prefix in ["in/", "brought/", "indexed/"] {
        records.extend(space.records(prefix).await.unwrap().into_iter().map(|(key, _)| (key, None)));
    }
    assert!(!records.is_empty());
    space.commit(Commit { records, ..Commit::default() }).await.unwrap();
    let host = owned_over(space);
    assert_eq!(host.brought(&scene.alice.who.tjp).await.unwrap().len(), 5, "two folders and three others");
    let permit = host.permit(&scene.bob.who.tjp).await.unwrap();
    let tips = host.readable_tips(&permit).await.unwrap();
    assert_eq!(tips.iter().map(|tip| &tip.tjp).collect::<Vec<_>>(), [&scene.shared]);
}

/// What either side reads to sync one more edit of a document with so many, and then one edit on each side.
async fn reads_after(edits: usize) -> [usize; 4] {
    let (server, device) = (Counted::new(), Counted::new());
    ibgib_spaces::begin(&*server).await.unwrap();
    ibgib_spaces::begin(&*device).await.unwrap();
    let host = Host::new(Arc::clone(&server) as _, HostOptions::default());
    let alice = Device::over(Arc::clone(&device) as _, "alice").await;
    let bob = Device::new("bob").await;
    let note = Document::create(&alice.space, "note", Map::new()).await.unwrap();
    for edit in 0..edits {
        note.set("/edit", Value::integer(edit as u64)).await.unwrap();
    }
    alice.meet(&host).await.unwrap();
    bob.meet(&host).await.unwrap();
    note.set("/mine", 1).await.unwrap();
    let counts = [&device, &server].map(|space| &space.read);
    counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    alice.meet(&host).await.unwrap();
    let one = counts.map(|count| count.load(Ordering::Relaxed));
    Document::open(&bob.space, note.address()).await.unwrap().set("/theirs", 1).await.unwrap();
    bob.meet(&host).await.unwrap();
    note.set("/mine", 2).await.unwrap();
    counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    let met = alice.meet(&host).await.unwrap();
    assert_eq!(met.summary.merges, 1);
    let both = counts.map(|count| count.load(Ordering::Relaxed));
    [one[0], one[1], both[0], both[1]]
}

#[tokio::test]
async fn a_long_history_costs_no_more_than_a_short_one() {
    let (short, long) = (reads_after(100).await, reads_after(1_000).await);
    // Ten times as long: were it read as a whole, there would be ten times as many.
    for (short, long) in short.into_iter().zip(long) {
        assert!(long <= short + short / 2, "{short} and {long} reads");
    }
}

/// A store may keep what is asked for by name beside something large, and read that each time.
#[tokio::test]
async fn timelines_that_lead_nowhere_are_not_asked_about_one_by_one() {
    let space = Counted::new();
    ibgib_spaces::begin(&*space).await.unwrap();
    let asked = Arc::clone(&space) as Arc<dyn Space>;
    for _ in 0..300 {
        Document::create(&asked, "note", Map::new()).await.unwrap();
    }
    let tips = space.tips(None).await.unwrap();
    space.read.store(0, Ordering::Relaxed);
    let may_lead = ibgib_spaces::leads::that_may_lead(&*space, &tips.iter().collect::<Vec<_>>()).await.unwrap();
    assert_eq!(may_lead, Some(Vec::new()));
    assert!(space.read.load(Ordering::Relaxed) < 10);
}

/// A store behind a network answers a question in a millisecond: one for each node would be seconds for thousands.
#[tokio::test]
async fn a_turn_does_not_ask_node_by_node() {
    let asked = async |policy: Policy, timelines: usize| {
        let space = Counted::new();
        let host = Host::new(Arc::clone(&space) as _, HostOptions { policy, ..HostOptions::default() });
        let (alice, bob) = (Device::new("alice").await, Device::new("bob").await);
        host.set_owner(&alice.who.tjp).await.unwrap();
        alice.meet(&host).await.unwrap();
        let [shared, private] = [0, 1].map(|_| alice.who.tjp.clone());
        let scene = Scene { host, alice, bob, shared, private };
        let (mut nodes, mut lines) = (Vec::new(), Vec::new());
        for n in 0..timelines {
            let made = Document::create(&scene.alice.space, "note", Map::new()).await.unwrap();
            for version in 0..3 {
                made.set("/version", Value::integer(version)).await.unwrap();
            }
            let tip = scene.alice.tip(made.address()).await;
            let under =
                scene.alice.space.reach(&[tip.addr().clone()], Follow::All, &HashSet::new(), 100).await.unwrap();
            let read = scene.alice.space.get(&under).await.unwrap();
            nodes.extend(read.into_iter().flatten().filter(|node| !nodes.contains(node)).collect::<Vec<_>>());
            lines.push(moves(made.address(), &tip));
            assert!(nodes.len() > n * 4);
        }
        space.questions.swap(0, Ordering::Relaxed);
        let (told, _) = scene.push_as(&scene.alice.who.tjp, &nodes, lines).await;
        assert!(told.iter().all(|status| matches!(status, Status::Unknown)), "{told:?}");
        (space.questions.load(Ordering::Relaxed), nodes.len())
    };
    for policy in [Policy::Open, Policy::Owner] {
        let ((few, some), (many, more)) = (asked(policy.clone(), 10).await, asked(policy.clone(), 110).await);
        let (questions, nodes) = (many - few, more - some);
        assert!(questions * 8 < nodes, "{policy:?}: {questions} questions about {nodes} nodes");
    }
}

/// Of thousands of devices that wait for news each asks again and again.
#[tokio::test]
async fn who_waits_for_news_costs_nothing_while_there_is_none() {
    let space = Counted::new();
    let scene = scene_over(owned_over(Arc::clone(&space) as Arc<dyn Space>), Rights::Write, 3).await;
    let Scene { host, alice, bob, shared, .. } = &scene;
    let (mut waits, mut edits) = (line(host), line(host));
    alice.sync(&mut waits).await.unwrap();
    bob.sync(&mut edits).await.unwrap();
    alice.sync(&mut waits).await.unwrap();
    let ours = waits.fingerprint(&*alice.space, None).await.unwrap();
    let wait = Duration::from_millis(5);
    assert!(waits.is_equal(&ours, None, wait).await.unwrap());
    space.questions.swap(0, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(waits.is_equal(&ours, None, wait).await.unwrap());
    }
    assert_eq!(space.questions.load(Ordering::Relaxed), 0);
    let document = Document::open(&bob.space, shared).await.unwrap();
    document.set("/new", Value::from("text")).await.unwrap();
    bob.sync(&mut edits).await.unwrap();
    assert!(!waits.is_equal(&ours, None, wait).await.unwrap());
}

/// Devices that each edit one document in turn, so many times: what a sync of the last round but one and of the last reads
/// at the server.
async fn read_in_turn(devices: usize, rounds: usize) -> [usize; 2] {
    let server = Counted::new();
    ibgib_spaces::begin(&*server).await.unwrap();
    let host = Host::new(Arc::clone(&server) as _, HostOptions::default());
    let mut all = Vec::new();
    for n in 0..devices {
        all.push(Device::new(&format!("device {n}")).await);
    }
    let note = Document::create(&all[0].space, "note", Map::new()).await.unwrap();
    for device in &all {
        device.meet(&host).await.unwrap();
    }
    let mut read = [0, 0];
    for round in 0..rounds {
        server.read.store(0, Ordering::Relaxed);
        for (n, device) in all.iter().enumerate() {
            let own = Document::open(&device.space, note.address()).await.unwrap();
            own.set(&format!("/devices/{n}"), Value::integer(round as u64)).await.unwrap();
            device.meet(&host).await.unwrap();
        }
        read = [read[1], server.read.load(Ordering::Relaxed) / devices];
    }
    read
}

/// Each merge joins a branch that began a round before, so what a history needs lies across many of them.
#[tokio::test]
async fn what_many_edit_at_once_is_not_read_from_its_beginning() {
    let [before, last] = read_in_turn(20, 5).await;
    assert!(last <= before + before / 20, "{before}, then {last} nodes for a sync");
}

/// Whoever loses a race has its turn judged anew: were all let run at once, their work would grow with the square.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_those_who_edit_one_document_at_once_each_is_judged_anew_once() {
    // As long as it takes, others are judged by tips that it moves.
    let space = Arc::new(Counted::writing_for(Duration::from_millis(20)));
    let host = Host::new(space, HostOptions::default());
    let mut all = Vec::new();
    for n in 0..8 {
        all.push(Arc::new(Device::new(&format!("device {n}")).await));
    }
    let note = Document::create(&all[0].space, "note", Map::new()).await.unwrap();
    for device in &all {
        device.meet(&host).await.unwrap();
    }
    for (n, device) in all.iter().enumerate() {
        let own = Document::open(&device.space, note.address()).await.unwrap();
        own.set(&format!("/devices/{n}"), 1).await.unwrap();
    }
    let before = host.jobs_begun();
    let meet = |device: &Arc<Device>| {
        let (device, host) = (Arc::clone(device), Arc::clone(&host));
        tokio::spawn(async move { device.meet(&host).await })
    };
    for met in join_all(all.iter().map(meet)).await {
        met.unwrap().unwrap();
    }
    // What the server has is listed, the turn that opens the saga is judged, and the one that commits: twice. On a busy
    // machine somebody may have waited too long. Each with each it would be 52.
    let jobs = host.jobs_begun() - before;
    assert!(jobs <= 5 * 8, "{jobs} jobs");
    for _ in 0..2 {
        for device in &all {
            device.meet(&host).await.unwrap();
        }
    }
    for device in &all {
        assert_eq!(device.tip(note.address()).await, all[0].tip(note.address()).await);
    }
}

/// What the second of two syncs costs in which a device brings what it has changed in so many of its timelines: bytes on the
/// way there and back, and what is read at the server.
async fn brings(timelines: usize, changes: usize) -> [u64; 3] {
    let server = Counted::new();
    ibgib_spaces::begin(&*server).await.unwrap();
    let host = Host::new(Arc::clone(&server) as _, HostOptions::default());
    let alice = Device::new("alice").await;
    let mut notes = Vec::new();
    for _ in 0..timelines {
        notes.push(Document::create(&alice.space, "note", Map::new()).await.unwrap());
    }
    alice.meet(&host).await.unwrap();
    let mut out = [0; 3];
    for round in 0..2 {
        for note in &notes[..changes] {
            note.set("/changed", round).await.unwrap();
        }
        server.read.store(0, Ordering::Relaxed);
        let Summary { bytes_sent, bytes_received, .. } = alice.meet(&host).await.unwrap().summary;
        out = [bytes_sent, bytes_received, server.read.load(Ordering::Relaxed) as u64];
    }
    out
}

/// With all tips of the buckets that differ it would be twice as much, and each question would read what is there.
#[tokio::test]
async fn to_find_what_differs_costs_what_differs() {
    let (few, many) = (brings(2_500, 20).await, brings(7_500, 20).await);
    for (few, many) in few.into_iter().zip(many) {
        assert!(many < few + few / 4, "{few} and {many}");
    }
    let more = brings(2_500, 40).await;
    assert!(few[1] < more[1] && more[1] < few[1] * 2, "{few:?} and {more:?}");
}

/// What is read for the fingerprint of what is under a timeline, after one of so many there has moved.
async fn follows(timelines: usize) -> usize {
    let counted = Counted::new();
    ibgib_spaces::begin(&*counted).await.unwrap();
    let space = Arc::clone(&counted) as Arc<dyn Space>;
    let host = Host::new(Arc::clone(&space), HostOptions::default());
    let root = Document::create(&space, "folder", Map::new()).await.unwrap();
    let mut notes = Vec::new();
    for _ in 0..timelines {
        notes.push(Document::create(&space, "note", Map::new()).await.unwrap());
    }
    let add = vec![("next".to_owned(), notes.iter().map(|note| note.address().clone()).collect())];
    let opts = Rel8Opts { add, dna: true, n_counter: true, linked_rel8ns: linked(), ..Rel8Opts::default() };
    let moment = Moment { now_ms: crate::entropy::now_ms(), random: crate::entropy::random() };
    let tip = space.node(root.address()).await.unwrap().unwrap();
    admit(&*space, &transform::rel8(&tip, &opts, &moment).unwrap().nodes()).await.unwrap();
    let found = async || host.leads.buckets(&*space, Some(root.address())).await.unwrap().0;
    assert_eq!(found().await.len(), timelines + 1);
    let mut read = 0;
    for round in 0..2 {
        notes[0].set("/moved", round).await.unwrap();
        counted.read.store(0, Ordering::Relaxed);
        let tip = space.tip(notes[0].address()).await.unwrap().unwrap();
        assert_eq!(found().await.tip(&tip.tjp), Some(&tip.addr));
        read = counted.read.load(Ordering::Relaxed);
    }
    read
}

#[tokio::test]
async fn what_is_under_a_timeline_is_followed_by_what_moves() {
    assert_eq!(follows(20).await, follows(200).await);
}

/// What either side reads to sync one document by its name, which has changed, among so many others.
async fn names(others: usize) -> [usize; 2] {
    let (server, device) = (Counted::new(), Counted::new());
    ibgib_spaces::begin(&*server).await.unwrap();
    ibgib_spaces::begin(&*device).await.unwrap();
    let host = Host::new(Arc::clone(&server) as _, HostOptions::default());
    let alice = Device::over(Arc::clone(&device) as _, "alice").await;
    let note = Document::create(&alice.space, "note", Map::new()).await.unwrap();
    for _ in 0..others {
        Document::create(&alice.space, "other", Map::new()).await.unwrap();
    }
    alice.meet(&host).await.unwrap();
    let counts = [&device, &server].map(|space| &space.read);
    let mut out = [0; 2];
    for round in 0..2 {
        note.set("/changed", round).await.unwrap();
        counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        // One that the server has, and one that it does not know yet.
        let fresh = Document::create(&alice.space, "fresh", Map::new()).await.unwrap();
        for document in [&note, &fresh] {
            let scope = Scope::Only(vec![document.address().clone()]);
            let synced = alice.sync_in(scope, &mut line(&host)).await.unwrap();
            assert_eq!(synced.summary.timelines.len(), 1);
        }
        out = counts.map(|count| count.load(Ordering::Relaxed));
    }
    out
}

#[tokio::test]
async fn a_timeline_that_is_named_is_synced_without_looking_at_others() {
    assert_eq!(names(3).await, names(300).await);
}

/// What a device reads to sync a document of so many edits by its name once more, after one more edit.
async fn named_after(edits: usize) -> usize {
    let device = Counted::new();
    ibgib_spaces::begin(&*device).await.unwrap();
    let host = Host::new(Arc::new(MemorySpace::new("6".repeat(64))), HostOptions::default());
    let alice = Device::over(Arc::clone(&device) as _, "alice").await;
    let note = Document::create(&alice.space, "note", Map::new()).await.unwrap();
    let mut read = 0;
    for round in 0..3 {
        for edit in 0..if round == 0 { edits } else { 1 } {
            note.set("/edit", Value::integer((round * edits + edit) as u64)).await.unwrap();
        }
        device.read.store(0, Ordering::Relaxed);
        let scope = Scope::Only(vec![note.address().clone()]);
        alice.sync_in(scope, &mut line(&host)).await.unwrap();
        read = device.read.load(Ordering::Relaxed);
    }
    read
}

#[tokio::test]
async fn a_timeline_that_is_named_costs_what_has_changed_however_long_it_is() {
    let (short, long) = (named_after(600).await, named_after(1_200).await);
    assert!(long <= short + 20 && short < 300, "{short} and {long}");
}

/// A space with so many living timelines that moved after the host had looked, and one that answers slowly, so that all have
/// asked before the first is answered.
async fn moved_since(leads: &Leads, moved: usize) -> (Arc<Counted>, Arc<dyn Space>) {
    let counted = Counted::new();
    let space = Arc::clone(&counted) as Arc<dyn Space>;
    let plan = FaultPlan::default().slow(Op::Read, u64::MAX, Duration::from_millis(10));
    let slow: Arc<dyn Space> = Arc::new(FaultSpace::new(Arc::clone(&space), plan));
    leads.whole(&*slow, None).await.unwrap();
    for _ in 0..moved {
        Document::create(&space, "note", Map::new()).await.unwrap();
    }
    (counted, slow)
}

async fn whole_of(space: &dyn Space) -> String {
    let tips = space.tips(Some(Kind::Living)).await.unwrap();
    Fingerprint::of(tips.iter().map(|tip| (&tip.tjp, &tip.addr))).whole
}

/// What is read, and how often, for so many peers who ask at once whether they have the same.
async fn asked_at_once(peers: usize) -> [usize; 2] {
    let leads = Leads::for_host();
    let (counted, slow) = moved_since(&leads, 100).await;
    let counts = [&counted.read, &counted.questions];
    counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    let all = join_all((0..peers).map(|_| leads.whole(&*slow, None))).await;
    let counts = counts.map(|count| count.load(Ordering::Relaxed));
    let whole = all.into_iter().map(|whole| whole.unwrap().whole).collect::<HashSet<_>>();
    assert_eq!(whole, HashSet::from([whole_of(&*counted).await]));
    counts
}

/// Otherwise each reads all that the others have brought.
#[tokio::test(start_paused = true)]
async fn of_many_who_ask_at_once_one_reads_what_has_moved() {
    let (one, many) = (asked_at_once(1).await, asked_at_once(100).await);
    assert!(many[0] < 2 * one[0] && many[1] <= 2 * one[1], "{one:?} and {many:?}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_during_a_look_is_told_what_was_there_when_he_asked() {
    let leads = Leads::for_host();
    let (counted, slow) = moved_since(&leads, 3).await;
    let mut first = Box::pin(leads.whole(&*slow, None));
    for _ in 0..4 {
        assert!(tokio::time::timeout(Duration::from_millis(4), &mut first).await.is_err());
        let space = Arc::clone(&counted) as Arc<dyn Space>;
        Document::create(&space, "note", Map::new()).await.unwrap();
        let (fresh, mut later) = (whole_of(&*counted).await, Box::pin(leads.whole(&*slow, None)));
        tokio::select! {
            biased;
            _ = &mut first => assert_eq!(later.await.unwrap().whole, fresh),
            whole = &mut later => panic!("{whole:?} before its turn"),
        }
        first = Box::pin(leads.whole(&*slow, None));
    }
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_during_a_look_costs_no_other_reading_of_everything() {
    let leads = Leads::for_host();
    let (counted, slow) = moved_since(&leads, 100).await;
    leads.whole(&*slow, None).await.unwrap();
    for wait in 0..8 {
        let space = Arc::clone(&counted) as Arc<dyn Space>;
        Document::create(&space, "note", Map::new()).await.unwrap();
        let looks = leads.whole(&*slow, None);
        let _ = tokio::time::timeout(Duration::from_millis(wait * 5), looks).await;
        counted.read.store(0, Ordering::Relaxed);
        let whole = leads.whole(&*slow, None).await.unwrap().whole;
        let read = counted.read.load(Ordering::Relaxed);
        assert_eq!((whole, read < 50), (whole_of(&*counted).await, true), "{read} read");
    }
}
