//! A Bitcoin node made up here: a chain of blocks with real transactions, one pool of those that wait, and the questions
//! of JSON-RPC that a tower asks, over a real socket.
#![allow(dead_code, reason = "each test binary uses a part")]

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ibgib_tower::transaction::{Transaction, Txid};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A transaction that spends another's only output; `n` tells siblings apart.
pub(crate) fn spend(of: Txid, n: u8) -> Transaction {
    let mut raw = vec![2, 0, 0, 0, 1];
    raw.extend(of.internal());
    raw.extend([0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1]);
    raw.extend([n, 0, 0, 0, 0, 0, 0, 0, 1, 0x51, 0, 0, 0, 0]);
    Transaction::parse(raw).unwrap()
}

/// The breach of channel `n`, and the penalty for it.
pub(crate) fn channel(n: u32) -> (Transaction, Transaction) {
    let mut origin = [0xee; 32];
    origin[..4].copy_from_slice(&n.to_be_bytes());
    let dispute = spend(Txid::from_internal(origin), 1);
    let penalty = spend(dispute.txid(), 2);
    (dispute, penalty)
}

/// What a transaction of this node spends.
fn spends(transaction: &Transaction) -> Txid {
    Txid::from_internal(transaction.raw()[5..37].try_into().unwrap())
}

struct Block {
    height: usize,
    parent: String,
    transactions: Vec<Transaction>,
}

#[derive(Default)]
pub(crate) struct Chain {
    blocks: HashMap<String, Block>,
    active: Vec<String>,
    /// How many blocks of the chain hold a transaction.
    confirmed: HashMap<Txid, usize>,
    pool: BTreeMap<Txid, Transaction>,
    made: u64,
    /// What policy refuses.
    refused: BTreeSet<Txid>,
    /// Transactions that were sent, with the height at which.
    sent: Vec<(Txid, usize)>,
    /// Whose sending is not answered yet, and how often that was tried.
    held: HashMap<Txid, usize>,
    is_down: bool,
    /// What is answered instead of blocks.
    instead: Option<Value>,
}

impl Chain {
    /// Answers this instead of blocks from now on.
    pub(crate) fn give_for_blocks(&mut self, answer: Option<Value>) {
        self.instead = answer;
    }

    fn tip(&self) -> &str {
        &self.active[self.active.len() - 1]
    }

    pub(crate) fn height(&self) -> usize {
        self.active.len() - 1
    }

    pub(crate) fn is_confirmed(&self, txid: &Txid) -> bool {
        self.confirmed.contains_key(txid)
    }

    pub(crate) fn is_waiting(&self, txid: &Txid) -> bool {
        self.pool.contains_key(txid)
    }

    /// How often a transaction was sent.
    pub(crate) fn times_sent(&self, txid: &Txid) -> usize {
        self.sent.iter().filter(|(sent, _)| sent == txid).count()
    }

    /// How often a transaction was sent at one height at most.
    pub(crate) fn times_sent_at_once(&self) -> usize {
        let mut counts: HashMap<&(Txid, usize), usize> = HashMap::new();
        self.sent.iter().for_each(|sent| *counts.entry(sent).or_default() += 1);
        counts.into_values().max().unwrap_or_default()
    }

    /// Takes a transaction into the pool as another peer's.
    pub(crate) fn hear(&mut self, transaction: &Transaction) {
        self.pool.insert(transaction.txid(), transaction.clone());
    }

    /// A block of these.
    pub(crate) fn mine(&mut self, transactions: Vec<Transaction>) {
        for transaction in &transactions {
            self.pool.remove(&transaction.txid());
            *self.confirmed.entry(transaction.txid()).or_default() += 1;
        }
        self.made += 1;
        let hash = format!("{:064x}", 0xb10c_0000_0000_u64 + self.made);
        let parent = if self.active.is_empty() { "0".repeat(64) } else { self.tip().to_owned() };
        self.blocks.insert(hash.clone(), Block { height: self.active.len(), parent, transactions });
        self.active.push(hash);
    }

    /// Empty blocks.
    pub(crate) fn mine_empty(&mut self, count: usize) {
        (0..count).for_each(|_| self.mine(Vec::new()));
    }

    /// A block of all that waits, parents first.
    pub(crate) fn mine_pool(&mut self) {
        let mut waiting: Vec<Transaction> = std::mem::take(&mut self.pool).into_values().collect();
        waiting.sort_by_key(|t| waiting_on(t, self));
        self.mine(waiting);
    }

    /// The newest blocks are no longer part of the chain; what they held waits again, or is forgotten.
    pub(crate) fn unwind(&mut self, depth: usize, forgets: bool) {
        for _ in 0..depth {
            let hash = self.active.pop().unwrap();
            for transaction in self.blocks[&hash].transactions.clone() {
                let txid = transaction.txid();
                let held = self.confirmed.remove(&txid).unwrap_or_default();
                if held > 1 {
                    self.confirmed.insert(txid, held - 1);
                }
                if !forgets {
                    self.pool.insert(transaction.txid(), transaction);
                }
            }
        }
    }

    pub(crate) fn forget_pool(&mut self) {
        self.pool.clear();
    }

    pub(crate) fn refuse(&mut self, txid: Txid) {
        self.refused.insert(txid);
    }

    /// Answers nobody who sends this, until it is let go.
    pub(crate) fn hold(&mut self, txid: Txid) {
        self.held.insert(txid, 0);
    }

