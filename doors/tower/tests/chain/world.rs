//! A chain that is made up here, a node that keeps it, and users.

use ibgib_tower::feed::{Block, BlockId, Verdict};
use ibgib_tower::gatekeeper::Terms;
use ibgib_tower::responder::Send;
use ibgib_tower::sealed::{Dialect, Locator, seal};
use ibgib_tower::signature::{self, SecretKey};
use ibgib_tower::tower::{Accepted, Added, AppointmentState, Tower};
use ibgib_tower::transaction::{Transaction, Txid};
use ibgib_tower::watcher::{AppointmentId, Refusal, Request};
use std::collections::BTreeMap;

/// A transaction that spends another's only output; `n` tells siblings apart.
pub(crate) fn spend(of: Txid, n: u8) -> Transaction {
    let mut raw = vec![2, 0, 0, 0, 1];
    raw.extend(of.internal());
    raw.extend([0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1]);
    raw.extend([n, 0, 0, 0, 0, 0, 0, 0, 1, 0x51, 0, 0, 0, 0]);
    Transaction::parse(raw).unwrap()
}

pub(crate) fn origin(n: u8) -> Txid {
    Txid::from_internal([n; 32])
}

/// The breach of channel `n`, and the penalty for it.
pub(crate) fn channel(n: u8) -> (Transaction, Transaction) {
    let dispute = spend(origin(n), 1);
    let penalty = spend(dispute.txid(), 2);
    (dispute, penalty)
}

pub(crate) struct User(pub(crate) SecretKey, pub(crate) Dialect);

impl User {
    pub(crate) fn new(n: u8, dialect: Dialect) -> Self {
        Self(SecretKey::from_bytes(&[n; 32]).unwrap(), dialect)
    }

    pub(crate) fn seal(&self, dispute: Txid, answer: &[u8]) -> Request {
        let (locator, sealed) = (Locator::of(&dispute, self.1), seal(answer, &dispute, self.1));
        let signature = self.0.sign(&signature::appointment_message(&locator, &sealed, 42));
        Request { locator, sealed, to_self_delay: 42, signature }
    }

    pub(crate) fn id(&self, dispute: Txid) -> AppointmentId {
        AppointmentId { user: self.0.id(), locator: Locator::of(&dispute, self.1) }
    }

    pub(crate) fn get<'a>(&self, tower: &'a Tower, dispute: Txid) -> Result<AppointmentState<'a>, Refusal> {
        let locator = Locator::of(&dispute, self.1);
        tower.get_appointment(locator, &self.0.sign(&signature::get_appointment_message(&locator)))
    }

    pub(crate) fn slots(&self, tower: &Tower) -> u32 {
        tower.watcher().subscription(&self.0.id()).unwrap().slots
    }
}

/// A node: a chain of blocks, and transactions that wait.
#[derive(Clone, Default)]
pub(crate) struct Node {
    pub(crate) chain: Vec<Vec<Txid>>,
    pub(crate) waiting: BTreeMap<Txid, Transaction>,
    /// Everything it ever saw, for sending a dispute again.
    pub(crate) seen: BTreeMap<Txid, Transaction>,
    pub(crate) forks: u8,
    pub(crate) hashes: Vec<u8>,
    /// Transactions sent since the newest block.
    pub(crate) sent: Vec<Txid>,
}

impl Node {
    pub(crate) fn confirmed(&self, txid: &Txid) -> bool {
        self.chain.iter().flatten().any(|t| t == txid)
    }

    pub(crate) fn id(&self, height: usize) -> BlockId {
        let mut hash = [0; 32];
        (hash[0], hash[1]) = (height as u8, self.hashes.get(height).copied().unwrap_or(0));
        BlockId { hash, height: height as u32 }
    }

    pub(crate) fn tip(&self) -> BlockId {
        self.id(self.chain.len() - 1)
    }

    pub(crate) fn block(&self, height: usize) -> Block {
        let parent = if height == 0 { [0; 32] } else { self.id(height - 1).hash };
        Block { id: self.id(height), parent, txids: self.chain[height].clone() }
    }

    pub(crate) fn mine(&mut self, txids: Vec<Txid>) -> Block {
        for txid in &txids {
            self.waiting.remove(txid);
        }
        self.chain.push(txids);
        self.hashes.push(self.forks);
        self.sent.clear();
        self.block(self.chain.len() - 1)
    }

    /// Whether what a transaction spends is there.
    pub(crate) fn spendable(&self, transaction: &Transaction) -> bool {
        let mut spends = [0; 32];
        spends.copy_from_slice(&transaction.raw()[5..37]);
        let spends = Txid::from_internal(spends);
        !self.seen.contains_key(&spends) || self.confirmed(&spends) || self.waiting.contains_key(&spends)
    }

    pub(crate) fn send(&mut self, transaction: &Transaction) -> Verdict {
        let txid = transaction.txid();
        assert!(!self.sent.contains(&txid), "{txid} is sent twice for one block");
        self.sent.push(txid);
        self.seen.insert(txid, transaction.clone());
        if self.confirmed(&txid) {
            return Verdict::InChain;
        }
        if !self.spendable(transaction) {
            return Verdict::Missing;
        }
        self.waiting.insert(txid, transaction.clone());
        Verdict::Waiting
    }

    pub(crate) fn take(&mut self, tower: &mut Tower, sends: Vec<Send>) {
        for send in sends {
            match send {
                Send::Penalty(transaction) => {
                    let verdict = self.send(&transaction);
                    tower.sent(&transaction.txid(), verdict);
                }
                Send::Dispute(txid) => {
                    let transaction = self.seen[&txid].clone();
                    self.send(&transaction);
                }
            }
        }
    }

    pub(crate) fn add(&mut self, tower: &mut Tower, request: Request) -> Result<Accepted, Refusal> {
        match tower.add_appointment(request)? {
            Added::Watching(accepted) | Added::Responded(accepted) => Ok(accepted),
            Added::Triggered(triggered) => {
                let verdict = self.send(&triggered.penalty);
                tower.decide(*triggered, verdict)
            }
        }
    }
}

pub(crate) fn world(dialect: Dialect) -> (Node, Tower, User) {
    let mut node = Node::default();
    (0..8).for_each(|_| drop(node.mine(Vec::new())));
    let mut tower = Tower::new(node.tip(), Terms::of(Dialect::Rust), Terms::of(Dialect::Python));
    assert_eq!(tower.take_changes().last_block, Some(node.tip()), "the first block is written at once");
    let user = User::new(7, dialect);
    tower.register(user.0.id(), dialect).unwrap();
    (node, tower, user)
}

pub(crate) fn step(node: &mut Node, tower: &mut Tower, txids: Vec<Txid>) {
    let block = node.mine(txids);
    let sends = tower.connected(&block);
    node.take(tower, sends);
}

/// Takes blocks off the chain, and tells the tower.
pub(crate) fn unwind(node: &mut Node, tower: &mut Tower, blocks: usize) {
    node.forks += 1;
    for _ in 0..blocks {
        for txid in node.chain.pop().unwrap() {
            // What was in a block that is gone is forgotten, as by a node that restarts.
            node.waiting.remove(&txid);
        }
        node.hashes.pop();
        node.sent.clear();
        let sends = tower.disconnected(node.tip());
        node.take(tower, sends);
    }
}