    /// How many wait to have sent this.
    pub(crate) fn held(&self, txid: &Txid) -> usize {
        self.held.get(txid).copied().unwrap_or_default()
    }

    pub(crate) fn let_go(&mut self) {
        self.held.clear();
    }

    pub(crate) fn refuse_nothing(&mut self) {
        self.refused.clear();
    }

    fn send(&mut self, raw: &str) -> Result<Value, (i64, &'static str)> {
        let raw = hex::decode(raw).map_err(|_| (-22, "TX decode failed"))?;
        let transaction = Transaction::parse(raw).map_err(|_| (-22, "TX decode failed"))?;
        let txid = transaction.txid();
        let height = self.height();
        self.sent.push((txid, height));
        if self.is_confirmed(&txid) {
            return Err((-27, "Transaction outputs already in utxo set"));
        }
        if self.refused.contains(&txid) {
            return Err((-26, "min relay fee not met"));
        }
        let origin = spends(&transaction);
        let is_origin = origin.internal()[31] == 0xee;
        if !is_origin && !self.is_confirmed(&origin) && !self.is_waiting(&origin) {
            return Err((-25, "bad-txns-inputs-missingorspent"));
        }
        self.pool.insert(txid, transaction);
        Ok(json!(txid.to_string()))
    }

    fn header(&self, hash: &str, with_ids: bool) -> Result<Value, (i64, &'static str)> {
        let block = self.blocks.get(hash).ok_or((-5, "Block not found"))?;
        let mut answer = json!({"hash": hash, "height": block.height, "confirmations": 1});
        if block.height > 0 {
            answer["previousblockhash"] = json!(block.parent);
        }
        if with_ids {
            answer["tx"] = block.transactions.iter().map(|t| t.txid().to_string()).collect();
        }
        Ok(answer)
    }

    fn find(&self, txid: &str, block: Option<&str>) -> Result<Value, (i64, &'static str)> {
        let is_it = |t: &&Transaction| t.txid().to_string() == txid;
        let found = match block {
            None => self.pool.values().find(is_it),
            Some(hash) => self.blocks.get(hash).and_then(|block| block.transactions.iter().find(is_it)),
        };
        found.map(|t| json!(hex::encode(t.raw()))).ok_or((-5, "No such mempool transaction"))
    }

    fn answer(&mut self, method: &str, parameters: &Value) -> Result<Value, (i64, &'static str)> {
        let text = |at: usize| parameters[at].as_str().unwrap_or_default().to_owned();
        match method {
            "getbestblockhash" => Ok(json!(self.tip())),
            "getblockheader" => self.header(&text(0), false),
            "getblock" if self.instead.is_some() => Ok(self.instead.clone().unwrap_or_default()),
            "getblock" => self.header(&text(0), true),
            "sendrawtransaction" => self.send(&text(0)),
            "getrawtransaction" => self.find(&text(0), parameters[2].as_str()),
            _ => Err((-32601, "Method not found")),
        }
    }
}

/// How many ancestors of a transaction wait, too.
fn waiting_on(transaction: &Transaction, chain: &Chain) -> usize {
    usize::from(!chain.is_confirmed(&spends(transaction)) && spends(transaction).internal()[31] != 0xee)
}

/// The login of every node here.
const LOGIN: &str = "bob:secret";

type Shared = Arc<Mutex<Chain>>;

/// A node that answers, unless it is down.
pub(crate) struct Node {
    chain: Shared,
    at: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

impl Node {
    /// With so many blocks upon the first.
    pub(crate) async fn start(height: usize) -> Self {
        let chain: Shared = Arc::default();
        chain.lock().unwrap().mine_empty(height + 1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let serving = Some(serve(listener, &chain));
        Self { chain, at, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{LOGIN}@{}", self.at)
    }

    pub(crate) fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap()
    }

    pub(crate) fn go_down(&mut self) {
        self.chain().is_down = true;
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }

    pub(crate) async fn come_back(&mut self) {
        self.chain().is_down = false;
        let listener = TcpListener::bind(self.at).await.unwrap();
        self.serving = Some(serve(listener, &self.chain));
    }
}

fn serve(listener: TcpListener, chain: &Shared) -> JoinHandle<()> {
    let router = Router::new().route("/", post(rpc)).with_state(Arc::clone(chain));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
}

async fn rpc(State(chain): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    if asked["method"] == "sendrawtransaction" {
        let raw = hex::decode(asked["params"][0].as_str().unwrap()).ok();
        if let Some(sent) = raw.and_then(|raw| Transaction::parse(raw).ok()) {
            chain.lock().unwrap().held.entry(sent.txid()).and_modify(|count| *count += 1);
            while chain.lock().unwrap().held.contains_key(&sent.txid()) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }
    let mut chain = chain.lock().unwrap();
    if chain.is_down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let login = format!("Basic {}", BASE64_STANDARD.encode(LOGIN));
    if headers.get("authorization").is_none_or(|told| *told != *login) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let id = &asked["id"];
    match chain.answer(asked["method"].as_str().unwrap(), &asked["params"]) {
        Ok(result) => json!({"result": result, "error": null, "id": id}).to_string().into_response(),
        Err((code, message)) => {
            let error = json!({"result": null, "error": {"code": code, "message": message}, "id": id});
            (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
    }
}
